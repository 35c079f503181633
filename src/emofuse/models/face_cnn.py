"""A small CNN over face crops, pooled over time: the visual network of the model that ships.

Barsoum et al., "Training Deep Networks for Facial Expression Recognition with Crowd-Sourced Label
Distribution", ICMI 2016 (FER+), train a VGG13 of 8.7 M parameters on 48 × 48 grey faces with the
annotators' votes as soft labels. Ours keeps the plan (3 × 3 convolutions in stages of falling
resolution, dropout, soft votes) at a thirtieth of the size, for a CPU: each stage's first
convolution halves the resolution instead of a pooling, and global average pooling replaces the
dense layers.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from emofuse.models.layers import GlobalBatchNorm2d, length_mask, on_device


@dataclass(frozen=True)
class FaceCNNConfig:
    """Sizes of the face network.

    Attributes:
        n_classes: Number of emotions.
        channels: Output channels of the stages; each but the first halves the resolution.
        dropout: Before the output layer.
    """

    n_classes: int = 4
    channels: tuple[int, ...] = (16, 32, 64, 128)
    dropout: float = 0.4


def _conv(n_input: int, n_output: int, stride: int) -> nn.Sequential:
    conv = nn.Conv2d(n_input, n_output, 3, stride, padding=1, bias=False)
    return nn.Sequential(conv, GlobalBatchNorm2d(n_output), nn.ReLU(inplace=True))


class FaceCNN(nn.Module):
    """Grey faces to logits; the frames of an utterance are averaged before the output layer.

    As that layer is linear, this is the mean of the frames' logits, so that training on single
    pictures fits use on tracks of any length.
    """

    def __init__(self, config: FaceCNNConfig) -> None:
        """Layers after `config`."""
        super().__init__()
        self.config = config
        first, *others = config.channels
        stages: list[nn.Module] = [_conv(1, first, 1)]
        previous = first
        for n in others:
            stages += [_conv(previous, n, 2), _conv(n, n, 1)]
            previous = n
        self.stages = nn.Sequential(*stages)
        self.dropout = nn.Dropout(config.dropout)
        self.output = nn.Linear(previous, config.n_classes)

    def features(self, faces: Tensor) -> Tensor:
        """(n_faces, height, width), grey values of any scale -> (n_faces, channels[-1]), non-negative.

        Each face is brought to mean 0 and deviation 1, so that light and contrast do not matter.
        """
        x = faces.float()
        x = x - x.mean((1, 2), keepdim=True)
        x = x / (x.square().mean((1, 2), keepdim=True).sqrt() + 1e-3)
        x = self.stages(x[:, None].to(memory_format=torch.channels_last))
        return x.mean((2, 3))

    def forward(self, visual: Tensor, visual_lengths: Tensor) -> Tensor:
        """(batch, frames, height, width), (batch,) -> logits (batch, n_classes)."""
        visual_lengths = on_device(visual_lengths, visual.device)
        mask = length_mask(visual_lengths, visual.shape[1])
        if torch.onnx.is_in_onnx_export():  # a graph cannot choose rows as well as it can weigh them
            features = self.features(visual.flatten(0, 1)).unflatten(0, visual.shape[:2]) * mask[..., None]
            return self.output(self.dropout(features.sum(1) / visual_lengths[:, None]))
        features = self.features(visual[mask])  # of valid frames only: padding must not enter the batch statistics
        rows = torch.arange(len(visual), device=visual.device)[:, None].expand_as(mask)[mask]
        total = features.new_zeros(len(visual), features.shape[1]).index_add(0, rows, features)
        return self.output(self.dropout(total / visual_lengths[:, None]))
