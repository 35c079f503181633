"""Tensor fusion: every product of one modality's features with another's, without context.

Zadeh et al., "Tensor Fusion Network for Multimodal Sentiment Analysis", EMNLP 2017. Names in
quotes are the paper's. An utterance's logits depend on that utterance alone.
"""

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from emofuse.models.conversation import ConversationConfig, visible


@dataclass(frozen=True)
class TensorFusionConfig(ConversationConfig):
    """Sizes of tensor fusion; `dropout` is on the inputs, on the product and before the logits.

    The first layer over the product has (n_text + 1) (n_other + 1)^2 `n_dense` weights, 18 million at
    the paper's sizes with three modalities.

    Attributes:
        n_text: Features of the text.
        n_other: Features of any other modality.
        n_dense: The two dense layers over the product.
    """

    n_text: int = 128
    n_other: int = 32
    n_dense: int = 128


def outer_product(z: list[Tensor]) -> Tensor:
    """[z_1; 1] x [z_2; 1] x ..., the "Tensor Fusion Layer": (..., d_m) each -> (..., product of d_m + 1)."""
    product = torch.ones_like(z[0][..., :1])
    for x in z:
        x = torch.cat([x, torch.ones_like(x[..., :1])], dim=-1)
        product = (product[..., :, None] * x[..., None, :]).flatten(-2)
    return product


def dense_layers(n_input: int, n_output: int, n_layers: int) -> nn.Sequential:
    """`n_layers` of Linear and ReLU."""
    sizes = [n_input] + [n_output] * n_layers
    return nn.Sequential(*(layer for a, b in pairwise(sizes) for layer in (nn.Linear(a, b), nn.ReLU())))


class TensorFusion(nn.Module):
    """A sub-network a modality, their outer product, dense layers.

    The paper's "Modality Embedding Subnetworks", "Tensor Fusion Layer", "Sentiment Inference Subnetwork".

    How this differs from the paper: an utterance comes as one vector here, so the text's sub-network is its two
    dense layers without the LSTM over words; logits of the classes end it, as in the paper's five-class task.

    Where the paper is silent, we choose: a missing modality has zero features, so that of the product what is left
    is the product of those that are there.
    """

    def __init__(self, config: TensorFusionConfig) -> None:
        """Modalities are those of `config.feature_dims`."""
        super().__init__()
        self.modalities = tuple(config.feature_dims)
        sizes = {m: config.n_text if m == "text" else config.n_other for m in self.modalities}
        self.networks = nn.ModuleDict(
            {m: dense_layers(dim, sizes[m], 2 if m == "text" else 3) for m, dim in config.feature_dims.items()}
        )
        self.dropout = nn.Dropout(config.dropout)
        n_product = 1
        for size in sizes.values():
            n_product *= size + 1
        self.inference = dense_layers(n_product, config.n_dense, 2)
        self.output = nn.Linear(config.n_dense, config.n_classes)

    def forward(self, lengths: Tensor, present: Tensor | None = None, **features: Tensor) -> Tensor:
        """(batch,), modality=(batch, utterances, dim) -> (batch, utterances, n_classes); `present` as in `visible`."""
        shown = visible(features, self.modalities, lengths, present)
        z = {m: self.networks[m](self.dropout(x)) for m, x in shown.items()}
        z = visible(z, self.modalities, lengths, present)  # a missing modality's features, not only its input
        product = outer_product([z[m] for m in self.modalities])
        return self.output(self.dropout(self.inference(self.dropout(product))))
