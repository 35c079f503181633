"""The documentation's examples, run as they stand against a server that listens."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from emofuse.server.app import create_app
from emofuse.server.settings import ServerSettings

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "http-api.md").read_text(encoding="utf-8")
EXAMPLES = [block for block in re.findall(r"^```bash\n(.*?)^```", PAGE, re.M | re.S) if "curl " in block]
ADDRESS = "http://127.0.0.1:8000"

# What an example's answer begins with, where it is not a JSON object.
OTHERWISE = {"format=srt": "1\n", "format=csv": "source,", "/metrics": "# HELP", "/v1/models": "["}


def test_there_are_examples_of_every_call() -> None:
    assert len(EXAMPLES) >= 8
    for call in ("/v1/predict", "/v1/jobs", "/result", "-X DELETE", "/v1/models", "/metrics"):
        assert any(call in example for example in EXAMPLES), call


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda e: e.splitlines()[-1][:60])
def test_an_example_does_what_the_page_says(example: str, server: Any) -> None:
    if shutil.which("curl") is None or shutil.which("bash") is None:
        pytest.skip("no curl or no bash here")
    assert ADDRESS in example
    script = "set -euo pipefail\n" + example.replace(ADDRESS, server.url)
    environment = os.environ | {"EMOFUSE_TOKEN": "not-asked-for-here", "no_proxy": "127.0.0.1"}
    found = subprocess.run(
        ["bash", "-c", script], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert found.returncode == 0, found.stderr
    for sign, begin in OTHERWISE.items():
        if sign in example:
            assert found.stdout.startswith(begin), found.stdout
            return
    answer = json.loads(found.stdout)
    refused = "format=wav" in example  # the example of an error
    assert ("detail" in answer) == refused
    assert refused or {"predictions", "state"} & set(answer)


def test_every_call_and_field_and_status_is_on_the_page() -> None:
    document = create_app(ServerSettings()).openapi()
    for path, calls in document["paths"].items():
        shown = path.replace("{job_id}", "{id}")
        for method, call in calls.items():
            assert f"{method.upper()} {shown}" in PAGE, path
            missing = {s for s in call["responses"] if s >= "400" and f"| {s} |" not in PAGE}
            assert missing == set(), path
    form = document["paths"]["/v1/predict"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert {name for name in form["properties"] if f"| `{name}` |" not in PAGE} == set()


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\((?!http)([^)#]+)", PAGE))))
def test_links_lead_somewhere(link: str) -> None:
    assert (ROOT / "docs" / link).exists()


def test_the_python_example_of_live_runs(example_clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from emofuse.media.audio import stream_audio

    text = (ROOT / "docs" / "live.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    exec(example, {"blocks": stream_audio(example_clip, 0.1)})
    assert "final Prediction(source='live'" in capsys.readouterr().out
