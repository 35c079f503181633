"""The API against its own OpenAPI document, by schemathesis: requests that nobody would think of."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "missing_required_header",
    "unsupported_method",
    "use_after_free",
    "ignored_auth",
)


def test_every_answer_is_as_the_document_says(server: Any, tmp_path: Path) -> None:
    pytest.importorskip("schemathesis")
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"{server.url}/openapi.json"]
    options = ["--max-examples=20", "--seed=0", "--no-color", f"--checks={','.join(CHECKS)}"]
    found = subprocess.run([*command, *options], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert found.returncode == 0, found.stdout[-20000:] + found.stderr[-1000:]
    assert "Tested: 9" in found.stdout
