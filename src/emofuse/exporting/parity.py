"""Whether a graph gives what its network gives: random batches of many shapes, and the largest difference on them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import nn

from emofuse.errors import ConfigError
from emofuse.example import Example, model_inputs
from emofuse.models.cma import CMA, CMAConfig
from emofuse.models.face_cnn import FaceCNNConfig
from emofuse.models.linear import LinearConfig
from emofuse.models.minilm import MiniLMConfig
from emofuse.models.mlp import MLPConfig
from emofuse.models.text_cnn import TextCNNConfig
from emofuse.network import Inputs, Network, Outcome

FACE_SIZE = 48
BATCHES = ((3, 7), (1, 4), (2, 11), (5, 6))
"""Batch sizes and steps: of the first the graph is traced, of the others it has to be right too."""


def least_steps(model: nn.Module, modalities: Sequence[str]) -> dict[str, int]:
    """Modality to the fewest steps of it that a model can take, where that is more than one."""
    if not isinstance(model, CMA) or model.speech_encoder is None:
        return {}
    return {"speech": model.speech_encoder.least_steps} if "speech" in modalities else {}


def sample_batch(
    network: Network,
    config: Any,
    modalities: Sequence[str],
    least: Mapping[str, int],
    n: int,
    n_steps: int,
    seed: int,
) -> dict[str, np.ndarray]:
    """A batch of random inputs, (n, up to about n_steps, ...), with padding, and without a modality here and there.

    Args:
        network: What they are for.
        config: Its sizes.
        modalities: What it decides on.
        least: As `least_steps` gives it.
        n: Batch size.
        n_steps: Utterances, words, frames; more where there are more of them in a second.
        seed: Of the values.
    """
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, n_steps + 1, n)
    lengths[0] = n_steps
    if network.level == "conversation":
        dims = config.feature_dims
        inputs: dict[str, np.ndarray] = {"lengths": lengths, "present": rng.random((n, n_steps, len(dims))) < 0.8}
        inputs |= {m: rng.normal(size=(n, n_steps, dims[m])).astype(np.float32) for m in modalities}
        return inputs | ({"turns": rng.choice([-1, 0, 1], (n, n_steps, 2)).astype(np.float32)} if network.turns else {})
    examples = []
    for i, length in enumerate(lengths):
        arrays = {m: _sample(config, m, int(length), least.get(m, 1), rng) for m in modalities}
        lacks = modalities[(i + seed) % len(modalities)] if len(modalities) > 1 and (i + seed) % 2 else None
        present = None if lacks is None else {m: np.array([m != lacks]) for m in modalities}
        if lacks is not None:
            arrays[lacks] = arrays[lacks][:0]
        examples.append(Example(("",), np.zeros(1, int), arrays, present=present))
    return model_inputs(examples, network.level)


def _sample(config: Any, modality: str, n_steps: int, least: int, rng: np.random.Generator) -> np.ndarray:
    """One utterance's input of a modality."""
    match config:
        case CMAConfig() if modality == "speech":
            raw = config.speech_input == "waveform"
            n_steps = least + n_steps * (517 if raw else 13)
            return rng.normal(size=n_steps if raw else (n_steps, config.n_bins)).astype(np.float32)
        case CMAConfig() | TextCNNConfig():
            return rng.normal(size=(n_steps, config.word_dim)).astype(np.float32)
        case MiniLMConfig():
            return rng.integers(4, config.n_pieces, min(n_steps, config.max_pieces)).astype(np.int32)
        case MLPConfig() | LinearConfig():
            return rng.normal(size=config.n_features).astype(np.float32)
        case FaceCNNConfig():
            return rng.integers(0, 256, (n_steps, FACE_SIZE, FACE_SIZE)).astype(np.float32)
    raise ConfigError(f"{type(config).__name__}: no sample of its input is known, so it cannot be exported")


def largest_difference(network: Network, other: Network, batches: Sequence[Inputs]) -> float:
    """Between what two networks make of batches, as a share of the largest value, or of 1; inf where shapes differ."""
    found = [_difference(network(b), other(b), b) for b in batches]
    if network.goes_on:
        memories: tuple[dict[Any, Any], dict[Any, Any]] = {}, {}
        for b in batches:  # one conversation, piece by piece
            piece = {k: x[:1] for k, x in b.items()}
            found.append(_difference(network(piece, memories[0]), other(piece, memories[1]), piece))
    return max(found)


def _difference(a: Outcome, b: Outcome, inputs: Inputs) -> float:
    """Where steps are valid; infinite where shapes or names differ."""
    pairs = [(a.logits, b.logits)]
    for first, second in ((a.received, b.received), (a.shares, b.shares)):
        if set(first) != set(second):
            return float("inf")
        pairs += [(x, second[m]) for m, x in first.items()]
    largest = 0.0
    for x, y in pairs:
        if x.shape != y.shape:
            return float("inf")
        if "lengths" in inputs:
            valid = np.arange(x.shape[1]) < inputs["lengths"][:, None]
            x, y = x[valid], y[valid]
        largest = max(largest, float(np.abs(x - y).max() / max(1.0, np.abs(x).max())))
    return largest
