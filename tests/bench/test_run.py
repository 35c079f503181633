"""Children, and the command: what they are asked, what they answer, and what becomes of one that fails."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from emofuse.bench import run as run_module
from emofuse.bench.cases import CASES, Case
from emofuse.bench.child import run_job
from emofuse.bench.run import Plan, run
from emofuse.bench.setup import Setup
from emofuse.errors import ConfigError, DataError
from emofuse.interfaces import cli

SMALL = {"recording_s": 4.0}


def bench(*arguments: object, exit_code: int = 0) -> Any:
    """stdout and stderr of the command."""
    result = CliRunner().invoke(cli.app, ["bench", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == exit_code, result.output
    return result


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A folder of references without those that take long."""
    (tmp_path / "references").mkdir()
    (tmp_path / "references" / "plain_cma.py").touch()
    return tmp_path / "references"


@pytest.fixture
def children(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Commands and environments of children that would have been started; none answers."""
    seen: list[Any] = []

    def start(command: list[str], env: dict[str, str], **_: Any) -> SimpleNamespace:
        seen.append((json.loads(Path(command[-2]).read_text()), env))
        return SimpleNamespace(returncode=1)

    monkeypatch.setattr(run_module.subprocess, "run", start)
    return seen


def test_a_child_measures_the_cold_start_by_the_command(bare: Path, tmp_path: Path) -> None:
    result = bench("cold_start", "--json", "--runs", 1, "--threads", 1, "--reference", bare, "--out", tmp_path / "out")
    entry = json.loads(result.stdout)["cold_start"]
    assert entry["ours"] > 0
    assert (entry["unit"], entry["threads"], entry["runs"], entry["reference"]) == ("s", 1, 1, None)
    assert entry["note"] == "no reference wav2vec2_base"
    assert set(entry["stages_ms"]) == {"python alone", "emofuse --help", "import emofuse", "first prediction"}
    assert entry["stages_ms"]["first prediction"] == pytest.approx(1000 * entry["ours"])
    assert "measuring cold_start" in result.stderr
    saved = json.loads((tmp_path / "out" / "results.json").read_text())
    assert saved["cases"] == {"cold_start": entry}
    assert saved["settings"] == {"runs": 1, "threads": 1, "wait_policy": "PASSIVE"}
    assert saved["roofline"] is None
    assert "| cold_start |" in (tmp_path / "out" / "results.md").read_text()


def test_children_get_their_threads_and_idle_ones_sleep(children: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_module, "n_cores", lambda: 7)
    run(Plan(["cma_train", "decode"]))
    assert [(job["case"], job["threads"]) for job, _ in children] == [("cma_train", 7), ("decode", 1)]
    assert [env["OMP_NUM_THREADS"] for _, env in children] == ["7", "1"]
    assert {env["OMP_WAIT_POLICY"] for _, env in children} == {"PASSIVE"}
    children.clear()
    run(Plan(["decode"], threads=3, sizes=SMALL))
    assert [(job["threads"], job["sizes"], env["OMP_NUM_THREADS"]) for job, env in children] == [(3, SMALL, "3")]


def test_a_case_whose_process_fails_is_told(children: list[Any]) -> None:
    result = bench("decode", "extract", "--json", exit_code=1)
    assert len(children) == 2
    assert {name: entry["ours"] for name, entry in json.loads(result.stdout).items()} == {
        "decode": None,
        "extract": None,
    }
    assert "emofuse: decode: its process failed; what it said is above" in result.stderr


def test_what_a_user_can_mend_becomes_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Setup) -> dict[str, Any]:
        raise DataError("needs this and that")

    monkeypatch.setitem(CASES, "decode", Case(refuse, "x real time", "refuses"))
    job = {"case": "decode", "runs": 1, "threads": 1, "references": None, "sizes": {}}
    assert run_job(job)["note"] == "needs this and that"
    assert run_job(job)["ours"] is None


def test_a_case_sees_what_it_was_sent(monkeypatch: pytest.MonkeyPatch, bare: Path) -> None:
    seen: list[Setup] = []
    monkeypatch.setitem(CASES, "decode", Case(lambda setup: seen.append(setup) or {}, "ms", "looks"))  # type: ignore[func-returns-value]
    job = {"case": "decode", "runs": 3, "threads": 1, "references": str(bare), "sizes": SMALL}
    run_job(job)
    (setup,) = seen
    assert (setup.runs, setup.references.folder, setup.sizes.recording_s) == (3, bare, 4.0)
    assert not setup.folder.exists()  # its files are removed


def test_without_references_one_line_says_so(children: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emofuse.bench.references.reference_folder", lambda _: None)
    result = bench("decode", exit_code=1)
    (job, _), *_ = children
    assert job["references"] is None
    assert result.stderr.count("no references here, ours alone") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["cma"], "unknown case 'cma'; known: cma_train"), (["decode", "--reference", "."], "no plain_cma.py in it")],
)
def test_bad_input_is_refused(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=message):
        bench(*arguments)
