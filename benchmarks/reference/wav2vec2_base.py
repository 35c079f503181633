"""A classifier of the size of wav2vec 2.0 base, the usual starting point for speech emotion today.

Architecture and size are those of `transformers`' default, 95 M weights; the weights are random: for speed alone.

    python wav2vec2_base.py FOLDER CLIP     # the first prediction of a fresh process, from weights in FOLDER
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from plain_audio import read_16k, windows
from torch import nn
from transformers import Wav2Vec2Config, Wav2Vec2ForSequenceClassification
from transformers.utils.logging import disable_progress_bar


def make(n_classes: int = 4, **sizes: Any) -> nn.Module:
    """The classifier with random weights; `sizes` change fields of `Wav2Vec2Config`."""
    return Wav2Vec2ForSequenceClassification(Wav2Vec2Config(num_labels=n_classes, **sizes)).eval()


def logits(model: nn.Module, waveforms: np.ndarray) -> np.ndarray:
    """(batch, n_samples) at 16 kHz -> (batch, n_classes)."""
    mean, std = waveforms.mean(axis=1, keepdims=True), waveforms.std(axis=1, keepdims=True)
    with torch.inference_mode():
        return model(torch.from_numpy((waveforms - mean) / (std + 1e-7))).logits.numpy()


def predict_file(model: nn.Module, path: str | Path) -> list[int]:
    """The class of each 10 s of a file."""
    return [int(logits(model, piece[None]).argmax()) for piece in windows(read_16k(path))]


def save(model: nn.Module, folder: Path) -> None:
    """Write the weights, to be loaded by a fresh process."""
    disable_progress_bar()
    model.save_pretrained(folder)  # type: ignore[operator]


if __name__ == "__main__":
    print(predict_file(Wav2Vec2ForSequenceClassification.from_pretrained(sys.argv[1]).eval(), sys.argv[2]))
