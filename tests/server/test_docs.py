"""The commands in the documents work as they stand there."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
COMMANDS = re.findall(
    r"```bash\n(curl .*?)\n```", (ROOT / "docs" / "http-api.md").read_text(encoding="utf-8"), re.DOTALL
)


def test_there_are_commands() -> None:
    assert len(COMMANDS) >= 5


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_documents_works(server: Any, command: str) -> None:
    assert "http://127.0.0.1:8000" in command
    here = command.replace("http://127.0.0.1:8000", server.url)
    found = subprocess.run(
        ["bash", "-c", f"EMOFUSE_TOKEN=; {here} --silent --show-error --fail"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    if "format=srt" in command:
        assert found.stdout.startswith("1\n00:00:0")
    elif "/v1/jobs" in command:
        assert json.loads(found.stdout)["state"] == "queued"
    elif "/v1/models" in command:
        assert json.loads(found.stdout)[0]["name"] == "default"
    else:
        assert json.loads(found.stdout)["predictions"]


def test_the_python_example_of_live_runs(example_clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from emofuse.media.audio import stream_audio

    text = (ROOT / "docs" / "live.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    exec(example, {"blocks": stream_audio(example_clip, 0.1)})
    assert "final Prediction(source='live'" in capsys.readouterr().out
