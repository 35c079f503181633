"""Two benchmarks against each other, utterance by utterance: what a setting adds that both cannot carry in one recipe.

Both must have been run under the same protocol (but see ``--any-fold``) and seeds; their systems are paired by name, or
as given.

    python benchmarks/paired.py runs/with runs/without
    python benchmarks/paired.py runs/with runs/without --system clstm-mma --other clstm-text --only script
"""

import argparse
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from emofuse.protocol.metrics import compute_metrics
from emofuse.protocol.statistics import bootstrap_ci, paired_bootstrap


def read(
    folder: Path, system: str, only: str, any_fold: bool = False
) -> dict[tuple[int, str, str], tuple[str, int, np.ndarray]]:
    """Seed, fold and utterance to group, class and probabilities; of utterances with `only` in their id."""
    rows = [r for r in pq.read_table(folder / "predictions.parquet").to_pylist() if r["system"] == system]
    names = [k[2:] for k in rows[0] if k.startswith("p_")] if rows else []
    return {
        (r["seed"], "" if any_fold else r["fold"], r["id"]): (
            r["group"],
            names.index(r["label"]),
            np.array([r[f"p_{n}"] for n in names]),
        )
        for r in rows
        if only in r["id"]
    }


def main() -> None:
    """Print one line a system."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("a", type=Path)
    parser.add_argument("b", type=Path)
    parser.add_argument("--system", default="clstm-mma")
    parser.add_argument("--other", help="system of the second; default: the same")
    parser.add_argument("--metric", default="ua", choices=["wa", "ua", "f1_macro", "f1_weighted"])
    parser.add_argument("--only", default="", help="utterances with this in their id, such as impro or script")
    parser.add_argument("--any-fold", action="store_true", help="also of two protocols that test each utterance once")
    options = parser.parse_args()
    a = read(options.a, options.system, options.only, options.any_fold)
    b = read(options.b, options.other or options.system, options.only, options.any_fold)
    keys = sorted(set(a) & set(b))  # one of them may have more seeds, or less to test
    if not keys:
        raise SystemExit("no run, or no utterance, that both have")
    groups, y_true = [a[k][0] for k in keys], np.array([a[k][1] for k in keys])
    prob_a, prob_b = (np.stack([x[k][2] for k in keys]) for x in (a, b))
    print(f"{options.metric} in %, {len({k[0] for k in keys})} seeds, {len({k[2] for k in keys})} utterances, pooled")
    for folder, system, prob in (
        (options.a, options.system, prob_a),
        (options.b, options.other or options.system, prob_b),
    ):
        low, high = bootstrap_ci(groups, y_true, prob, options.metric)
        value = compute_metrics(y_true, prob)[options.metric]
        print(f"  {folder} {system}: {100 * value:.2f} [{100 * low:.2f}, {100 * high:.2f}]")
    found = paired_bootstrap(groups, y_true, prob_a, prob_b, options.metric)
    low, high = found["ci95"]
    print(
        f"  difference {100 * found['difference']:+.2f} [{100 * low:+.2f}, {100 * high:+.2f}], p {found['p_value']:.3f}"
    )


if __name__ == "__main__":
    main()
