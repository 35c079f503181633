"""Learned alignment: the words ask where in the speech what belongs to them is.

Xu et al., "Learning Alignment for Multimodal Emotion Recognition from Speech", Interspeech 2019.
There, words attend to the speech frames of one utterance; here, the utterances of a conversation
attend to the same conversation in another modality. With `context` ``both`` an utterance's logits
depend on the future: such a system cannot stream.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from emofuse.models.conversation import Context, ConversationConfig, context_mask, masked_softmax, visible
from emofuse.models.layers import PaddedLSTM


@dataclass(frozen=True)
class AlignmentConfig(ConversationConfig):
    """Sizes of the alignment network; `dropout` is on each LSTM's input and before the logits.

    Attributes:
        n_hidden: State of every LSTM, of each direction.
        context: ``past``: one-directional LSTMs, and attention to the utterances so far.
    """

    n_hidden: int = 100
    context: Context = "both"

    def __post_init__(self) -> None:
        """Check the sizes."""
        super().__post_init__()
        self.need_two_modalities()


class AlignmentAttention(nn.Module):
    """The paper's additive attention: a_ji = tanh(u' s_i + v' h_j + b), softmax over i."""

    def __init__(self, n_hidden: int) -> None:
        """`n_hidden` of both sequences."""
        super().__init__()
        self.u = nn.Linear(n_hidden, 1, bias=False)
        self.v = nn.Linear(n_hidden, 1)

    def weights(self, h: Tensor, s: Tensor, mask: Tensor) -> Tensor:
        """Asking h (batch, n, d), asked s (batch, n, d), mask (batch, n, n) -> (batch, n asking, n asked)."""
        return masked_softmax(torch.tanh(self.v(h) + self.u(s).transpose(1, 2)), mask)

    def forward(self, h: Tensor, s: Tensor, mask: Tensor) -> Tensor:
        """What of `s` belongs to each step of `h`: (batch, n, d)."""
        return self.weights(h, s, mask) @ s


class Alignment(nn.Module):
    """An LSTM a modality, the others aligned to the text, an LSTM over all of them.

    The code that the authors' company publishes (Delta-ML/delta) is not followed: it has multi-head attention in the
    place of the additive one, and goes on with the aligned speech alone; here, as in the paper, with speech and text.

    Where the paper is silent, we choose: of any two modalities or more, the text asks, or the last
    one where there is no text, and each other modality is aligned to it by an attention of its own.
    An utterance needs logits of its own, so the paper's maximum over time is left out. The sizes
    are ours. A missing modality is a row of zeros that is not asked; nobody to ask gives zeros.
    """

    def __init__(self, config: AlignmentConfig) -> None:
        """Modalities are those of `config.feature_dims`."""
        super().__init__()
        dims, both = config.feature_dims, config.context == "both"
        self.modalities = tuple(dims)
        self.context: Context = config.context
        self.asking = "text" if "text" in dims else self.modalities[-1]
        n_output = config.n_hidden * (2 if both else 1)
        self.dropout = nn.Dropout(config.dropout)
        self.encoders = nn.ModuleDict(
            {m: PaddedLSTM(dim, config.n_hidden, bidirectional=both) for m, dim in dims.items()}
        )
        self.attention = nn.ModuleDict({m: AlignmentAttention(n_output) for m in dims if m != self.asking})
        self.fusion = PaddedLSTM(n_output * len(dims), config.n_hidden, bidirectional=both)
        self.output = nn.Linear(n_output, config.n_classes)

    def forward(self, lengths: Tensor, present: Tensor | None = None, **features: Tensor) -> Tensor:
        """(batch,), modality=(batch, utterances, dim) -> (batch, utterances, n_classes); `present` as in `visible`."""
        shown = visible(features, self.modalities, lengths, present)
        states = {m: self.encoders[m](self.dropout(x), lengths) for m, x in shown.items()}
        h = states[self.asking]
        aligned = []
        for i, m in enumerate(self.modalities):
            if m != self.asking:
                there = None if present is None else present[..., i]
                mask = context_mask(lengths, h, self.context, there)
                aligned.append(self.attention[m](h, states[m], mask))
        fused = self.fusion(self.dropout(torch.cat([*aligned, h], dim=-1)), lengths)
        return self.output(self.dropout(fused))
