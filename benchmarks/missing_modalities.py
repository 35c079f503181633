"""How scores fall as modalities are removed, of several trainings beside each other: a table and a figure.

emofuse benchmark RECIPE --data DATA --subsets --out runs/without
emofuse benchmark RECIPE --data DATA --subsets --out runs/with --set training.modality_dropout=0.3
python benchmarks/missing_modalities.py without=runs/without "modality dropout=runs/with" --figure figure.png
"""

import argparse
import json
from pathlib import Path

from emofuse.protocol.metrics import METRIC_NAMES
from emofuse.protocol.subsets import subsets_figure


def main() -> None:
    """Print Markdown, a row a system and what is left of its modalities; write the figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", metavar="NAME=FOLDER", help="benchmarks of one recipe with --subsets")
    parser.add_argument("--figure", type=Path)
    options = parser.parse_args()
    named = [run.partition("=") for run in options.runs]
    reports = {name: json.loads((Path(folder) / "report.json").read_text()) for name, _, folder in named}
    first = next(iter(reports.values()))
    metric = first["primary_metric"]
    shown = list(dict.fromkeys((metric, "wa", "ua")))
    print(
        "| system | what is left | "
        + " | ".join(f"{name}: {METRIC_NAMES[m]}" for name in reports for m in shown)
        + " |"
    )
    print("|---|---|" + "---:|" * len(reports) * len(shown))
    for system, subsets in first["subsets"].items():
        for kept in subsets:
            cells = []
            for report in reports.values():
                for m in shown:
                    entry = report["subsets"][system][kept][m]
                    low, high = entry["ci95"]
                    interval = f" [{100 * low:.1f}, {100 * high:.1f}]" if m == metric else ""
                    cells.append(f"{100 * entry['mean']:.1f} ± {100 * entry['std']:.1f}{interval}")
            print(f"| `{system}` | {kept} | " + " | ".join(cells) + " |")
    if options.figure is not None:
        title = f"{first['protocol']}: what is left of the modalities"
        figure = subsets_figure(reports, metric, f"{METRIC_NAMES[metric]}, %", title)
        figure.savefig(options.figure, dpi=110)


if __name__ == "__main__":
    main()
