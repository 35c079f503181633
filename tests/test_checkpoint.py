import json

import numpy as np
import pytest
import torch
from safetensors import SafetensorError
from safetensors.numpy import load_file

from emofuse.checkpoint import Checkpoint, load_checkpoint, save_checkpoint, write_folder
from emofuse.errors import DataError
from emofuse.features.lexical import WordVectors
from emofuse.features.projection import fit_projection
from emofuse.models import build, make_config
from emofuse.models.text_cnn import TextCNN, TextCNNConfig
from emofuse.protocol.feature import FeatureConfig
from emofuse.protocol.fitted import FittedFeature, feature_from_state, feature_state
from emofuse.protocol.fitting import hidden_of

CLASSES = ("angry", "happy", "neutral", "sad")
SIZES = {
    "cma-text": {"word_dim": 3, "d_model": 4, "n_heads": 2},
    "cma": {"word_dim": 3, "d_model": 4, "n_heads": 2, "filters": (2, 3, 4)},
    "mman": {"feature_dims": {"text": 3, "speech": 2}, "d_model": 4, "n_hidden": 5, "n_dense": 3},
}


def checkpoint(name: str, **parts) -> Checkpoint:
    torch.manual_seed(0)
    config = make_config(name, **SIZES[name])
    return Checkpoint(name, config, build(name, config).eval(), CLASSES, **parts)


def inputs(name: str) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    if name == "mman":
        return {"lengths": torch.tensor([3, 2]), "text": torch.randn(2, 3, 3), "speech": torch.randn(2, 3, 2)}
    speech = {"speech": torch.randn(2, 2000), "speech_lengths": torch.tensor([2000, 1500])} if name == "cma" else {}
    return {"text": torch.randn(2, 3, 3), "text_lengths": torch.tensor([3, 2]), **speech}


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "model"
    save_checkpoint(path, checkpoint("cma-text"))
    return path


@pytest.mark.parametrize("name", SIZES)
def test_round_trip(tmp_path, name):
    saved = checkpoint(
        name,
        features={"text": {"config": {"kind": "words"}, "words": ["naïve", "’s"]}},
        feature_arrays={"text": {"vectors": np.arange(6, dtype=np.float16).reshape(2, 3)}},
        temperature=1.7,
        provenance={"seed": 3, "test": {"ua": 0.5}},
    )
    if name == "cma":  # running statistics and counters of the batch normalisation are stored too
        saved.model.train()(**inputs(name))
        saved.model.eval()
    path = tmp_path / "deep" / "model"
    save_checkpoint(path, saved)
    assert sorted(p.name for p in path.iterdir()) == ["config.json", "model.safetensors"]
    assert [p.name for p in path.parent.iterdir()] == ["model"]
    loaded = load_checkpoint(path)
    assert not loaded.model.training
    assert loaded.model_config == saved.model_config
    with torch.inference_mode():
        torch.testing.assert_close(loaded.model(**inputs(name)), saved.model(**inputs(name)), rtol=0, atol=0)
    for key in ("system", "classes", "features", "temperature", "provenance"):
        assert getattr(loaded, key) == getattr(saved, key)
    np.testing.assert_array_equal(loaded.feature_arrays["text"]["vectors"], saved.feature_arrays["text"]["vectors"])
    torch.testing.assert_close(dict(loaded.model.state_dict()), dict(saved.model.state_dict()), rtol=0, atol=0)


def test_the_order_of_the_modalities_survives(tmp_path):
    save_checkpoint(tmp_path / "model", checkpoint("mman"))
    assert list(load_checkpoint(tmp_path / "model").model_config.feature_dims) == ["text", "speech"]


def test_nothing_in_a_checkpoint_is_a_pickle(folder):
    assert json.loads((folder / "config.json").read_text())["format"] == 1
    assert all(key.startswith("model/") for key in load_file(folder / "model.safetensors"))


def through_disk(tmp_path, fitted: FittedFeature) -> FittedFeature:
    meta, arrays = feature_state(fitted)
    saved = checkpoint("cma-text", features={"text": meta}, feature_arrays={"text": arrays})
    save_checkpoint(tmp_path / "model", saved)
    loaded = load_checkpoint(tmp_path / "model")
    return feature_from_state(loaded.features["text"], loaded.feature_arrays["text"])


@pytest.mark.parametrize("n_components", [None, 2])
def test_a_projection_is_stored(tmp_path, n_components):
    X = np.random.default_rng(0).normal(size=(9, 4)).astype(np.float32)
    fitted = FittedFeature(
        FeatureConfig(kind="stored", n_components=n_components or 0), fit_projection(X, n_components)
    )
    again = through_disk(tmp_path, fitted)
    assert again.config == fitted.config
    assert again.dim == fitted.dim == (n_components or 4)
    np.testing.assert_allclose(again.transform(list(X)), fitted.transform(list(X)), rtol=1e-5, atol=1e-5)


def word_vectors() -> WordVectors:
    vectors = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float16).astype(np.float32)
    return WordVectors({"i": 0, "am": 1, "so": 2, "übel": 3}, vectors, "small.txt")


