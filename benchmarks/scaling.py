"""How extraction scales with the number of processes, here and on Ray: utterances a second, and the share a core.

    python benchmarks/scaling.py [--jobs 1 2] [--n 600] [--feature voice] [--out FOLDER] [--figure FILE]

Clips of 3 s of different noise are extracted into a new store, several times in turns; medians. Rates are taken
between a tenth and nine tenths of the utterances, so that starting processes, a cost that a large corpus does not
notice, is not in them; ``whole`` is the rate with it. Kinds:

* ``processes``: `emofuse extract --jobs N`;
* ``ray``: `emofuse extract --ray auto --jobs N`;
* ``apart``: so many processes that know nothing of each other, on a part of the clips each: what the machine gives.

``share`` is the rate divided by N times that of one process (`--jobs 1`).
"""

import argparse
import importlib.util
import json
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import soundfile

from emofuse.corpora.utterance import Utterance
from emofuse.extraction import extract, folder_utterances
from emofuse.extractors import make_extractor
from emofuse.features.store import FeatureStore
from emofuse.memory import keep_freed_memory
from emofuse.threads import use_one_thread

matplotlib.use("Agg")
from matplotlib import pyplot as plt

SECONDS = 3.0
RUNS = 3


def write_clips(folder: Path, n: int) -> None:
    """Noise, no two clips alike: what a store has seen it does not compute again."""
    rng = np.random.default_rng(0)
    for i in range(n):
        soundfile.write(folder / f"{i:05d}.flac", 0.1 * rng.normal(size=round(16_000 * SECONDS)), 16_000)


def between(times: Sequence[float]) -> float:
    """Utterances a second between a tenth and nine tenths of the utterances, by the times at which each was done."""
    first, last = len(times) // 10, len(times) * 9 // 10
    return (last - first) / max(times[last] - times[first], 1e-9)


def measure(kind: str, jobs: int, feature: str, utterances: Sequence[Utterance], store: Path) -> tuple[float, float]:
    """Rate between the tenths, and the whole rate."""
    times: list[float] = []
    cluster = None
    if kind == "ray":
        from emofuse.extraction.cluster import Cluster

        cluster = Cluster("auto", jobs)
    make = partial(make_extractor, feature)
    start = time.perf_counter()
    with FeatureStore(store) as opened:
        report = extract(utterances, make, opened, jobs, lambda _: times.append(time.perf_counter()), cluster=cluster)
    assert report.n_done == len(utterances), report
    return between(times), len(utterances) / (time.perf_counter() - start)


def in_own_process(barrier: Any, rates: Any, *arguments: Any) -> None:
    """`measure` once all have begun, with threads and memory as `emofuse extract` has them."""
    keep_freed_memory()
    use_one_thread()
    make_extractor(arguments[2])
    barrier.wait()
    rates.put(measure(*arguments))


def measure_fresh(
    kind: str, jobs: int, feature: str, utterances: Sequence[Utterance], store: Path
) -> tuple[float, float]:
    """`measure` in a process of its own, as one that has worked before is faster; ``apart`` in many, rates added."""
    context = multiprocessing.get_context("spawn")
    n = jobs if kind == "apart" else 1
    barrier, rates = context.Barrier(n), context.Queue()
    how = ("processes", 1) if kind == "apart" else (kind, jobs)
    given = [(barrier, rates, *how, feature, utterances[i::n], store / str(i)) for i in range(n)]
    processes = [context.Process(target=in_own_process, args=arguments) for arguments in given]
    for process in processes:
        process.start()
    found = [rates.get() for _ in processes]
    for process in processes:
        process.join()
    return sum(rate for rate, _ in found), sum(whole for _, whole in found)


def curves(jobs: Sequence[int], n: int, feature: str) -> dict[str, Any]:
    """Medians of every kind and number of processes."""
    kinds = ["processes", "apart", *(["ray"] if importlib.util.find_spec("ray") else [])]
    found: dict[tuple[str, int], list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        clips = Path(folder) / "clips"
        clips.mkdir()
        write_clips(clips, n)
        utterances = folder_utterances(clips)
        for run in range(RUNS):
            for kind in kinds:
                for k in jobs:
                    store = Path(folder) / f"{kind}-{k}-{run}"
                    found.setdefault((kind, k), []).append(measure_fresh(kind, k, feature, utterances, store))
                    print(f"{kind}, {k}: {found[kind, k][-1][0]:.1f} utterances/s", flush=True)
    medians = {key: [statistics.median(values) for values in zip(*rates, strict=True)] for key, rates in found.items()}
    single = medians["processes", min(jobs)][0] / min(jobs)
    rows = [
        {"kind": kind, "jobs": k, "utterances_per_s": rate, "whole": whole, "share": rate / (k * single)}
        for (kind, k), (rate, whole) in medians.items()
    ]
    return {"feature": feature, "n": n, "seconds": SECONDS, "runs": RUNS, "cores": os.cpu_count(), "rows": rows}


def draw(result: dict[str, Any], figure: Path) -> None:
    """Rates against processes, and the line of a rate that grows as they do."""
    axes = plt.figure(figsize=(5, 4)).subplots()
    for kind in dict.fromkeys(row["kind"] for row in result["rows"]):
        points = [(row["jobs"], row["utterances_per_s"]) for row in result["rows"] if row["kind"] == kind]
        axes.plot(*zip(*points, strict=True), "o-", label=kind)
    single = next(row for row in result["rows"] if row["kind"] == "processes")
    most = max(row["jobs"] for row in result["rows"])
    axes.plot([0, most], [0, single["utterances_per_s"] / single["jobs"] * most], ":", color="grey", label="linear")
    axes.set(xlabel="processes", ylabel=f"utterances/s, {result['feature']}, {SECONDS:g} s each", ylim=(0, None))
    axes.legend()
    axes.figure.savefig(figure, dpi=120, bbox_inches="tight")


def main() -> None:
    """Measure, write, draw, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--jobs", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--n", type=int, default=600, help="clips")
    parser.add_argument("--feature", default="voice")
    parser.add_argument("--out", type=Path, default=Path("runs/scaling"))
    parser.add_argument("--figure", type=Path)
    given = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    given.out.mkdir(parents=True, exist_ok=True)
    result = curves(sorted(given.jobs), given.n, given.feature)
    (given.out / "scaling.json").write_text(json.dumps(result, indent=1))
    draw(result, given.figure or given.out / "scaling.png")
    print("kind       jobs  utterances/s  whole  share a core")
    for row in result["rows"]:
        rates = f"{row['utterances_per_s']:12.1f} {row['whole']:6.1f}"
        print(f"{row['kind']:10s} {row['jobs']:4d}  {rates}  {row['share']:11.2f}")


if __name__ == "__main__":
    main()
