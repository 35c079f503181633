"""The lower layers of a small BERT, and one layer from the mean of its states to the classes.

Wang et al. 2020, "MiniLM: Deep Self-Attention Distillation for Task-Agnostic Compression of Pre-Trained
Transformers" (6 layers of width 384); the transformer is that of Devlin et al. 2019, normalised after each residual.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from emofuse.models.layers import attention, check_sizes, length_mask, on_device

CLS, SEP = 2, 3
"""Ids of the pieces that begin and end every text."""


@dataclass(frozen=True)
class MiniLMConfig:
    """Sizes.

    Attributes:
        n_classes: Number of emotions.
        n_pieces: Size of the vocabulary.
        max_pieces: Longest text, without the two pieces that begin and end it.
        d_model: Width.
        n_layers: Of MiniLM's 6, from below.
        n_heads: Attention heads.
        d_feed: Hidden width of the feed-forward layers.
        dropout: On the embeddings, on what each layer adds, and before the output layer.
    """

    n_classes: int = 4
    n_pieces: int = 30_522
    max_pieces: int = 64
    d_model: int = 384
    n_layers: int = 6
    n_heads: int = 12
    d_feed: int = 1536
    dropout: float = 0.1

    def __post_init__(self) -> None:
        """Check what types cannot express."""
        check_sizes(self, "n_classes", "n_pieces", "max_pieces", "d_model", "n_layers", "n_heads", "d_feed")


class Layer(nn.Module):
    """Self-attention and feed-forward layer, each with residual, then normalised."""

    def __init__(self, config: MiniLMConfig) -> None:
        """Sizes after `config`."""
        super().__init__()
        d = config.d_model
        self.n_heads, self.scale = config.n_heads, (d // config.n_heads) ** -0.5
        self.qkv, self.output = nn.Linear(d, 3 * d), nn.Linear(d, d)
        self.feed1, self.feed2 = nn.Linear(d, config.d_feed), nn.Linear(config.d_feed, d)
        self.norm1, self.norm2 = nn.LayerNorm(d, eps=1e-12), nn.LayerNorm(d, eps=1e-12)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(batch, n, d), (batch, n) -> (batch, n, d)."""
        q, k, v = self.qkv(x).unflatten(2, (3, self.n_heads, -1)).permute(2, 0, 3, 1, 4)
        attended = attention(q, k, v, mask[:, None, None], self.scale).transpose(1, 2).flatten(2)
        x = self.norm1(x + self.dropout(self.output(attended)))
        return self.norm2(x + self.dropout(self.feed2(F.gelu(self.feed1(x)))))


class MiniLM(nn.Module):
    """Ids of word pieces to logits.

    Where the papers are silent, we choose: the classes are read off the mean of the states, as sentence encoders
    of this kind are (Reimers & Gurevych 2019).
    """

    def __init__(self, config: MiniLMConfig) -> None:
        """Sizes after `config`."""
        super().__init__()
        self.pieces = nn.Embedding(config.n_pieces, config.d_model)
        self.positions = nn.Embedding(config.max_pieces + 2, config.d_model)
        self.norm = nn.LayerNorm(config.d_model, eps=1e-12)
        self.dropout = nn.Dropout(config.dropout)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.n_layers))
        self.output = nn.Linear(config.d_model, config.n_classes)

    def forward(self, text: Tensor, text_lengths: Tensor) -> Tensor:
        """(batch, n) ids, padded with 0; (batch,) -> logits (batch, n_classes)."""
        lengths = on_device(text_lengths, text.device) + 2
        n = text.shape[1] + 2
        ids = F.pad(text, (1, 1)).long()
        ids[:, 0] = CLS
        ids = ids.scatter(1, (lengths - 1)[:, None], SEP)
        mask = length_mask(lengths, n)
        x = self.dropout(self.norm(self.pieces(ids) + self.positions.weight[:n]))
        for layer in self.layers:
            x = layer(x, mask)
        weights = mask[..., None].to(x.dtype)
        return self.output(self.dropout((x * weights).sum(1) / weights.sum(1)))


def rename_bert(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a BERT as transformers names them, by the names of `MiniLM`; those without a place are left out.

    Raises:
        KeyError: It is no BERT.

    The token type, always the first, is added to the positions, and the three projections of a layer stand together.
    """
    embeddings = {"word_embeddings": "pieces", "position_embeddings": "positions"}
    found = {f"{new}.weight": weights[f"embeddings.{old}.weight"] for old, new in embeddings.items()}
    found["positions.weight"] = found["positions.weight"] + weights["embeddings.token_type_embeddings.weight"][0]
    layers = {name.split(".")[2] for name in weights if name.startswith("encoder.layer.")}
    parts = {
        "attention.output.dense": "output",
        "attention.output.LayerNorm": "norm1",
        "intermediate.dense": "feed1",
        "output.dense": "feed2",
        "output.LayerNorm": "norm2",
    }
    for kind in ("weight", "bias"):
        found[f"norm.{kind}"] = weights[f"embeddings.LayerNorm.{kind}"]
        for i in layers:
            old, new = f"encoder.layer.{i}", f"layers.{i}"
            of_self = [weights[f"{old}.attention.self.{name}.{kind}"] for name in ("query", "key", "value")]
            found[f"{new}.qkv.{kind}"] = torch.cat(of_self)
            found |= {f"{new}.{b}.{kind}": weights[f"{old}.{a}.{kind}"] for a, b in parts.items()}
    return found
