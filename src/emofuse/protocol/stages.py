"""A system by its name: fitted at once, trained, or part by part and then the parts' fusion."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from emofuse.batching import Example, evaluation_batches, stable_seed
from emofuse.models import build, system
from emofuse.models.cma import CMAConfig
from emofuse.models.linear import LinearClassifier, LinearConfig
from emofuse.models.minilm import MiniLMConfig
from emofuse.models.mlp import MLPConfig
from emofuse.models.mman import MMAN, LateFusion, MMANConfig
from emofuse.models.staged import FROM_PARTS, StagedFusion
from emofuse.models.text_cnn import TextCNNConfig
from emofuse.protocol.linear import fit_linear
from emofuse.protocol.scoring import score
from emofuse.protocol.settings import TrainingConfig
from emofuse.protocol.state import FitResult
from emofuse.protocol.train import Vary, fit


def parts_once(model: StagedFusion, examples: Sequence[Example], device: torch.device) -> list[Example]:
    """Conversations with what the frozen parts of `model` give of them in the place of their features."""
    computed: dict[tuple[str, ...], np.ndarray] = {}
    model.eval()
    with torch.inference_mode():
        for batch in evaluation_batches(examples, "conversation", 32):
            inputs = batch.to(device).inputs
            lengths, present = inputs.pop("lengths"), inputs.pop("present", None)
            rows = model.fusion_input(lengths, inputs, present).cpu().numpy()
            computed |= {ids: row[: len(ids)] for ids, row in zip(batch.ids, rows, strict=True)}
    return [replace(e, inputs={FROM_PARTS: computed[e.ids]}, present=None) for e in examples]


@dataclass(frozen=True)
class TrainedSystem:
    """A trained network and how it came about."""

    model: nn.Module
    result: FitResult
    seconds: float
    cpu_seconds: float = 0.0
    """Of this process: unlike `seconds`, not longer on a busy machine."""


def train_system(
    name: str,
    model_config: CMAConfig | MiniLMConfig | MLPConfig | MMANConfig | TextCNNConfig | LinearConfig,
    training: Callable[[str], TrainingConfig],
    train: Sequence[Example],
    select: Sequence[Example] | None,
    *,
    metric: str,
    seed: int,
    device: torch.device,
    sample_rate: float = 16_000,
    vary: Vary | None = None,
    state_dir: Path | None = None,
    trained: dict[str, TrainedSystem] | None = None,
    start_from: Mapping[str, Tensor] | None = None,
    on_epoch: Callable[[str, dict[str, float]], None] | None = None,
) -> TrainedSystem:
    """Train a system by name; a staged one (cLSTM-LF, MMAN) part by part, then its fusion (Pan et al., Sec. 2.2).

    A linear one is fitted as `fit_linear` says, at once.

    Args:
        name: As in `MODELS`.
        model_config: As `make_config` gives it.
        training: System name to its settings; the parts of a staged system have their own.
        train: Training examples; may carry more modalities than the system uses.
        select: Examples that choose the epoch; None: the settings' `max_epochs` is the number of epochs.
        metric: That chooses.
        seed: Of weights, order and dropout; a part trained alone or within MMAN gets the same weights.
        device: Where to train.
        sample_rate: Steps a second of the speech input.
        vary: As `training_batches` takes it.
        state_dir: Folder for resumable state.
        trained: Systems trained before on the same fold and seed: looked up and added to.
        start_from: Values that some of the weights start from, by the parameter's name; the others are drawn, and
            what has no place in the system, such as upper layers, is not used.
        on_epoch: Called with the name of the system in training and its history entry.
    """
    trained = {} if trained is None else trained
    if name in trained:
        return trained[name]
    start, cpu_start = time.perf_counter(), time.process_time()
    torch.manual_seed(stable_seed(seed, name))
    model = build(name, model_config).to(device)
    if start_from:
        drawn = model.state_dict()
        model.load_state_dict({name: start_from.get(name, value) for name, value in drawn.items()})
    seconds = cpu_seconds = 0.0
    report = None if on_epoch is None else lambda entry: on_epoch(name, entry)
    if isinstance(model, LinearClassifier):
        chosen, history = fit_linear(
            model,
            train,
            None if select is None else lambda: score(model, select, system(name).level, device),
            balanced=training(name).class_weights,
            metric=metric,
            seed=seed,
            n_epochs=training(name).max_epochs,
            on_epoch=report,
        )
        spent = time.perf_counter() - start, time.process_time() - cpu_start
        trained[name] = TrainedSystem(model, FitResult(chosen, history), *spent)
        return trained[name]
    if isinstance(model, StagedFusion):
        for part_name, part in model.parts.items():
            done = train_system(
                part_name,
                model_config,
                training,
                train,
                select,
                metric=metric,
                seed=seed,
                device=device,
                sample_rate=sample_rate,
                vary=vary,
                state_dir=state_dir,
                trained=trained,
                on_epoch=on_epoch,
            )
            part.load_state_dict(done.model.state_dict())
            seconds += done.seconds
            cpu_seconds += done.cpu_seconds
        model.freeze_parts()
        start, cpu_start = time.perf_counter(), time.process_time()
    settings = training(name)
    if len(system(name).modalities) == 1:
        settings = replace(settings, modality_dropout=0.0)
    if isinstance(model, MMAN | LateFusion) and not settings.modality_dropout:  # the parts give the same every epoch
        train = parts_once(model, train, device)
        select = None if select is None else parts_once(model, select, device)
    n_auxiliary = model_config.n_auxiliary if isinstance(model_config, MLPConfig) else 0
    result = fit(
        model,
        train,
        select,
        level=system(name).level,
        n_classes=model_config.n_classes + n_auxiliary,
        config=settings,
        metric=metric,
        seed=seed,
        sample_rate=sample_rate,
        vary=vary,
        state=None if state_dir is None else state_dir / name,
        on_epoch=report,
    )
    seconds += time.perf_counter() - start
    cpu_seconds += time.process_time() - cpu_start
    trained[name] = TrainedSystem(model, result, seconds, cpu_seconds)
    return trained[name]
