"""bc-LSTM: contextual LSTMs over a conversation, first of each modality, then of all of them.

Poria et al., "Context-Dependent Sentiment Analysis in User-Generated Videos", ACL 2017. Sections are
the paper's. With `context` ``both`` (bc-LSTM) an utterance's logits depend on the future: such a
system cannot stream. The paper's one-directional variant (sc-LSTM) can.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from emofuse.models.conversation import Context, ConversationConfig, visible
from emofuse.models.layers import Memory, PaddedLSTM
from emofuse.models.staged import StagedFusion


@dataclass(frozen=True)
class BcLSTMConfig(ConversationConfig):
    """Sizes of bc-LSTM; `dropout` is on the LSTM's input, on its output and before the logits.

    Attributes:
        n_hidden: LSTM state, of each direction.
        n_dense: Dense layer behind the LSTM: the context-aware features of an utterance.
        context: ``both`` is bc-LSTM, ``past`` sc-LSTM.
    """

    n_hidden: int = 300
    n_dense: int = 100
    context: Context = "both"


class ContextNetwork(nn.Module):
    """An LSTM over the utterances, a dense layer, logits ("Context-Dependent Feature Extraction", Sec. 3.2)."""

    def __init__(self, n_input: int, config: BcLSTMConfig) -> None:
        """Layers after `config`."""
        super().__init__()
        both = config.context == "both"
        self.dropout = nn.Dropout(config.dropout)
        self.lstm = PaddedLSTM(n_input, config.n_hidden, bidirectional=both)
        self.dense = nn.Linear(config.n_hidden * (2 if both else 1), config.n_dense)
        self.output = nn.Linear(config.n_dense, config.n_classes)

    def features(self, x: Tensor, lengths: Tensor, memory: Memory | None = None) -> Tensor:
        """(batch, utterances, n_input), (batch,) -> Z (batch, utterances, n_dense), not negative.

        `memory`: see `PaddedLSTM`.
        """
        h = self.lstm(self.dropout(x), lengths, memory)
        return torch.relu(self.dense(self.dropout(h)))

    def forward(self, x: Tensor, lengths: Tensor, memory: Memory | None = None) -> Tensor:
        """(batch, utterances, n_input), (batch,) -> logits (batch, utterances, n_classes); `memory`: see `features`."""
        return self.output(self.dropout(self.features(x, lengths, memory)))


class UnimodalContext(nn.Module):
    """Level 1 of the "Hierarchical Framework" (Sec. 3.3.2): the contextual LSTM of one modality."""

    def __init__(self, config: BcLSTMConfig, modality: str) -> None:
        """Of `modality`, one of `config.feature_dims`."""
        super().__init__()
        self.modality, self.modalities = modality, tuple(config.feature_dims)
        self.network = ContextNetwork(config.feature_dims[modality], config)

    def features(
        self, lengths: Tensor, present: Tensor | None, features: dict[str, Tensor], memory: Memory | None = None
    ) -> Tensor:
        """What level 2 sees: (batch, utterances, n_dense)."""
        x = visible(features, self.modalities, lengths, present)[self.modality]
        return self.network.features(x, lengths, memory)

    def forward(
        self, lengths: Tensor, present: Tensor | None = None, memory: Memory | None = None, **features: Tensor
    ) -> Tensor:
        """Lengths (batch,), modality=(batch, utterances, dim) -> (batch, utterances, n_classes)."""
        return self.network(visible(features, self.modalities, lengths, present)[self.modality], lengths, memory)


class BcLSTM(StagedFusion):
    """Level 2 of the "Hierarchical Framework": the contextual LSTM over what level 1 makes of each modality.

    As in the paper the levels are trained one after the other, level 1 on the labels by itself.

    The classes come from the softmax layer that both levels are trained with. The paper's figures do not: the
    authors say beside their code that the paper has a support vector machine on the layer before it, and that
    the code, which leaves it out as we do, scores somewhat less.

    Where the paper is silent, we choose: sizes (300 and 100, as the authors' code at level 1; that code has a tanh
    in the place of the dense layer's ReLU there, and 500 at level 2), LSTM cells without peepholes, one dropout
    (the code's are 0.4 to 0.9). A missing modality is a row of zeros at level 1; the utterances around it still
    give it features.
    """

    def __init__(self, config: BcLSTMConfig) -> None:
        """One part a modality, named as the system that it is by itself."""
        super().__init__()
        family = "bc-lstm" if config.context == "both" else "sc-lstm"
        self.parts = nn.ModuleDict({f"{family}-{m}": UnimodalContext(config, m) for m in config.feature_dims})
        self.network = ContextNetwork(config.n_dense * len(self.parts), config)

    def forward(
        self, lengths: Tensor, present: Tensor | None = None, memory: Memory | None = None, **features: Tensor
    ) -> Tensor:
        """(batch,), modality=(batch, utterances, dim) -> (batch, utterances, n_classes); `present` as in `visible`."""
        z = [part.features(lengths, present, features, memory) for part in self.parts.values()]  # type: ignore[operator]
        return self.network(torch.cat(z, dim=-1), lengths, memory)
