from pathlib import Path

import numpy as np
import pytest
import torch

from emofuse.checkpoint import Checkpoint, save_checkpoint
from emofuse.errors import ConfigError, DataError
from emofuse.features.lexical import WordVectors
from emofuse.models import build, make_config
from emofuse.protocol.feature import FeatureConfig
from emofuse.protocol.fitted import FittedFeature, feature_state
from emofuse.textual import text_cnn

VECTORS = WordVectors({"good": 0, "bad": 1}, np.eye(3, dtype=np.float32)[:2], "two words")


def checkpoint(folder: Path, name: str = "text-cnn", **sizes) -> Path:
    torch.manual_seed(0)
    config = make_config(name, word_dim=3, **sizes)
    meta, arrays = feature_state(FittedFeature(FeatureConfig(kind="words"), vectors=VECTORS))
    model = build(name, config).eval()
    save_checkpoint(folder, Checkpoint(name, config, model, ("a", "b", "c", "d"), {"text": meta}, {"text": arrays}))
    return folder


def test_it_is_the_networks_hidden_layer(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "m", n_features=5, filters=4)
    extractor = text_cnn(folder)
    torch.manual_seed(0)
    model = build("text-cnn", make_config("text-cnn", word_dim=3, n_features=5, filters=4)).eval()
    with torch.no_grad():
        expected = model.features(torch.from_numpy(VECTORS.vectors[None]), torch.tensor([2]))[0]  # type: ignore[operator]
    np.testing.assert_allclose(extractor("good xyzzy bad"), expected, rtol=1e-5)
    assert len(extractor.dimensions) == 5
    with pytest.raises(DataError, match="not one word"):
        extractor("xyzzy")


def test_what_is_no_text_cnn_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="which one"):
        text_cnn()
    other = checkpoint(tmp_path / "m", "cma-text", d_model=10, n_heads=2)
    with pytest.raises(ConfigError, match="holds cma-text, need a text-cnn"):
        text_cnn(other)
