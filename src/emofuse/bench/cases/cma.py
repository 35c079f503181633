"""CMA on waveforms, the model alone: in batches, one by one, in training."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from math import ceil
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from emofuse.batching import Example
from emofuse.bench.setup import Setup
from emofuse.bench.sound import noise
from emofuse.bench.timing import Contender, optional
from emofuse.bench.traffic import traffic
from emofuse.bench.work import Work, cma_speech, inference, training
from emofuse.errors import ConfigError
from emofuse.media.audio import SAMPLE_RATE
from emofuse.models import build, make_config, n_parameters
from emofuse.models.cma import CMAConfig
from emofuse.models.inference import Precision, for_inference
from emofuse.protocol.compiling import compiled
from emofuse.protocol.settings import CompileMode, TrainingConfig
from emofuse.protocol.train import train_epoch

N_CLASSES = 4


def _without_gradients(run: Callable[[], object]) -> Callable[[], None]:
    def wrapped() -> None:
        with torch.inference_mode():
            run()

    return wrapped


def cma_infer_batch(setup: Setup) -> dict[str, Any]:
    """CMA on a batch of clips, the model only."""
    return _cma_inference(setup, "x real time", setup.sizes.n_clips, setup.sizes.n_slow)


def cma_infer_single(setup: Setup) -> dict[str, Any]:
    """CMA on one clip, the model only."""
    return _cma_inference(setup, "ms", 1, 1)


def _cma_inference(setup: Setup, unit: str, n_clips: int, n_slow: int) -> dict[str, Any]:
    torch.manual_seed(0)
    config = make_config("cma-speech")
    model = build("cma-speech", config)
    clips = torch.from_numpy(noise(n_clips, setup.sizes.clip_s))
    lengths = torch.full((n_clips,), clips.shape[1])
    plain = setup.references.use("plain_cma", partial(_plain_cma, model=model, clips=clips))
    n_numbers = clips.numel() + n_clips * N_CLASSES
    work = inference([cma_speech(config, clips.shape[1])] * n_clips, n_numbers, n_parameters(model))
    slow = clips[:n_slow].numpy()

    def amount(n: int) -> float:
        return float(n) if unit == "ms" else n * setup.sizes.clip_s

    def ours(name: str, precision: Precision) -> Contender:
        ready = for_inference(model.eval(), precision)
        return Contender(name, _without_gradients(lambda: ready(clips, lengths)), amount(n_clips))

    reference = optional("plain CMA", plain, amount(n_clips))
    beside = [optional(name, run, amount(len(slow))) for name, run in usual(setup, slow).items()]
    beside = [ours("emofuse, float32", "float32"), *beside]
    return setup.measure(unit, ours("emofuse", "auto"), reference, beside, work)


def _plain_cma(module: ModuleType, model: nn.Module, clips: Tensor) -> Callable[[], None]:
    plain = module.PlainCMA(N_CLASSES)
    module.copy_weights(model.state_dict(), plain)
    plain.eval()
    padded = module.pad_clips(list(clips))
    return _without_gradients(lambda: plain(padded))


def usual(setup: Setup, clips: np.ndarray) -> dict[str, Callable[[], object] | None]:
    """What is commonly used instead of such a model."""

    def encoder(module: ModuleType) -> Callable[[], object]:
        model = module.make(N_CLASSES)
        return lambda: module.logits(model, clips)

    def classical(module: ModuleType) -> Callable[[], object]:
        smile, classifier = module.make(N_CLASSES)
        return lambda: module.predict(smile, classifier, clips)

    use = setup.references.use
    return {"wav2vec2-base": use("wav2vec2_base", encoder), "openSMILE + SVM": use("opensmile_svm", classical)}


def cma_train(setup: Setup) -> dict[str, Any]:
    """An epoch of training CMA on clips as long as EMO-DB's, 2.8 s on average."""
    trainer = _Trainer.of(setup, torch.device("cpu"))
    step = setup.references.use("plain_cma", trainer.plain)
    reference = optional("plain CMA, padded to 10 s", step, min(trainer.batch_size, len(trainer.examples)))
    n = len(trainer.examples)
    halved = Contender("emofuse, bfloat16", trainer.epochs("bfloat16"), n)
    ours = Contender("emofuse", trainer.epochs("float32"), n)
    return setup.measure("utterances/s", ours, reference, [halved], trainer.work())


