"""MulT (Tsai et al. 2019) as the package MMSA has it, at its settings for CMU-MOSI; needs ``pip install MMSA``.

It sees sequences of words, frames and pictures of single utterances, random here: for speed alone.
"""

from types import SimpleNamespace

import torch
from MMSA.models.singleTask.MULT import MULT
from torch import Tensor, nn
from torch.nn import functional as F

DIMS = (300, 5, 20)
"""Text (GloVe), sound (COVAREP), face (FACET) of each step in MMSA's CMU-MOSI."""

BATCH_SIZE, N_STEPS = 16, 50
_SETTINGS = {
    "use_bert": False,
    "dst_feature_dim_nheads": (50, 10),
    "feature_dims": DIMS,
    "nlevels": 4,
    "attn_mask": True,
    "attn_dropout": 0.3,
    "attn_dropout_a": 0.2,
    "attn_dropout_v": 0.0,
    "relu_dropout": 0.0,
    "embed_dropout": 0.2,
    "res_dropout": 0.0,
    "output_dropout": 0.5,
    "text_dropout": 0.5,
    "conv1d_kernel_size_l": 5,
    "conv1d_kernel_size_a": 5,
    "conv1d_kernel_size_v": 5,
    "train_mode": "classification",
}


def make(n_classes: int = 4) -> tuple[nn.Module, torch.optim.Optimizer]:
    """The network and its optimiser."""
    model = MULT(SimpleNamespace(**_SETTINGS, num_classes=n_classes))
    return model, torch.optim.Adam(model.parameters(), lr=2e-3, weight_decay=5e-3)


def batch(size: int = BATCH_SIZE, n_steps: int = N_STEPS) -> tuple[list[Tensor], Tensor]:
    """Random text, sound and face, (size, n_steps, dim) each, and labels (size,)."""
    return [torch.randn(size, n_steps, dim) for dim in DIMS], torch.randint(0, 4, (size,))


def train_step(model: nn.Module, optimiser: torch.optim.Optimizer, inputs: list[Tensor], labels: Tensor) -> float:
    """One step; returns its loss."""
    model.train()
    loss = F.cross_entropy(model(*inputs)["M"], labels)
    optimiser.zero_grad()
    loss.backward()
    nn.utils.clip_grad_value_(model.parameters(), 0.6)
    optimiser.step()
    return loss.item()
