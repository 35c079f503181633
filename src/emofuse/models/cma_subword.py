"""CMA's text side over embeddings that are trained, with a direct path from pairs of words to the classes.

Krishna & Patil 2020 keep GloVe fixed; with 50 numbers a word that is too little. Here a word's vector
starts at GloVe's and is trained, and the vectors of its letter n-grams are added (Bojanowski et al.
2017). Pairs of neighbouring words vote for the classes beside the network (Cheng et al. 2016, "Wide &
Deep Learning"), as in a linear model over bigrams.
"""

from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from emofuse.errors import ConfigError
from emofuse.models.cma import CMA, CMAConfig


@dataclass(frozen=True)
class SubwordConfig:
    """Sizes.

    Attributes:
        n_classes: Number of emotions.
        word_dim: Size of an embedding.
        n_words: Words with an embedding of their own.
        n_grams: Hash buckets of letter n-grams.
        n_pairs: Hash buckets of pairs of words.
        d_model: Width of the Bi-LSTM (each direction), of the attention and of its feed-forward layer.
        n_heads: Attention heads.
        n_blocks: Attention blocks.
        dropout: After the Bi-LSTM.
        word_dropout: Share of the words that lose their own embedding in a training step and are left with
            their n-grams', as an unknown word is.
    """

    n_classes: int = 4
    word_dim: int = 50
    n_words: int = 20_000
    n_grams: int = 20_000
    n_pairs: int = 65_536
    d_model: int = 64
    n_heads: int = 4
    n_blocks: int = 1
    dropout: float = 0.3
    word_dropout: float = 0.1

    def __post_init__(self) -> None:
        """Check what types cannot express; the rest is `CMAConfig`'s to check."""
        for name in ("n_words", "n_grams", "n_pairs", "word_dim"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}, need at least 1")
        if not 0 <= self.word_dropout < 1:
            raise ConfigError(f"word_dropout is {self.word_dropout}, need 0 or more and less than 1")
        _cma_config(self)


def _cma_config(config: SubwordConfig) -> CMAConfig:
    shared = ("n_classes", "word_dim", "d_model", "n_heads", "n_blocks", "dropout")
    return CMAConfig(modalities=("text",), **{k: v for k, v in asdict(config).items() if k in shared})


class SubwordCMA(nn.Module):
    """Embeddings of words and n-grams, CMA's text side over them, and the votes of pairs of words.

    `text` is (batch, words, 2 + n-grams) of ids: the word's, its pair's, its n-grams'; 0 is none.
    """

    def __init__(self, config: SubwordConfig) -> None:
        """Tables after `config`; the pairs start with no say."""
        super().__init__()
        self.config = config
        self.words = nn.Embedding(config.n_words + 1, config.word_dim, padding_idx=0)
        self.grams = nn.Embedding(config.n_grams + 1, config.word_dim, padding_idx=0)
        self.pairs = nn.Embedding(config.n_pairs + 1, config.n_classes, padding_idx=0)
        nn.init.normal_(self.grams.weight[1:].detach(), std=0.02)
        nn.init.zeros_(self.pairs.weight)
        self.cma = CMA(_cma_config(config))

    def forward(self, text: Tensor, text_lengths: Tensor) -> Tensor:
        """(batch, words, slots), (batch,) -> logits (batch, n_classes)."""
        votes = self.pairs(text[:, :, 1]).sum(1) / text_lengths[:, None].sqrt()
        return self.cma(text=self._embed(text), text_lengths=text_lengths) + votes

    def attention_received(self, text: Tensor, text_lengths: Tensor) -> dict[str, Tensor]:
        """How much attention each word receives; see `CMA.attention_received`."""
        return self.cma.attention_received(text=self._embed(text), text_lengths=text_lengths)

    def _embed(self, text: Tensor) -> Tensor:
        """(batch, words, slots) -> (batch, words, word_dim): the word's vector and the n-grams' sum over sqrt(n)."""
        words, grams = text[:, :, 0], text[:, :, 2:]
        if self.training and self.config.word_dropout:
            words = words * (torch.rand(words.shape, device=words.device) >= self.config.word_dropout)
        bags = F.embedding_bag(grams.flatten(0, 1), self.grams.weight, mode="sum", padding_idx=0)
        n = (grams > 0).sum(2, keepdim=True).clamp(min=1)
        return self.words(words) + bags.unflatten(0, words.shape) / n.sqrt()
