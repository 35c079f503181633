"""Nothing is told to anyone: what libraries would send is not even written down."""

import os
import subprocess
import sys
from pathlib import Path

USE = "import emofuse.media.voice as v; v._network()"


def test_onnxruntime_keeps_no_record_of_its_use(tmp_path: Path) -> None:
    environment = {k: v for k, v in os.environ.items() if k not in ("ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME")}
    subprocess.run([sys.executable, "-c", USE], env=environment | {"HOME": str(tmp_path)}, check=True)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
