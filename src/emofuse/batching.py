"""From examples to padded batches of tensors, varied and ordered for training."""

import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from torch import Tensor

from emofuse.example import IGNORE, Example, model_inputs, pad, there


@dataclass(frozen=True)
class Batch:
    """Padded examples: ``model(**batch.inputs)`` gives logits that align with `labels`.

    `labels` is (batch,) at utterance level and (batch, utterances) at conversation level; `votes`,
    (batch, n_classes), is there when every utterance of an utterance-level batch has them.
    """

    inputs: dict[str, Tensor]
    labels: Tensor
    ids: tuple[tuple[str, ...], ...]
    votes: Tensor | None = None

    def to(self, device: torch.device) -> "Batch":
        """The same batch on a device; lengths stay in the memory of the processor, see `length_mask`.

        A GPU is not waited for: it copies from pages that cannot be moved while the processor goes on.
        """

        def there(tensor: Tensor) -> Tensor:
            return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)

        inputs = {k: v if k.endswith("lengths") else there(v) for k, v in self.inputs.items()}
        return Batch(inputs, there(self.labels), self.ids, None if self.votes is None else there(self.votes))


def collate(examples: Sequence[Example], level: str) -> Batch:
    """Pad examples to one batch, see `model_inputs`; `level` is ``utterance`` or ``conversation``."""
    inputs = {name: torch.from_numpy(array) for name, array in model_inputs(examples, level).items()}
    votes = None
    if level == "conversation":
        labels = torch.from_numpy(pad([e.labels for e in examples], IGNORE)[0])
    else:
        labels = torch.tensor([int(e.labels[0]) for e in examples])
        shares = [e.votes for e in examples if e.votes is not None]
        if len(shares) == len(examples):
            votes = torch.from_numpy(np.concatenate(shares).astype(np.float32))
    return Batch(inputs, labels, tuple(e.ids for e in examples), votes)


def restrict(example: Example, keep: Mapping[str, np.ndarray], level: str) -> Example:
    """The example with what `keep`, modality to (len(ids),), does not keep taken away."""
    present = {m: there(example, m) & keep[m] for m in example.inputs}
    if all(rows.all() for rows in present.values()):
        return example
    inputs = {}
    for modality, array in example.inputs.items():
        if level == "conversation":
            inputs[modality] = np.where(present[modality][:, None], array, np.zeros((), array.dtype))
        else:
            inputs[modality] = array if present[modality].all() else array[:0]
    return replace(example, inputs=inputs, present=present)


def without(examples: Sequence[Example], modalities: Collection[str], level: str) -> list[Example]:
    """The examples with these modalities taken away from every utterance."""
    return [restrict(e, {m: np.full(len(e.ids), m not in modalities) for m in e.inputs}, level) for e in examples]


def drop_modalities(example: Example, probability: float, level: str, rng: np.random.Generator) -> Example:
    """Take each modality away from the whole example with this probability.

    An utterance that would lose all that it has keeps all that it has.

    From the whole dialogue, since that is how modalities lack: no camera, no transcript. Were they
    taken from single utterances, the context would learn to stand in with what it heard just before.
    """
    kept = {m: rng.random() >= probability for m in example.inputs}
    bare = ~np.any(
        [there(example, m) for m, keep in kept.items() if keep] or [np.zeros(len(example.ids), bool)], axis=0
    )
    return restrict(example, {m: np.full(len(example.ids), keep) | bare for m, keep in kept.items()}, level)


