"""Training CMA on speech beside the plain reference: the loss of both against steps and against seconds.

    python benchmarks/train_speed.py [--data DATA/ravdess] [--seeds 3] [--steps 60] [--batch 16] [--fill] [--out FOLDER]

Both start from the same weights and see the same clips in the same order, whole clips in batches of similar length, as
`emofuse train` makes them: ours by its one training loop, the plain one (`reference/plain_cma.py`) padded to 10 s. They
take turns, step by step, so that whatever else the machine does hits both. Of RAVDESS the four emotions that most
systems know are used; without ``--data`` clips are synthesised. Dropout is drawn by each for itself, gradients are
not clipped.
``--fill`` repeats each clip until it lasts the 10 s to which the plain one pads: then both compute the same.

Writes ``train_speed.json`` and ``train_speed.png``. The final loss is the mean over the last quarter of the steps.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch

from emofuse.batching import Example, training_batches
from emofuse.bench.machine import describe
from emofuse.corpora import load_corpus
from emofuse.media.audio import SAMPLE_RATE
from emofuse.models import build, make_config
from emofuse.protocol.feature import FeatureConfig
from emofuse.protocol.raw import load_raw
from emofuse.protocol.settings import TrainingConfig
from emofuse.protocol.train import train_epoch

sys.path.append(str(Path(__file__).parent / "reference"))
import plain_cma

matplotlib.use("Agg")
from matplotlib import pyplot as plt

LABELS = ("angry", "happy", "neutral", "sad")
NAMES = ("emofuse", "plain reference")
COLOURS = ("tab:blue", "tab:orange")
TONES_HZ = (180.0, 260.0, 380.0, 550.0)

Step = Callable[[list[Example]], float]


def clips_of_ravdess(folder: Path, n: int) -> list[Example]:
    """`n` clips of four emotions, the same number of each as far as there are, chosen at random."""
    corpus = load_corpus("ravdess", folder)
    rng = np.random.default_rng(0)
    by_label = {y: [u for u in corpus.utterances if u.label == y] for y in LABELS}
    chosen = [by_label[y][i] for y in LABELS for i in rng.permutation(len(by_label[y]))[: n // len(LABELS)]]
    arrays = load_raw(chosen, corpus, "speech", FeatureConfig(kind="waveform", level="rms")).arrays
    return [Example((u.id,), np.array([LABELS.index(str(u.label))]), {"speech": arrays[u.id]}) for u in chosen]


def synthetic_clips(n: int) -> list[Example]:
    """`n` clips of 3 to 5 s of noise in which a tone, whose pitch wavers, tells the label."""
    rng = np.random.default_rng(0)
    examples = []
    for i in range(n):
        seconds = np.arange(int(rng.uniform(3, 5) * SAMPLE_RATE)) / SAMPLE_RATE
        pitch = TONES_HZ[i % 4] * rng.uniform(0.85, 1.18) * (1 + 0.05 * np.sin(2 * np.pi * 3 * seconds))
        tone = np.sin(2 * np.pi * np.cumsum(pitch) / SAMPLE_RATE) * rng.uniform(0.05, 0.15)
        clip = (tone + 0.1 * rng.standard_normal(len(seconds))).astype(np.float32)
        examples.append(Example((f"u{i}",), np.array([i % 4]), {"speech": clip}))
    return examples


def filled(example: Example) -> Example:
    """The clip, over and over, as long as the plain reference makes it."""
    clip = np.asarray(example.inputs["speech"])
    return replace(example, inputs={"speech": np.resize(clip, plain_cma.CLIP_SAMPLES)})


def batches(examples: list[Example], size: int, seed: int) -> Iterator[list[Example]]:
    """Epoch after epoch, the batches that `emofuse train` makes."""
    by_id = {e.ids: e for e in examples}
    epoch = 0
    while True:
        for batch in training_batches(examples, "utterance", size, 1000 * seed + epoch):
            yield [by_id[ids] for ids in batch.ids]
        epoch += 1


def contenders(seed: int, precision: Any) -> tuple[Step, Step]:
    """A training step of ours and of the plain one, from the same weights."""
    torch.manual_seed(seed)
    ours, plain = build("cma-speech", make_config("cma-speech")), plain_cma.PlainCMA(len(LABELS))
    plain_cma.copy_weights(ours.state_dict(), plain)
    optimiser = torch.optim.AdamW(ours.parameters(), lr=1e-3, weight_decay=0.0, fused=True)
    plain_optimiser = plain_cma.make_optimiser(plain)

    def our_step(batch: list[Example]) -> float:
        settings = TrainingConfig(batch_size=len(batch), precision=precision, clip_norm=0.0)
        return train_epoch(ours, optimiser, batch, "utterance", settings, None, 0, float(SAMPLE_RATE))

    def plain_step(batch: list[Example]) -> float:
        speech = plain_cma.pad_clips([torch.from_numpy(np.asarray(e.inputs["speech"])) for e in batch])
        labels = torch.tensor([int(e.labels[0]) for e in batch])
        return plain_cma.train_step(plain, plain_optimiser, speech, labels)

    return our_step, plain_step


def run(examples: list[Example], seed: int, options: argparse.Namespace) -> list[dict[str, list[float]]]:
    """Losses and times of both, a value a step; the order of the two changes from step to step."""
    steps = contenders(seed, options.precision)
    warm = examples[: options.batch]
    for step in contenders(seed, options.precision):
        step(warm)  # what is made once is not counted
    found: list[dict[str, list[float]]] = [{"loss": [], "seconds": [], "cpu_seconds": []} for _ in steps]
    for k, batch in enumerate(islice(batches(examples, options.batch, seed), options.steps)):
        for which in (0, 1) if k % 2 else (1, 0):
            began, cpu = time.perf_counter(), time.process_time()
            loss = steps[which](batch)
            times = {"seconds": time.perf_counter() - began, "cpu_seconds": time.process_time() - cpu}
            for key, value in {"loss": loss, **times}.items():
                found[which][key].append(value)
        print(
            f"seed {seed} step {k + 1}", *(f"{r['loss'][-1]:.3f} {r['seconds'][-1]:.2f} s" for r in found), flush=True
        )
    return found


def summary(runs: list[list[dict[str, list[float]]]], batch: int) -> dict[str, Any]:
    """Utterances a second, their ratio (medians over the steps), final losses, and whether they differ."""
    result: dict[str, Any] = {}
    for i, name in enumerate(NAMES):
        seconds = np.concatenate([r[i]["seconds"] for r in runs])
        final = [float(np.mean(r[i]["loss"][-max(1, len(r[i]["loss"]) // 4) :])) for r in runs]
        spread = float(np.std(final, ddof=1)) if len(final) > 1 else None
        result[name] = {"utterances_per_s": batch / float(np.median(seconds)), "final_loss": final}
        result[name] |= {"final_loss_mean": float(np.mean(final)), "final_loss_std": spread}
    for key in ("seconds", "cpu_seconds"):
        ratios = np.concatenate([np.divide(r[1][key], r[0][key]) for r in runs])
        result[f"ratio_{key}"] = [float(x) for x in np.percentile(ratios, [25, 50, 75])]
    differences = np.subtract(result[NAMES[0]]["final_loss"], result[NAMES[1]]["final_loss"])
    result["final_loss_difference"] = differences.tolist()
    return result


def smooth(values: np.ndarray, width: int) -> np.ndarray:
    """(runs, steps) -> running means over the last `width` steps."""
    sums = np.cumsum(np.pad(values, ((0, 0), (1, 0))), axis=1)
    ends = np.arange(1, values.shape[1] + 1)
    starts = np.maximum(ends - width, 0)
    return (sums[:, ends] - sums[:, starts]) / (ends - starts)


def draw(runs: list[list[dict[str, list[float]]]], result: dict[str, Any], path: Path) -> None:
    """Loss against step, and against the seconds spent: thin a seed, thick the mean of the seeds."""
    figure, axes = plt.subplots(1, 2, figsize=(10, 4), sharey=True, layout="constrained")
    for i, (name, colour) in enumerate(zip(NAMES, COLOURS, strict=True)):
        losses = np.array([r[i]["loss"] for r in runs])
        curves = smooth(losses, max(1, losses.shape[1] // 10))
        seconds = np.cumsum([r[i]["seconds"] for r in runs], axis=1)
        label = f"{name}, {result[name]['utterances_per_s']:.3g} utterances/s"
        for axis, places in ((axes[0], np.tile(np.arange(1, losses.shape[1] + 1), (len(runs), 1))), (axes[1], seconds)):
            for x, y in zip(places, curves, strict=True):
                axis.plot(x, y, color=colour, alpha=0.35, lw=0.8)
            axis.plot(places.mean(0), curves.mean(0), color=colour, lw=2, label=label)
    axes[0].set(xlabel="training step", ylabel="loss, running mean", title="the same steps")
    axes[1].set(xlabel="seconds", title=f"in 1/{result['ratio_seconds'][1]:.1f} of the time", xscale="log")
    axes[0].legend()
    for axis in axes:
        axis.grid(alpha=0.3)
    figure.savefig(path, dpi=110)


def main() -> None:
    """Train both, write the JSON and the figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of RAVDESS; default: synthesised clips")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=60, help="of each seed")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--clips", type=int, default=160, help="to train on")
    parser.add_argument("--fill", action="store_true", help="repeat clips until nothing has to be padded")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32", help="of ours")
    parser.add_argument("--out", type=Path, default=Path("runs/train_speed"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    examples = synthetic_clips(options.clips) if options.data is None else clips_of_ravdess(options.data, options.clips)
    examples = [filled(e) for e in examples] if options.fill else examples
    runs = [run(examples, seed, options) for seed in range(options.seeds)]
    result = summary(runs, options.batch)
    settings = {
        key: getattr(options, key) for key in ("seeds", "steps", "batch", "clips", "fill", "threads", "precision")
    }
    settings["clips_are"] = "synthetic" if options.data is None else "RAVDESS"
    settings["seconds_of_sound"] = sum(len(e.inputs["speech"]) for e in examples) / SAMPLE_RATE
    content = {"machine": describe(), "settings": settings, "result": result}
    content["runs"] = [dict(zip(NAMES, r, strict=True)) for r in runs]
    options.out.mkdir(parents=True, exist_ok=True)
    partial = options.out / "train_speed.json.partial"
    partial.write_text(json.dumps(content) + "\n")
    partial.replace(options.out / "train_speed.json")
    draw(runs, result, options.out / "train_speed.png")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
