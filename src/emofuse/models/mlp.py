"""A feed-forward network over one vector an utterance: the speech network of the model that ships.

One hidden layer with dropout on both sides of it (Srivastava et al. 2014), the plainest network for the
functionals of a clip; the linear counterpart is the support vector machine of the Interspeech challenges (Schuller
et al. 2013).
"""

from dataclasses import dataclass, replace

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
        n_auxiliary: Auxiliary classes, learnt and never predicted: outputs behind the others, in training only.
    """

    n_classes: int = 4
    n_features: int = 646
    n_hidden: int = 128
    dropout: float = 0.5
    clamp: float = 5.0
    n_auxiliary: int = 0


class MLP(nn.Module):
    """Vector to logits."""

    def __init__(self, config: MLPConfig) -> None:
        """Layers after `config`."""
        super().__init__()
        self.config = config
        self.layers = nn.Sequential(
            nn.Dropout(config.dropout / 2),
            nn.Linear(config.n_features, config.n_hidden),
            nn.ReLU(),
            nn.Dropout(config.dropout),
            nn.Linear(config.n_hidden, config.n_classes + config.n_auxiliary),
        )

    def forward(self, speech: Tensor, speech_lengths: Tensor | None = None) -> Tensor:
        """(batch, n_features) -> logits (batch, n_classes), in training (batch, n_classes + n_auxiliary).

        The lengths are all `n_features` and not read.
        """
        clamp = self.config.clamp
        logits = self.layers(speech.clamp(-clamp, clamp))
        return logits[..., : self.config.n_classes] if self.config.n_auxiliary and not self.training else logits

    def without_auxiliary(self) -> "MLP":
        """The same network, once trained, without the outputs of auxiliary classes."""
        told = MLP(replace(self.config, n_auxiliary=0))
        rows = {name: len(weights) for name, weights in told.state_dict().items()}
        told.load_state_dict({name: weights[: rows[name]] for name, weights in self.state_dict().items()})
        return told.train(self.training)
