"""CMA on waveforms, the model alone: in batches, one by one, in training."""

from collections.abc import Callable
from functools import partial
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
from emofuse.bench.work import cma_speech, inference, training
from emofuse.media.audio import SAMPLE_RATE
from emofuse.models import build, make_config, n_parameters
from emofuse.models.inference import Precision, for_inference
from emofuse.protocol.settings import TrainingConfig
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
    config, sizes = make_config("cma-speech"), setup.sizes
    rng = np.random.default_rng(0)
    seconds = rng.gamma(7.3, 0.38, sizes.n_training).clip(1.2, 9)
    clips = [noise(1, float(s), seed)[0] for seed, s in enumerate(seconds)]
    labels = rng.integers(N_CLASSES, size=len(clips))
    examples = [Example((f"u{i}",), labels[i : i + 1], {"speech": clip}) for i, clip in enumerate(clips)]

    def trainer(precision: Any) -> Callable[[], float]:
        torch.manual_seed(0)
        model = build("cma-speech", config)
        optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
        settings = TrainingConfig(batch_size=sizes.batch_size, precision=precision)
        seed = iter(range(10**9))
        return lambda: train_epoch(
            model, optimiser, examples, "utterance", settings, None, next(seed), float(SAMPLE_RATE)
        )

    def plain(module: ModuleType) -> Callable[[], float]:
        model = module.PlainCMA(N_CLASSES)
        optimiser = module.make_optimiser(model)
        tensors, y = [torch.from_numpy(c) for c in clips[: sizes.batch_size]], torch.from_numpy(labels)
        return lambda: module.train_step(model, optimiser, module.pad_clips(tensors), y[: sizes.batch_size])

    n_steps, n_weights = ceil(len(clips) / sizes.batch_size), n_parameters(build("cma-speech", config))
    counts = [cma_speech(config, len(c)) for c in clips]
    work = training(counts, sum(map(len, clips)), n_weights, n_steps)
    step = setup.references.use("plain_cma", plain)
    reference = optional("plain CMA, padded to 10 s", step, min(sizes.batch_size, len(clips)))
    halved = Contender("emofuse, bfloat16", trainer("bfloat16"), len(clips))
    ours = Contender("emofuse", trainer("float32"), len(clips))
    return setup.measure("utterances/s", ours, reference, [halved], work)
