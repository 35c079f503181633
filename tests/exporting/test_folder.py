"""A model that was exported is used like any other: predicted with, scored, and refused where it has no place."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from emofuse.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from emofuse.engine import open_trained
from emofuse.errors import ConfigError, DataError
from emofuse.exporting.folder import Exported, export_model, quantise
from emofuse.exporting.tracing import export_network
from emofuse.features.lexical import WordVectors
from emofuse.graph import GRAPH, GraphNetwork
from emofuse.media.audio import SAMPLE_RATE
from emofuse.media.segment import Segment
from emofuse.models import build, make_config
from emofuse.models.network import TorchNetwork
from emofuse.models.text_cnn import TextCNN
from emofuse.predictor import Utterance, default_model, load
from emofuse.protocol.feature import FeatureConfig
from emofuse.protocol.fitted import FittedFeature, feature_state
from emofuse.protocol.fitting import hidden_of
from emofuse.trained import has_weights

CLASSES = ("angry", "happy")
VECTORS = WordVectors({"good": 0, "bad": 1, "do": 2, "n't": 3}, np.eye(4, dtype=np.float32), "four words")
SIZES = {"d_model": 10, "n_heads": 2, "word_dim": 4, "filters": [4, 4, 4]}
UTTERANCES = [
    Utterance(Segment(0, 2, "a", "good bad"), np.random.default_rng(0).normal(0, 0.1, 2 * SAMPLE_RATE)),
    Utterance(Segment(2, 3, "b", "bad do")),
    Utterance(Segment(3, 4, "a"), np.random.default_rng(1).normal(0, 0.1, SAMPLE_RATE)),
]


def saved(folder: Path, name: str, features: dict[str, FittedFeature], **sizes) -> Path:
    torch.manual_seed(0)
    config = make_config(name, n_classes=2, **sizes)
    states = {m: feature_state(f) for m, f in features.items()}
    metas, arrays = {m: s[0] for m, s in states.items()}, {m: s[1] for m, s in states.items()}
    model = build(name, config).eval()
    save_checkpoint(folder, Checkpoint(name, config, model, CLASSES, metas, arrays, 1.3, {"seed": 1}))
    return folder


def cma(folder: Path) -> Path:
    speech = FittedFeature(FeatureConfig(kind="waveform", level="rms"))
    text = FittedFeature(FeatureConfig(kind="words"), vectors=VECTORS)
    return saved(folder, "cma", {"speech": speech, "text": text}, **SIZES)


def in_context(folder: Path) -> Path:
    torch.manual_seed(3)
    cnn = hidden_of(TextCNN(make_config("text-cnn", word_dim=4, n_features=5, filters=4)))
    feature = FittedFeature(FeatureConfig(kind="text-cnn", relative=True), None, VECTORS, cnn)
    sizes = {"feature_dims": {"text": 10}, "n_hidden": 4, "n_dense": 4, "turns": True}
    return saved(folder, "clstm-text", {"text": feature}, **sizes)


def export(make: Callable[[Path], Path], folder: Path) -> tuple[Path, Path, Exported]:
    """A checkpoint, its export, and what was said of it."""
    (done,) = export_model(make(folder / "model"), folder / "out")
    return folder / "model", folder / "out", done


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Exported]:
    """CMA; a test that changes its folders takes a copy."""
    return export(cma, tmp_path_factory.mktemp("cma"))


@pytest.mark.parametrize("make", [cma, in_context])
def test_it_predicts_what_the_checkpoint_predicts(
    tmp_path: Path, exported: tuple[Path, Path, Exported], make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("emofuse.models.inference.has_bfloat16", lambda: False)  # it rounds more than is compared
    model, out, done = exported if make is cma else export(make, tmp_path)
    assert done.difference < 1e-5
    assert {f.name for f in out.iterdir()} == {"config.json", "model.safetensors", GRAPH}
    assert not has_weights(out)
    expected = load(model).judge(UTTERANCES, "x")
    found = load(out).judge(UTTERANCES, "x")
    assert any(p is not None for p in expected)
    for ours, theirs in zip(found, expected, strict=True):
        assert (ours is None) == (theirs is None)
        if ours is not None and theirs is not None:
            assert ours.probabilities == pytest.approx(theirs.probabilities, abs=2e-4)
            assert [w.weight for w in ours.words] == pytest.approx([w.weight for w in theirs.words], abs=2e-4)
            assert [m.weight for m in ours.moments] == pytest.approx([m.weight for m in theirs.moments], abs=2e-4)


def test_what_was_known_of_it_stays_known(exported: tuple[Path, Path, Exported]) -> None:
    before, after = (load_checkpoint(folder) for folder in exported[:2])
    for key in ("system", "model_config", "classes", "features", "temperature"):
        assert getattr(after, key) == getattr(before, key)
    assert after.provenance == {"seed": 1, "exported": {"format": "onnx", "weights": "float32"}}
    words = {"text": torch.eye(4)[None, :3], "text_lengths": torch.tensor([3])}
    with torch.inference_mode():
        torch.testing.assert_close(after.model(**words), before.model(**words), atol=1e-5, rtol=0)


def test_a_fusion_keeps_its_parts_and_what_is_made_of_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emofuse.models.inference.has_bfloat16", lambda: False)
    model = tmp_path / "model"
    cma(model / "a")
    saved(model / "b", "cma-text", {"text": FittedFeature(FeatureConfig(kind="words"), vectors=VECTORS)}, **SIZES)
    fusion = {"parts": {"a": {"temperature": 2.0, "reliability": 0.5}, "b": {"reliability": 0.9}}}
    (model / "fusion.json").write_text(json.dumps(fusion))
    assert [d.name for d in export_model(model, tmp_path / "out")] == ["a", "b"]
    expected, found = load(model).judge(UTTERANCES, "x"), load(tmp_path / "out").judge(UTTERANCES, "x")
    for ours, theirs in zip(found, expected, strict=True):
        assert ours is not None
        assert theirs is not None
        assert ours.probabilities == pytest.approx(theirs.probabilities, abs=2e-4)
    (model / "fusion.json").write_text("{}")
    with pytest.raises(DataError, match=r"fusion.json: names no parts"):
        export_model(model, tmp_path / "out")


def test_eight_bits_are_smaller_and_close(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = make_config("cma-text", word_dim=30, d_model=60, n_heads=4)
    big = Checkpoint("cma-text", config, build("cma-text", config).eval(), CLASSES, {"text": {}})
    whole = export_network(big)
    small = quantise(whole)
    assert len(small) < 0.5 * len(whole)
    rng = np.random.default_rng(0)
    x = {"text": rng.normal(size=(3, 9, 30)).astype(np.float32), "text_lengths": np.array([9, 4, 1])}
    a, b = GraphNetwork(whole, "whole")(x), GraphNetwork(small, "small")(x)
    difference = np.abs(a.logits - b.logits).max()
    assert 0 < difference < 0.1 * np.abs(a.logits).max()
    assert set(a.received) == set(b.received)


def test_a_folder_in_8_bits_says_so_and_how_far_it_is_off(
    tmp_path: Path, exported: tuple[Path, Path, Exported]
) -> None:
    model, whole, exactly = exported
    shutil.copytree(whole, tmp_path / "out")  # what was exported may be replaced
    (done,) = export_model(model, tmp_path / "out", int8=True)
    assert 1e-6 < done.difference < 0.1
    assert exactly.difference < done.difference
    assert load_checkpoint(tmp_path / "out").provenance["exported"]["weights"] == "int8"
    assert load(tmp_path / "out").judge(UTTERANCES, "x")[0] is not None


def test_what_is_no_exported_model_is_left_alone(tmp_path: Path, exported: tuple[Path, Path, Exported]) -> None:
    model = cma(tmp_path / "model")
    before = load_file(model / "model.safetensors")
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.txt").write_text("all of it")
    file = tmp_path / "file"
    file.write_text("")
    for out in (model, other, file, tmp_path):
        with pytest.raises(DataError, match="exists and is not an exported model, give a new folder"):
            export_model(model, out)
    assert set(load_file(model / "model.safetensors")) == set(before)
    with pytest.raises(ConfigError, match="cma: was exported before; export the checkpoint"):
        export_model(exported[1], tmp_path / "again")


def test_the_engine_has_to_fit_the_folder(
    exported: tuple[Path, Path, Exported], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, out, _ = exported
    with pytest.raises(ConfigError, match=r"model: has no model.onnx for onnxruntime: emofuse export"):
        open_trained(model, "onnx")
    with pytest.raises(ConfigError, match="out: was exported and is run by onnxruntime alone"):
        open_trained(out, "torch")
    with pytest.raises(ConfigError, match="engine 'tpu': one of auto, torch, onnx"):
        open_trained(model, "tpu")  # type: ignore[arg-type]
    assert isinstance(open_trained(out).network, GraphNetwork)
    assert isinstance(open_trained(model).network, TorchNetwork)
    part = default_model() / "speech"  # which has both
    assert isinstance(open_trained(part).network, GraphNetwork)
    assert isinstance(open_trained(part, "torch").network, TorchNetwork)
    monkeypatch.setattr("emofuse.engine.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r'model: needs torch: pip install "emofuse\[torch\]", export it where'):
        open_trained(model)
    with pytest.raises(ConfigError, match=r"needs torch: .*, or take --engine onnx"):
        open_trained(model, "torch")
    assert isinstance(open_trained(out).network, GraphNetwork)


def test_a_graph_that_is_damaged_or_gone_is_said_in_one_line(
    tmp_path: Path, exported: tuple[Path, Path, Exported]
) -> None:
    shutil.copytree(exported[1], tmp_path / "out")
    graph = tmp_path / "out" / GRAPH
    graph.write_bytes(graph.read_bytes()[:1000])
    with pytest.raises(DataError, match=r"model.onnx: not an ONNX model that onnxruntime can run"):
        load(tmp_path / "out")
    graph.unlink()
    with pytest.raises(DataError, match="out: weights and sizes do not fit each other"):
        load(tmp_path / "out")
