"""Facial expression as a feature, on a video made of a face that a network is not asked to recognise."""

from pathlib import Path

import numpy as np
import pytest
import torch

from emofuse import facial
from emofuse.checkpoint import Checkpoint, save_checkpoint
from emofuse.errors import ConfigError, DataError
from emofuse.facial import facial_expression
from emofuse.media.video import Frame, read_frames
from emofuse.models import build, make_config
from emofuse.predictor import default_model

BLANK = [Frame(i / 5, np.zeros((120, 160, 3), np.uint8)) for i in range(5)]


def test_no_face_is_no_feature() -> None:
    with pytest.raises(DataError, match="no face found"):
        facial_expression()(BLANK)


def test_the_settings_name_the_weights() -> None:
    a, b = facial_expression("probabilities"), facial_expression("embedding")
    assert a.dimensions == ("angry", "happy", "neutral", "sad")
    assert len(b.dimensions) == 128
    assert a.settings["weights"] == b.settings["weights"]
    assert a.settings != b.settings
    assert a.frame_rate == a.rate_hz == 5


def test_another_system_is_refused() -> None:
    with pytest.raises(ConfigError, match="holds minilm, need a face-cnn"):
        facial_expression(encoder=default_model() / "text")
    with pytest.raises(ConfigError, match="no output 'age'"):
        facial_expression("age")  # type: ignore[arg-type]


def test_rows_are_what_the_network_says_of_each_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    config = make_config("face-cnn", n_classes=2, channels=[3, 4])
    model = build("face-cnn", config).eval()
    save_checkpoint(tmp_path / "m", Checkpoint("face-cnn", config, model, ("a", "b"), {"visual": {}}, temperature=2.0))
    crops = np.random.default_rng(0).integers(0, 255, (3, 48, 48), dtype=np.uint8)
    # a face that the detector is sure to find cannot be drawn by a test: the track is given
    monkeypatch.setattr(facial, "track_faces", lambda frames, detector: list(frames))
    monkeypatch.setattr(facial, "speaking_face", lambda tracks, voice: tracks)
    monkeypatch.setattr(facial, "face_crops", lambda track: (np.arange(3), crops))
    found = facial_expression(encoder=tmp_path / "m")(BLANK)
    with torch.no_grad():
        logits = model(torch.from_numpy(crops)[:, None], torch.ones(3, dtype=torch.long))
    np.testing.assert_allclose(found, (logits / 2).softmax(-1), rtol=1e-5)


def test_real_talking_heads_have_a_face_in_nearly_every_picture(corpora_dir: Path) -> None:
    clips = sorted((corpora_dir / "clips" / "grid").glob("*.mpg"))[:3]
    for clip in clips:
        rows = facial_expression()(read_frames(clip, 5.0, max_side=640))
        assert len(rows) >= 10  # of about 15
        np.testing.assert_allclose(rows.sum(1), 1, rtol=1e-4)
