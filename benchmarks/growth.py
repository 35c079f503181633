"""How time and peak memory grow: with the length of a recording, the size of a batch, and the size of a corpus.

    python benchmarks/growth.py [--lengths 1 10 60 600 3600 10800] [--out FOLDER] [--figure FILE]

Every point is a process of its own, so that its peak memory is its own; one that is in FOLDER/growth.json already is
not measured again. One thread each. What is measured:

* ``predict``: the shipped model on a FLAC file of so many seconds, a sentence and a second of pause in turns;
* ``infer``: CMA's speech network, as predict runs it, on a batch of so many clips of 5 s;
* ``extract``: log-mel bands of a corpus of so many utterances of 0.5 s, parts of one hour, into a new store;
* ``find``: the same again, when all of them are stored.

``base`` is what the process needs before the work: Python, libraries, model.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import soundfile

matplotlib.use("Agg")
from matplotlib import pyplot as plt

HELLO = Path(__file__).parents[1] / "examples" / "hello.wav"
LENGTHS = (1, 10, 60, 600, 3600, 10_800)
BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
CORPORA = (100, 1000, 10_000, 100_000)
AXES = {"predict": "seconds of sound", "infer": "clips of 5 s", "extract": "utterances", "find": "utterances"}
UTTERANCE_S = 0.5


def write_talk(path: Path, seconds: float) -> None:
    """A FLAC file: a sentence and a second of pause, over and over; written piece by piece."""
    sentence, rate = soundfile.read(HELLO, dtype="float32")
    turn = np.concatenate([sentence, np.zeros(rate, np.float32)])
    left = round(seconds * rate)
    with soundfile.SoundFile(path, "w", rate, 1, format="FLAC") as file:
        while left > 0:
            file.write(turn[:left])
            left -= len(turn)


def peak_mb() -> float:
    """Most memory that this process has had so far, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(name: str, size: int, folder: Path) -> dict[str, float]:
    """One point, in this process: seconds of the work, of its processor, memory before and at its peak."""
    from emofuse.memory import keep_freed_memory
    from emofuse.threads import use_one_thread

    keep_freed_memory()  # as commands do
    use_one_thread()
    work = {"predict": _predict, "infer": _infer, "extract": _extract, "find": _extract}[name](size, folder)
    if name == "find":
        work()
    base, start, cpu = peak_mb(), time.perf_counter(), time.process_time()
    work()
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu
    return {"size": size, "seconds": seconds, "cpu_seconds": cpu_seconds, "base_mb": base, "peak_mb": peak_mb()}


def _predict(size: int, folder: Path) -> Any:
    import emofuse

    write_talk(folder / "warm.flac", 6)
    write_talk(folder / "talk.flac", size)
    model = emofuse.load(n_threads=1)
    model.predict(folder / "warm.flac")
    return lambda: model.predict(folder / "talk.flac")


def _infer(size: int, folder: Path) -> Any:
    import torch

    from emofuse.models import build, make_config
    from emofuse.models.inference import for_inference

    model = for_inference(build("cma-speech", make_config("cma-speech")).eval())
    speech, lengths = torch.randn(size, 80_000), torch.full((size,), 80_000)

    def work() -> None:
        with torch.inference_mode():
            model(speech, lengths)

    work()
    return work


def _extract(size: int, folder: Path) -> Any:
    from emofuse.corpora import load_corpus
    from emofuse.extraction import extract
    from emofuse.extractors import make_extractor
    from emofuse.features.store import FeatureStore

    write_talk(folder / "talk.flac", 3600)
    starts = [i * (3600 - UTTERANCE_S) / size for i in range(size)]
    rows = ["id,audio,start_s,end_s", *(f"u{i},talk.flac,{s},{s + UTTERANCE_S}" for i, s in enumerate(starts))]
    (folder / "corpus.csv").write_text("\n".join(rows))
    make_extractor("log-mel")

    def work() -> None:
        corpus = load_corpus("manifest", folder / "corpus.csv")
        with FeatureStore(folder / "store") as store:
            report = extract(corpus.utterances, lambda: make_extractor("log-mel"), store)
        assert not report.failures
        assert report.n_done + report.n_found == size

    return work


def run_point(name: str, size: int) -> dict[str, float]:
    """One point in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, "--point", name, str(size), folder]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def exponent(points: list[dict[str, float]]) -> float:
    """k of time = a + c * size^k over the larger half of the sizes: 1 is linear."""
    last = sorted(points, key=lambda p: p["size"])[-max(len(points) // 2, 2) :]
    x, y = np.log([p["size"] for p in last]), np.log([p["cpu_seconds"] for p in last])
    return float(np.polyfit(x, y, 1)[0])


def draw(curves: dict[str, list[dict[str, float]]], path: Path) -> None:
    """Time above, memory below, a column a curve."""
    figure, axes = plt.subplots(2, len(curves), figsize=(4 * len(curves), 6), squeeze=False)
    for column, (name, points) in enumerate(curves.items()):
        sizes = [p["size"] for p in points]
        upper, lower = axes[0][column], axes[1][column]
        upper.loglog(sizes, [p["seconds"] for p in points], "o-", label="wall")
        upper.loglog(sizes, [p["cpu_seconds"] for p in points], ".--", label="processor")
        upper.set(title=f"{name}: time ~ size^{exponent(points):.2f}", ylabel="seconds")
        upper.legend()
        lower.semilogx(sizes, [p["peak_mb"] for p in points], "o-", label="peak")
        lower.semilogx(sizes, [p["base_mb"] for p in points], ".--", label="before the work")
        lower.set(xlabel=AXES[name], ylabel="memory, MB")
        lower.set_ylim(bottom=0)
        lower.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main() -> None:
    """Measure what is not measured yet, print a row a point, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lengths", type=int, nargs="*", default=LENGTHS)
    parser.add_argument("--batches", type=int, nargs="*", default=BATCHES)
    parser.add_argument("--corpora", type=int, nargs="*", default=CORPORA)
    parser.add_argument("--out", type=Path, default=Path("runs/growth"))
    parser.add_argument("--figure", type=Path)
    parser.add_argument("--point", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.point:
        name, size, folder = options.point
        print(json.dumps(measure(name, int(size), Path(folder))))
        return
    options.out.mkdir(parents=True, exist_ok=True)
    file = options.out / "growth.json"
    curves: dict[str, list[dict[str, float]]] = json.loads(file.read_text()) if file.exists() else {}
    todo = {"predict": options.lengths, "infer": options.batches, "extract": options.corpora, "find": options.corpora}
    for name, sizes in todo.items():
        for size in sizes:
            points = curves.setdefault(name, [])
            if all(p["size"] != size for p in points):
                points.append(run_point(name, size))
                partial = file.with_name("growth.json.partial")
                partial.write_text(json.dumps(curves, indent=1))
                partial.replace(file)
            point = next(p for p in points if p["size"] == size)
            print(name, *(f"{key} {value:.3g}" for key, value in point.items()), sep="  ", flush=True)
    for name, points in curves.items():
        if len(points) > 2:
            print(f"{name}: processor time ~ size^{exponent(points):.2f}")
    draw(curves, options.figure or options.out / "growth.png")


if __name__ == "__main__":
    main()
