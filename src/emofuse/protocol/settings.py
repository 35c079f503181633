"""How a system is trained: what a recipe's `[training]` sets."""

import math
from dataclasses import dataclass
from typing import Literal

from emofuse.errors import ConfigError

CompileMode = Literal["none", "default", "reduce-overhead"]


@dataclass(frozen=True)
class TrainingConfig:
    """Settings of `fit`. Adam and its 1e-3 are the papers'; what they leave open is chosen on dev.

    Attributes:
        learning_rate: Of Adam.
        weight_decay: Of Adam, decoupled.
        batch_size: Utterances or conversations a step.
        max_epochs: Upper bound.
        patience: Epochs without a better selection score before stopping; 0: never stop early.
        class_weights: Weight the loss by inverse class frequency in train (helps UA).
        weight_power: Those weights are raised to this power: between 0 (none) and 1 lies what helps macro F1.
        label_smoothing: Of the cross-entropy.
        clip_norm: Gradient norm is clipped to this; 0: never.
        crop_s: Train on random parts of this many seconds of speech; 0: on whole clips.
        average_epochs: Score of an epoch is the mean over this many last epochs: steadier on small dev sets. Earlier
            epochs have none.
        decay: ``cosine``: from epoch to epoch the learning rate falls along half a cosine to nothing at `max_epochs`.
            ``linear``: from step to step it rises over the first tenth of them, then falls to nothing.
        soft_votes: Train on the shares of the annotators' votes instead of the label that won; an utterance without
            votes has one for its label.
        jitter_faces: Mirror, turn, scale and shift the faces at random.
        augment: Share of the clips that an epoch hears through other rooms, microphones, lines and voices.
        shorten: Share of the clips of which an epoch hears only a random stretch of 0.4 to 2 s.
        mask_bands: Silence random stretches of time and bands of frequency of a spectrogram.
        modality_dropout: Probability that each modality of an example (a whole dialogue, where that is the
            example) is taken away in an epoch, never all of them: the system learns to do without. Of a
            system of one modality nothing is taken, the parts of a staged one included.
        precision: Of the forward pass: ``bfloat16`` (autocast) takes two thirds of the time where the processor has it.
        compile: Compile the network first, see `emofuse.protocol.compiling`: for GPUs.
        refit: After dev has chosen the number of epochs, train anew on train and dev for so many.
    """

    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    batch_size: int = 32
    max_epochs: int = 60
    patience: int = 10
    class_weights: bool = False
    weight_power: float = 1.0
    label_smoothing: float = 0.0
    clip_norm: float = 5.0
    crop_s: float = 0.0
    average_epochs: int = 1
    decay: Literal["none", "cosine", "linear"] = "none"
    soft_votes: bool = False
    jitter_faces: bool = False
    augment: float = 0.0
    shorten: float = 0.0
    mask_bands: bool = False
    modality_dropout: float = 0.0
    precision: Literal["float32", "bfloat16"] = "float32"
    compile: CompileMode = "none"
    refit: bool = False

    def __post_init__(self) -> None:
        """Check ranges."""
        for name in ("learning_rate", "batch_size", "max_epochs", "average_epochs"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"training.{name} is {getattr(self, name)}, need more than 0")
        for name in ("weight_decay", "weight_power", "patience", "clip_norm", "crop_s", "label_smoothing"):
            if getattr(self, name) < 0:
                raise ConfigError(f"training.{name} is {getattr(self, name)}, need 0 or more")
        for name in ("augment", "shorten"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"training.{name} is {getattr(self, name)}, a share of the clips: need 0 to 1")
        if not 0 <= self.modality_dropout < 1:
            raise ConfigError(f"training.modality_dropout is {self.modality_dropout}, need 0 or more and less than 1")

    def rate(self, step: int, n_steps: int) -> float:
        """Learning rate after `step` of all `n_steps`."""
        if self.decay == "cosine":
            return self.learning_rate * (1 + math.cos(math.pi * (step / n_steps))) / 2
        if self.decay == "linear":
            rise = max(1, n_steps // 10)
            return self.learning_rate * min((step + 1) / rise, (n_steps - step) / max(1, n_steps - rise))
        return self.learning_rate