def cma_train_gpu(setup: Setup) -> dict[str, Any]:
    """The same on a GPU; also the share of its memory's bandwidth that the operations of an epoch reach."""
    if not torch.cuda.is_available():
        raise ConfigError("cma_train_gpu needs a GPU that torch can use; there is none")
    return train_on(setup, torch.device("cuda"))


def train_on(setup: Setup, device: torch.device) -> dict[str, Any]:
    """`cma_train_gpu` on a device: ours in bfloat16, and beside it in float32 and compiled.

    The entry has also ``bandwidth_share``: bytes that the operations of an epoch read and write, see
    `emofuse.bench.traffic`, by its time and by the bandwidth measured.
    """
    trainer = _Trainer.of(setup, device)
    n = len(trainer.examples)
    step = setup.references.use("plain_cma", trainer.plain)
    reference = optional("plain CMA, padded to 10 s", step, min(trainer.batch_size, n))
    epochs = trainer.epochs("bfloat16")
    moved = traffic(epochs)
    beside = [Contender("emofuse, float32", trainer.epochs("float32"), n)]
    if find_spec("triton") is not None:
        names: dict[CompileMode, str] = {"default": "compiled", "reduce-overhead": "compiled, CUDA graphs"}
        beside += [Contender(f"emofuse, {name}", trainer.epochs("bfloat16", m), n) for m, name in names.items()]
    ours = Contender("emofuse, bfloat16", epochs, n)
    entry = setup.measure("utterances/s", ours, reference, beside, trainer.work(), device)
    entry["bytes_moved"] = moved
    entry["bandwidth_share"] = moved / (n / entry["ours"]) / entry["roofline"]["bytes_per_s"]
    return entry


@dataclass(frozen=True)
class _Trainer:
    """Training CMA on a device, on noise."""

    examples: list[Example]
    batch_size: int
    device: torch.device
    config: CMAConfig

    @classmethod
    def of(cls, setup: Setup, device: torch.device) -> "_Trainer":
        rng, sizes = np.random.default_rng(0), setup.sizes
        seconds = rng.gamma(7.3, 0.38, sizes.n_training).clip(1.2, 9)
        clips = [noise(1, float(s), seed)[0] for seed, s in enumerate(seconds)]
        labels = rng.integers(N_CLASSES, size=len(clips))
        examples = [Example((f"u{i}",), labels[i : i + 1], {"speech": clip}) for i, clip in enumerate(clips)]
        return cls(examples, sizes.batch_size, device, make_config("cma-speech"))

    def epochs(self, precision: Any, mode: CompileMode = "none") -> Callable[[], float]:
        """A call trains for an epoch."""
        torch.manual_seed(0)
        model = build("cma-speech", self.config).to(self.device)
        optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
        settings = TrainingConfig(batch_size=self.batch_size, precision=precision)
        network = compiled(model, mode, self.device)
        seed = iter(range(10**9))
        arguments = ("utterance", settings, None)
        return lambda: train_epoch(network, optimiser, self.examples, *arguments, next(seed), float(SAMPLE_RATE))

    def plain(self, module: ModuleType) -> Callable[[], float]:
        """A call trains the plain reference for a step."""
        model = module.PlainCMA(N_CLASSES).to(self.device)
        optimiser = module.make_optimiser(model)
        first = self.examples[: self.batch_size]
        clips = [torch.from_numpy(e.inputs["speech"]) for e in first]
        y = torch.tensor([int(e.labels[0]) for e in first])
        return lambda: module.train_step(model, optimiser, module.pad_clips(clips).to(self.device), y.to(self.device))

    def work(self) -> Work:
        """The least work of an epoch."""
        lengths = [len(e.inputs["speech"]) for e in self.examples]
        n_weights = n_parameters(build("cma-speech", self.config))
        counts = [cma_speech(self.config, n) for n in lengths]
        return training(counts, sum(lengths), n_weights, ceil(len(lengths) / self.batch_size))