def stable_seed(*parts: object) -> int:
    """A 63-bit seed that depends on `parts` alone, the same in every process."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:8], "big") >> 1


def labels_by_id(examples: Sequence[Example]) -> dict[str, int]:
    """Utterance id to class index, of the utterances that have one."""
    return {i: int(y) for e in examples for i, y in zip(e.ids, e.labels, strict=True) if y != IGNORE}


def crop(example: Example, n_steps: int, rng: np.random.Generator) -> Example:
    """A random part of `n_steps` samples of the speech; shorter speech is left whole."""
    speech = example.inputs["speech"]
    if len(speech) <= n_steps:
        return example
    start = int(rng.integers(len(speech) - n_steps + 1))
    return replace(example, inputs={**example.inputs, "speech": speech[start : start + n_steps]})


def jitter_faces(example: Example, rng: np.random.Generator) -> Example:
    """Faces (frames, height, width) as another detector might have cut them: one change for all frames.

    Mirrored half of the time, turned by up to 10 degrees, scaled by up to a tenth, shifted by up to a twelfth.
    """
    faces = example.inputs["visual"]
    height, width = faces.shape[1:]
    turn, scale = rng.uniform(-10, 10), rng.uniform(0.9, 1.1)
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), turn, scale)
    matrix[:, 2] += rng.uniform(-1, 1, 2) * (width / 12, height / 12)
    if rng.random() < 0.5:
        faces = faces[:, :, ::-1]
    moved = [cv2.warpAffine(f, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE) for f in faces.copy()]
    return replace(example, inputs={**example.inputs, "visual": np.stack(moved)})


def mask_bands(example: Example, rng: np.random.Generator) -> Example:
    """Spectrogram (frames, bins) with stretches of time and bands of frequency silenced (Park et al. 2019).

    Two of each: of up to a tenth of the frames and a fifth of the bins, set to 0, which is the training
    part's mean once bins are standardised.
    """
    speech = example.inputs["speech"].copy()
    n_frames, n_bins = speech.shape
    for _ in range(2):
        width, height = int(rng.integers(n_frames // 10 + 1)), int(rng.integers(n_bins // 5 + 1))
        start, lowest = int(rng.integers(n_frames - width + 1)), int(rng.integers(n_bins - height + 1))
        speech[start : start + width] = 0
        speech[:, lowest : lowest + height] = 0
    return replace(example, inputs={**example.inputs, "speech": speech})


def training_batches(
    examples: Sequence[Example],
    level: str,
    batch_size: int,
    seed: int,
    crop_steps: int | None = None,
    jitter: bool = False,
    mask: bool = False,
    vary: Callable[[Example, np.random.Generator], Example] | None = None,
    modality_dropout: float = 0.0,
) -> Iterator[Batch]:
    """One epoch in an order that `seed` alone decides.

    Examples are shuffled, then sorted by length within pools of eight batches, so that a batch
    carries little padding; the batches' order is shuffled again.

    Args:
        examples: Training examples.
        level: ``utterance`` or ``conversation``.
        batch_size: Examples a batch.
        seed: Different for every epoch.
        crop_steps: If given, a random part of so many steps of each longer speech input is used.
        jitter: Vary the faces, see `jitter_faces`.
        mask: Silence parts of the spectrogram, see `mask_bands`.
        vary: Puts another recording in an example's place, before it is cropped.
        modality_dropout: Probability that an example loses a modality, see `drop_modalities`.
    """
    rng = np.random.default_rng(seed)
    chosen = [examples[i] for i in rng.permutation(len(examples))]
    if vary is not None:
        chosen = [vary(e, rng) for e in chosen]
    if crop_steps is not None:
        chosen = [crop(e, crop_steps, rng) for e in chosen]
    if mask:
        chosen = [mask_bands(e, rng) for e in chosen]
    if jitter:
        chosen = [jitter_faces(e, rng) for e in chosen]
    if modality_dropout:
        own = np.random.default_rng((seed, 1))  # the order of the examples is the same without
        chosen = [drop_modalities(e, modality_dropout, level, own) for e in chosen]
    groups: list[list[Example]] = []
    pool = 8 * batch_size
    for start in range(0, len(chosen), pool):
        part = sorted(chosen[start : start + pool], key=lambda e: e.n_steps)
        groups += [part[i : i + batch_size] for i in range(0, len(part), batch_size)]
    for i in rng.permutation(len(groups)):
        yield collate(groups[i], level)


def evaluation_batches(examples: Sequence[Example], level: str, batch_size: int) -> Iterator[Batch]:
    """Every example once, longest first, so that a lack of memory shows at the start."""
    ordered = sorted(examples, key=lambda e: -e.n_steps)
    for start in range(0, len(ordered), batch_size):
        yield collate(ordered[start : start + batch_size], level)