def test_word_vectors_are_stored(tmp_path):
    fitted = FittedFeature(FeatureConfig(kind="words", max_words=7), vectors=word_vectors())
    again = through_disk(tmp_path, fitted)
    assert again.config == fitted.config
    assert again.vectors.index == fitted.vectors.index
    assert again.vectors.name == "small.txt"
    np.testing.assert_array_equal(again.vectors.encode("so übel, I am"), fitted.vectors.encode("so übel, I am"))


def test_a_text_cnn_is_stored(tmp_path):
    torch.manual_seed(0)
    model = hidden_of(TextCNN(TextCNNConfig(word_dim=3, filters=2, n_features=5, kernels=(1, 2))))
    vectors = word_vectors()
    arrays = [vectors.encode(text) for text in ("I am", "so", "I am so übel")]
    hidden = FittedFeature(FeatureConfig(kind="text-cnn"), None, vectors, model).transform(arrays)
    fitted = FittedFeature(FeatureConfig(kind="text-cnn"), fit_projection(np.stack(hidden)), vectors, model)
    again = through_disk(tmp_path, fitted)
    assert make_config("text-cnn", **again.text_cnn.settings) == make_config("text-cnn", **model.settings)
    assert again.dim == fitted.dim == 5
    np.testing.assert_allclose(again.transform(arrays), fitted.transform(arrays), rtol=1e-4, atol=1e-5)


def test_a_feature_without_anything_fitted_is_stored(tmp_path):
    fitted = FittedFeature(FeatureConfig(kind="waveform", max_s=3, level="rms"))
    assert through_disk(tmp_path, fitted) == fitted


def change(folder, **values):
    file = folder / "config.json"
    config = json.loads(file.read_text())
    for key, value in values.items():
        config[key] = value
    file.write_text(json.dumps({k: v for k, v in config.items() if v is not None}))


def model_sizes(folder, **sizes):
    config = json.loads((folder / "config.json").read_text())
    change(folder, model=config["model"] | sizes)


def truncate(folder, keep=0.5):
    file = folder / "model.safetensors"
    content = file.read_bytes()
    file.write_bytes(content[: int(keep * len(content))])


DAMAGES = {
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "cannot be read as safetensors"),
    "truncated weights": (truncate, "cannot be read as safetensors"),
    "empty weights": (lambda f: truncate(f, 0), "cannot be read as safetensors"),
    "garbage weights": (
        lambda f: (f / "model.safetensors").write_bytes(b"\x80\x04rubbish" * 9),
        "cannot be read as safetensors",
    ),
    "no config": (lambda f: (f / "config.json").unlink(), "not a checkpoint, need a folder with config.json"),
    "garbage config": (lambda f: (f / "config.json").write_text('{"format": 1,\n'), "cannot be read as JSON"),
    "binary config": (lambda f: (f / "config.json").write_bytes(b"\xff\xfe\x00"), "cannot be read as JSON"),
    "list config": (lambda f: (f / "config.json").write_text("[1]"), "no 'format', need format, system"),
    "config without classes": (lambda f: change(f, classes=None), "no 'classes', need"),
    "wrong format": (lambda f: change(f, format=2), "format 2, this version reads format 1"),
    "unknown system": (lambda f: change(f, system="cmma"), "unknown system 'cmma'"),
    "other system": (lambda f: change(f, system="mman"), "do not fit each other"),
    "other sizes": (lambda f: model_sizes(f, word_dim=5), "do not fit each other"),
    "sizes that do not go": (lambda f: model_sizes(f, n_heads=3), "not a multiple of n_heads"),
    "sizes of nothing": (lambda f: model_sizes(f, d_model=0), "do not fit each other"),
    "unknown size": (lambda f: model_sizes(f, width=3), "unknown model setting 'width'"),
    "sizes that are none": (lambda f: change(f, model=[3]), "do not fit each other"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_refused_in_one_line(folder, damage):
    do, message = DAMAGES[damage]
    do(folder)
    with pytest.raises(DataError) as caught:
        load_checkpoint(folder)
    assert message in str(caught.value)
    assert str(caught.value).startswith(str(folder))
    assert "\n" not in str(caught.value)


def test_a_missing_folder_and_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "nowhere", tmp_path / "file"):
        with pytest.raises(DataError) as caught:
            load_checkpoint(path)
        assert str(caught.value).startswith(str(path))
        assert "\n" not in str(caught.value)


def test_a_checkpoint_replaces_the_former_one(folder):
    (folder / "leftover.txt").write_text("of the former one")
    (folder.parent / "model.partial").mkdir()  # left by an interrupted write
    (folder.parent / "model.partial" / "rubbish").write_text("")
    save_checkpoint(folder, checkpoint("mman"))
    assert load_checkpoint(folder).system == "mman"
    assert sorted(p.name for p in folder.iterdir()) == ["config.json", "model.safetensors"]
    assert [p.name for p in folder.parent.iterdir()] == ["model"]


def test_a_write_that_fails_leaves_the_former_checkpoint(folder):
    with pytest.raises(SafetensorError):
        write_folder(folder, {"config.json": "{}", "model.safetensors": {"x": np.array([object()])}})
    assert load_checkpoint(folder).system == "cma-text"
