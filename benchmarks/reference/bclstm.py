"""bc-LSTM as its usual programs write it: plain bidirectional LSTMs over the utterances of padded dialogues.

One for each modality, then one over what these make of all; 300 units a direction, a dense layer of 100, all
dialogues padded to the longest of the corpus (Poria et al. 2017). It imports nothing of emofuse.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

N_HIDDEN, N_DENSE, DROPOUT = 300, 100, 0.5
IGNORE = -1


class ContextLSTM(nn.Module):
    """A bidirectional LSTM, a dense layer, logits."""

    def __init__(self, n_input: int, n_classes: int) -> None:
        """`n_input` values an utterance."""
        super().__init__()
        self.lstm = nn.LSTM(n_input, N_HIDDEN, batch_first=True, bidirectional=True)
        self.dense = nn.Linear(2 * N_HIDDEN, N_DENSE)
        self.output = nn.Linear(N_DENSE, n_classes)
        self.dropout = nn.Dropout(DROPOUT)

    def features(self, x: Tensor) -> Tensor:
        """(batch, utterances, n_input) -> (batch, utterances, N_DENSE)."""
        h, _ = self.lstm(x)
        return torch.relu(self.dense(self.dropout(h)))

    def forward(self, x: Tensor) -> Tensor:
        """(batch, utterances, n_input) -> logits (batch, utterances, n_classes)."""
        return self.output(self.dropout(self.features(x)))


class BcLSTM:
    """The networks of all modalities, and the one over them, each with its Adam."""

    def __init__(self, dims: Mapping[str, int], n_classes: int) -> None:
        """Modality to the size of its utterance vector."""
        self.alone = {m: ContextLSTM(dim, n_classes) for m, dim in dims.items()}
        self.fusion = ContextLSTM(N_DENSE * len(dims), n_classes)
        networks = [*self.alone.values(), self.fusion]
        self.optimisers = [torch.optim.Adam(n.parameters(), lr=1e-3) for n in networks]

    def train_epoch(self, features: Mapping[str, Tensor], labels: Tensor, batch_size: int) -> float:
        """One pass of each network over padded dialogues; the mean loss of the last.

        Args:
            features: Modality to (dialogues, utterances, dim), padded behind.
            labels: (dialogues, utterances), `IGNORE` where padded.
            batch_size: Dialogues a step.
        """
        *first, last = self.optimisers
        for (modality, network), optimiser in zip(self.alone.items(), first, strict=True):
            _epoch(network, optimiser, features[modality], labels, batch_size)
        with torch.no_grad():
            seen = [network.eval().features(features[m]) for m, network in self.alone.items()]
        return _epoch(self.fusion, last, torch.cat(seen, dim=-1), labels, batch_size)


def pad(dialogues: Sequence[Tensor], value: float = 0.0) -> Tensor:
    """(utterances, ...) of any lengths -> (dialogues, longest, ...)."""
    return nn.utils.rnn.pad_sequence(list(dialogues), batch_first=True, padding_value=value)


def _epoch(network: nn.Module, optimiser: torch.optim.Optimizer, x: Tensor, labels: Tensor, batch_size: int) -> float:
    network.train()
    losses = []
    for rows in torch.randperm(len(x)).split(batch_size):
        loss = F.cross_entropy(network(x[rows]).flatten(0, 1), labels[rows].flatten(), ignore_index=IGNORE)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return sum(losses) / len(losses)
