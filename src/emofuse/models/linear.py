"""A linear classifier over one vector an utterance: what openSMILE baselines are, as one layer."""

from dataclasses import dataclass

from torch import Tensor, nn

from emofuse.models.layers import check_sizes


@dataclass(frozen=True)
class LinearConfig:
    """Sizes of `LinearClassifier`.

    Attributes:
        n_classes: Number of emotions.
        n_features: Values of the vector; the default is openSMILE's IS13-ComParE functionals.
    """

    n_classes: int = 4
    n_features: int = 6373

    def __post_init__(self) -> None:
        """Check sizes."""
        check_sizes(self, "n_classes", "n_features")


class LinearClassifier(nn.Module):
    """Logits ``W x + b``. `emofuse.protocol.linear` fits it as a support vector machine."""

    def __init__(self, config: LinearConfig) -> None:
        """One layer."""
        super().__init__()
        self.config = config
        self.output = nn.Linear(config.n_features, config.n_classes)

    def forward(self, speech: Tensor, speech_lengths: Tensor) -> Tensor:
        """(batch, n_features), unused lengths (batch,) -> (batch, n_classes)."""
        return self.output(speech)
