"""Fusions of networks that are trained one by one and then frozen (Pan et al. 2020, Sec. 2.2)."""

import torch
from torch import Tensor, nn

from emofuse.models.layers import Memory

FROM_PARTS = "from_parts"
"""Name of the input that stands for what the frozen parts of a fusion give, where that is computed once."""


class StagedFusion(nn.Module):
    """A fusion over sub-networks that are trained one by one and then frozen (Sec. 2.2).

    `parts` maps a system's name to its network, `columns` are the columns of `present` that each of
    them uses; `fusion_input` is what the fusion layers see.
    """

    parts: nn.ModuleDict
    columns: list[list[int]]

    def freeze_parts(self) -> None:
        """Stop the parts' training; their dropout is off from here on."""
        self.parts.requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> "StagedFusion":
        """As `torch.nn.Module.train`, but frozen parts stay in evaluation mode."""
        super().train(mode)
        for part in self.parts.values():
            if not any(p.requires_grad for p in part.parameters()):
                part.eval()
        return self

    def fusion_input(
        self,
        lengths: Tensor,
        features: dict[str, Tensor],
        present: Tensor | None = None,
        memory: Memory | None = None,
    ) -> Tensor:
        """Class probabilities of every part, concatenated: (batch, utterances, n_parts * n_classes).

        Features that hold them already, under `FROM_PARTS`, are not computed anew.

        A part that has none of its modalities in an utterance knows the past alone. It abstains: the
        mean of the others stands in its place, so that the fusion sees what it knows from training.
        """
        if FROM_PARTS in features:
            return features[FROM_PARTS]
        logits = [part(lengths, present, memory=memory, **features) for part in self.parts.values()]
        p = torch.stack(logits, dim=-2).softmax(-1)
        if present is not None:
            p = fill_absent(p, torch.stack([present[..., columns].any(-1) for columns in self.columns], dim=-1))
        return p.flatten(-2)


def fill_absent(p: Tensor, there: Tensor) -> Tensor:
    """Class probabilities with the mean of the parts that are there in the place of the others.

    (..., n_parts, n_classes), (..., n_parts) -> as p; where no part is there, all classes are alike.
    """
    weights = there[..., None].to(p.dtype)
    n = weights.sum(-2, keepdim=True)
    mean = torch.where(n > 0, (p * weights).sum(-2, keepdim=True) / n.clamp(min=1), 1 / p.shape[-1])
    return torch.where(there[..., None], p, mean)
