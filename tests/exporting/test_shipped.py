"""The graphs that ship: they are what the weights beside them give, and both engines say the same with them."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from safetensors.numpy import load_file

from emofuse.exporting.shipped import shipped_graphs
from emofuse.features.whisper_lower import WEIGHTS, network
from emofuse.media.audio import read_audio
from emofuse.media.segment import Segment
from emofuse.models.whisper_lower import WhisperLower
from emofuse.predictor import Predictor, Sources, Utterance, default_model, load
from emofuse.quantised import unpack


@pytest.fixture(scope="module")
def both() -> tuple[Predictor, Predictor]:
    return load(engine="torch"), load(engine="onnx")


def test_they_are_what_their_networks_give() -> None:
    made = shipped_graphs(default_model())
    assert len(made) == 6
    for path, content in made.items():
        shipped = path.read_bytes()
        if onnx.load_from_string(shipped).producer_version == onnx.load_from_string(content).producer_version:
            assert shipped == content, f"{path}: python benchmarks/shipped_graphs.py"
        assert len(shipped) < 100_000  # the weights are not in it


def test_all_that_ships_of_networks_is_small() -> None:
    """The model, the layers of Whisper that it hears with and voice activity."""
    assert sum(f.stat().st_size for f in default_model().parent.rglob("*") if f.is_file()) <= 16_000_000


def test_the_layers_of_whisper_are_those_of_the_module() -> None:
    model = WhisperLower()
    model.load_state_dict({k: torch.from_numpy(v) for k, v in unpack(load_file(WEIGHTS)).items()})
    rng = np.random.default_rng(0)
    for n in (30, 112, 8):
        log_mel = rng.normal(size=(1, n, 80)).astype(np.float32)
        (rows,) = network(integers=False).run(None, {"log_mel": log_mel})
        with torch.inference_mode():
            np.testing.assert_allclose(rows, model(torch.from_numpy(log_mel)), atol=1e-4)


def test_both_engines_hear_and_read_the_same(both: tuple[Predictor, Predictor], example_clip: Path) -> None:
    for text in (None, "I am so happy to see you, this is wonderful!", "Leave me alone. Go away!"):
        first, second = (p.predict(example_clip, sources=Sources(text=text))[0] for p in both)
        assert first.label == second.label
        assert first.modalities == second.modalities
        for a, b in ((first.probabilities, second.probabilities), (first.weights, second.weights)):
            assert list(a.values()) == pytest.approx(list(b.values()), abs=1e-3)
        assert [w.weight for w in first.words] == pytest.approx([w.weight for w in second.words], abs=5e-3)
        assert [m.weight for m in first.moments] == pytest.approx([m.weight for m in second.moments], abs=5e-3)


def test_both_engines_see_the_same_and_judge_batches_alike(
    both: tuple[Predictor, Predictor], example_clip: Path
) -> None:
    rng, clip = np.random.default_rng(0), read_audio(example_clip)
    texts = [None, "no", "so sad, so very sad " * 30, "what", "I hate it", None]
    utterances = [
        Utterance(
            Segment(0.0, 2.0, None, text),
            clip[: 6000 * (i + 1)] if i % 2 else None,
            rng.integers(0, 256, (i + 1, 48, 48), dtype=np.uint8) if i % 3 == 0 else None,
        )
        for i, text in enumerate(texts)
    ]
    found = [p.judge(utterances, "x") for p in both]
    for first, second in zip(*found, strict=True):
        assert first is not None
        assert second is not None
        assert first.label == second.label
        assert first.probabilities == pytest.approx(second.probabilities, abs=1e-3)
