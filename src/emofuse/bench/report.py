"""What was measured, as a table and as files."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

HEAD = ("case", "ours", "reference", "unit", "ratio", "of the roofline", "reference is")


def rows(cases: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """A row a case and one for each that stands beside it, as `HEAD` says."""
    found: list[tuple[str, ...]] = []
    for name, entry in cases.items():
        quartiles = entry.get("quartiles", {})
        share = entry["roofline_share"]
        found.append(
            (
                name,
                _value(entry["ours"], quartiles.get("ours")),
                _value(entry["reference"], quartiles.get("reference")),
                entry["unit"],
                _ratio(entry["ratio"]),
                "" if share is None else f"{100 * share:.1f} %",
                entry.get("reference_name", "") or ("" if entry["ours"] else entry.get("note", "")),
            )
        )
        for other, beside in entry.get("beside", {}).items():
            value = _value(beside["value"], beside["quartiles"])
            found.append(("", "", value, entry["unit"], _ratio(beside["ratio"]), "", other))
    return found


def _value(median: float | None, quartiles: list[float] | None) -> str:
    if median is None:
        return "-"
    return (
        f"{median:.3g}" if quartiles is None else f"{_short(median)} ({_short(quartiles[0])} to {_short(quartiles[1])})"
    )


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def text_table(cases: Mapping[str, Mapping[str, Any]]) -> str:
    """The rows in columns, for a terminal."""
    lines = [HEAD, *rows(cases)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(HEAD))]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in lines)


def markdown(result: Mapping[str, Any]) -> str:
    """The page that `write_results` writes."""
    machine, settings, roof = result["machine"], result["settings"], result["roofline"]
    lines = [
        "# emofuse bench",
        "",
        f"{machine['date']}, {machine['processor']}, {machine['cores']} cores, {machine['system']}, "
        f"Python {machine['python']}; load average {machine['load_average']} at the start.",
        "",
        ", ".join(f"{name} {version}" for name, version in machine["versions"].items()) + ".",
        "",
        f"Medians of {settings['runs']} runs in turns (quartiles in brackets), at most {settings['threads']} threads, "
        f"OMP_WAIT_POLICY={settings['wait_policy']}. A ratio above 1 means that emofuse is better.",
        "",
    ]
    if roof is not None:
        rates = ", ".join(f"{1e-9 * rate:.0f} GFLOP/s {name}" for name, rate in roof["flops_per_s"].items())
        lines += [f"This machine: memory {1e-9 * roof['bytes_per_s']:.1f} GB/s, matrix products {rates}.", ""]
    lines += [f"| {' | '.join(HEAD)} |", "|" + "---|" * len(HEAD)]
    lines += [f"| {' | '.join(row)} |" for row in rows(result["cases"])]
    return "\n".join([*lines, *_details(result["cases"])]) + "\n"


def _details(cases: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Stages, threads and notes, case by case."""
    lines: list[str] = []
    for name, entry in cases.items():
        parts = [f"threads {entry['threads']}"] if "threads" in entry else []
        parts += [f"{stage} {ms:.1f} ms" for stage, ms in entry.get("stages_ms", {}).items()]
        parts += [entry["note"]] if "note" in entry else []
        lines += [f"* {name}: {', '.join(parts)}"]
    return ["", *lines] if lines else []


def write_results(folder: Path, result: Mapping[str, Any]) -> None:
    """Write ``results.json`` and ``results.md``; each appears whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in (("results.json", json.dumps(result, indent=1) + "\n"), ("results.md", markdown(result))):
        partial = folder / f"{name}.partial"
        partial.write_text(content, encoding="utf-8")
        partial.replace(folder / name)
