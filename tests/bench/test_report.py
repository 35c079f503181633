"""The table and the files."""

import json
from pathlib import Path

from emofuse.bench.machine import describe
from emofuse.bench.report import HEAD, markdown, rows, text_table, write_results
from emofuse.bench.timing import Contender, compare, empty_entry

CONTENDERS = [Contender("emofuse", int, 8.0), Contender("plain", int, 2.0), Contender("other", int, 1.0)]
ENTRY = {
    **compare("x real time", CONTENDERS, [[2.0], [1.0], [1.0]], has_reference=True),
    "roofline_share": 0.256,
    "threads": 2,
    "stages_ms": {"decode": 1.25},
}
CASES = {"fast": ENTRY, "absent": empty_entry("ms", "needs something")}
RESULT = {
    "machine": describe(),
    "settings": {"runs": 5, "threads": 2, "wait_policy": "PASSIVE"},
    "roofline": {"bytes_per_s": 2e10, "flops_per_s": {"float32": 1e11, "bfloat16": 3e11}},
    "cases": CASES,
}


def test_rows() -> None:
    assert rows(CASES) == [
        ("fast", "4 (4 to 4)", "2 (2 to 2)", "x real time", "2.00", "25.6 %", "plain"),
        ("", "", "1 (1 to 1)", "x real time", "4.00", "", "other"),
        ("absent", "-", "-", "ms", "-", "", "needs something"),
    ]


def test_columns_stand_under_their_heads() -> None:
    head, first, *_ = text_table(CASES).splitlines()
    assert [head.index(name) for name in HEAD[:2]] == [0, first.index("4 (4")]
    assert first.endswith("plain")


def test_the_page_says_what_was_measured_where() -> None:
    page = markdown(RESULT)
    assert "memory 20.0 GB/s, matrix products 100 GFLOP/s float32, 300 GFLOP/s bfloat16" in page
    assert "OMP_WAIT_POLICY=PASSIVE" in page
    assert "| fast | 4 (4 to 4) | 2 (2 to 2) | x real time | 2.00 | 25.6 % | plain |" in page
    assert "* fast: threads 2, decode 1.2 ms" in page
    assert "This machine:" not in markdown({**RESULT, "roofline": None})


def test_files_are_written_whole(tmp_path: Path) -> None:
    write_results(tmp_path / "new", RESULT)
    assert {p.name for p in (tmp_path / "new").iterdir()} == {"results.json", "results.md"}
    assert json.loads((tmp_path / "new" / "results.json").read_text()) == RESULT


def test_the_machine_is_described() -> None:
    found = describe()
    assert found["cores"] >= 1
    assert {"emofuse", "torch"} <= set(found["versions"])
    assert json.loads(json.dumps(found)) == found
