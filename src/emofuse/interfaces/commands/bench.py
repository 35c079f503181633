"""``emofuse bench``: how fast it is on this machine, beside what one would otherwise have."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer


def bench(
    cases: Annotated[
        list[str] | None, typer.Argument(metavar="[CASE]...", help="What to measure; default: everything.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON: case to what was measured.")] = False,
    out: Annotated[Path | None, typer.Option(help="Folder for results.json and results.md.")] = None,
    runs: Annotated[int, typer.Option(min=1, help="How often each contender is timed.")] = 5,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Of every case; default: all cores, one where the case says so.")
    ] = None,
    reference: Annotated[
        Path | None, typer.Option(help="Folder of the references; default: that of the checkout.", show_default=False)
    ] = None,
) -> None:
    """Measure speed beside references in one run; a ratio above 1 means that emofuse is better."""
    from emofuse.bench.cases import CASES, find_cases
    from emofuse.bench.references import reference_folder
    from emofuse.bench.report import text_table, write_results
    from emofuse.bench.run import Plan, run

    names, folder = find_cases(cases or []), reference_folder(reference)
    if folder is None:
        print(
            "emofuse: no references here, ours alone; they are in benchmarks/reference of the repository (--reference)",
            file=sys.stderr,
        )
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)  # now, not after minutes of measuring

    def tell(name: str) -> None:
        print(f"measuring {name}: {CASES[name].what}", file=sys.stderr, flush=True)

    result = run(Plan(names, runs, threads, folder), tell)
    if out is not None:
        write_results(out, result)
    print(json.dumps(result["cases"]) if as_json else text_table(result["cases"]))
    failed = [f"{name}: {entry['note']}" for name, entry in result["cases"].items() if entry["ours"] is None]
    for line in failed:
        print(f"emofuse: {line}", file=sys.stderr)
    raise typer.Exit(1 if failed else 0)
