"""Fitting a modality's transform on the training part of a fold."""

from collections.abc import Mapping
from dataclasses import asdict

import numpy as np
import torch

from emofuse.example import Example
from emofuse.features.lexical import WordVectors
from emofuse.features.projection import fit_projection
from emofuse.features.text_hidden import TextHidden
from emofuse.features.wordpieces import WordPieces
from emofuse.models import make_config
from emofuse.models.text_cnn import TextCNN
from emofuse.protocol.feature import FeatureConfig, extractor_of
from emofuse.protocol.fitted import FittedFeature
from emofuse.protocol.settings import TrainingConfig
from emofuse.protocol.stages import train_system


def fit_feature(
    config: FeatureConfig,
    train: dict[str, np.ndarray],
    select: dict[str, np.ndarray],
    labels: Mapping[str, int],
    *,
    vectors: WordVectors | WordPieces | None,
    n_classes: int,
    metric: str,
    seed: int,
    device: torch.device,
) -> FittedFeature:
    """Fit a modality's transform on the training part; the selection part only stops the text CNN."""
    if config.kind in ("waveform", "words", "wordpieces", "face"):
        return FittedFeature(config, vectors=vectors)
    extractor = extractor_of(config) if config.kind == "extract" else None
    if config.is_sequence:
        rows = np.concatenate([np.atleast_2d(a)[::4] for a in train.values()])
        return FittedFeature(config, fit_projection(rows, config.n_components or None), extractor=extractor)
    if extractor is not None:
        stacked = np.stack(list(train.values()))
        return FittedFeature(config, fit_projection(stacked, config.n_components or None), extractor=extractor)
    if config.kind == "stored":
        return FittedFeature(config, fit_projection(np.stack(list(train.values())), config.n_components or None))
    assert vectors is not None
    sizes = make_config("text-cnn", n_classes=n_classes, word_dim=vectors.dim, dropout=config.dropout)
    settings = TrainingConfig(max_epochs=config.max_epochs, patience=5, class_weights=True)
    parts = [[Example((i,), np.array([labels[i]]), {"text": a}) for i, a in part.items()] for part in (train, select)]
    done = train_system("text-cnn", sizes, lambda _: settings, *parts, metric=metric, seed=seed, device=device)
    assert isinstance(done.model, TextCNN)
    hidden = hidden_of(done.model)
    rows = np.stack([hidden(words) for words in train.values()])
    return FittedFeature(config, fit_projection(rows), vectors, hidden)


def hidden_of(model: TextCNN) -> TextHidden:
    """The hidden layer of a text CNN, without torch."""
    return TextHidden(asdict(model.config), {k: v.cpu().numpy() for k, v in model.state_dict().items()})
