"""The text CNN whose 100-d hidden layer is the utterance's text vector in MMAN.

Kim, "Convolutional Neural Networks for Sentence Classification", EMNLP 2014, in the setting of Pan
et al. 2020, Sec. 3.2. It is trained on the training fold only: features fitted on the labels of a
whole corpus, as they circulate, leak the test labels.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from emofuse.models.layers import length_mask


@dataclass(frozen=True)
class TextCNNConfig:
    """Sizes of the text CNN.

    Attributes:
        n_classes: Number of emotions it is trained on.
        word_dim: Size of a word vector.
        kernels: Widths of the parallel convolutions, in words.
        filters: Output channels of each.
        n_features: Size of the hidden layer that is exported.
        dropout: Before and after the hidden layer.
    """

    n_classes: int = 4
    word_dim: int = 300
    kernels: tuple[int, ...] = (1, 2, 3)
    filters: int = 100
    n_features: int = 100
    dropout: float = 0.5


class TextCNN(nn.Module):
    """Parallel convolutions over words, maximum over time, a hidden layer, logits."""

    def __init__(self, config: TextCNNConfig) -> None:
        """Layers after `config`."""
        super().__init__()
        self.config = config
        self.convs = nn.ModuleList(
            nn.Conv1d(config.word_dim, config.filters, kernel, padding=kernel - 1) for kernel in config.kernels
        )
        self.hidden = nn.Linear(config.filters * len(config.kernels), config.n_features)
        self.dropout = nn.Dropout(config.dropout)
        self.output = nn.Linear(config.n_features, config.n_classes)

    def features(self, text: Tensor, text_lengths: Tensor) -> Tensor:
        """(batch, words, word_dim), (batch,) -> (batch, n_features), non-negative."""
        pooled = []
        for conv in self.convs:
            x = torch.relu(conv(text.transpose(1, 2)))
            # Windows that reach over the end by up to kernel - 1 words belong to the utterance.
            n_windows = text_lengths + int(conv.kernel_size[0]) - 1  # type: ignore[index]
            mask = length_mask(n_windows, x.shape[2], x.device)
            pooled.append((x * mask[:, None]).amax(2))
        return torch.relu(self.hidden(self.dropout(torch.cat(pooled, dim=1))))

    def forward(self, text: Tensor, text_lengths: Tensor) -> Tensor:
        """(batch, words, word_dim), (batch,) -> logits (batch, n_classes)."""
        return self.output(self.dropout(self.features(text, text_lengths)))
