"""A feed-forward network over one vector an utterance: the speech network of the model that ships.

One hidden layer with dropout on both sides of it (Srivastava et al. 2014), the plainest network for the
functionals of a clip; the linear counterpart is the support vector machine of the Interspeech challenges (Schuller
et al. 2013).
"""

from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True)
class MLPConfig:
    """Sizes of the network.

    Attributes:
        n_classes: Number of emotions.
        n_features: Size of the vector.
        n_hidden: Hidden layer.
        dropout: On the hidden layer; half of it on the vector.
        clamp: Standardised features are held within so many deviations: another microphone's are far out.
    """

    n_classes: int = 4
    n_features: int = 646
    n_hidden: int = 128
    dropout: float = 0.5
    clamp: float = 5.0


class MLP(nn.Module):
    """Vector to logits."""

    def __init__(self, config: MLPConfig) -> None:
        """Layers after `config`."""
        super().__init__()
        self.clamp = config.clamp
        self.layers = nn.Sequential(
            nn.Dropout(config.dropout / 2),
            nn.Linear(config.n_features, config.n_hidden),
            nn.ReLU(),
            nn.Dropout(config.dropout),
            nn.Linear(config.n_hidden, config.n_classes),
        )

    def forward(self, speech: Tensor, speech_lengths: Tensor | None = None) -> Tensor:
        """(batch, n_features) -> logits (batch, n_classes); the lengths are all `n_features` and not read."""
        return self.layers(speech.clamp(-self.clamp, self.clamp))
