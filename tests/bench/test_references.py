"""Each reference computes what it is measured by."""

from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from types import ModuleType
from typing import Any
from urllib.request import urlopen

import numpy as np
import pytest
import torch

from emofuse.bench.references import References, reference_folder
from emofuse.bench.sound import noise, speech_like, write_recording
from emofuse.errors import ConfigError
from emofuse.media.audio import read_audio

SMALL: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
SMALL |= {"conv_dim": (8,) * 7, "num_conv_pos_embedding_groups": 2}


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    return write_recording(tmp_path / "talk.flac", speech_like(11.5))


def module(references: References, name: str) -> ModuleType:
    found = references.use(name, lambda m: m)
    if found is None:
        pytest.skip("; ".join(references.notes))
    return found


def test_plain_audio_reads_what_ours_reads(references: References, recording: Path) -> None:
    plain = module(references, "plain_audio")
    ours, theirs = read_audio(recording), plain.read_16k(recording)
    assert abs(len(ours) - len(theirs)) <= 1
    n = min(len(ours), len(theirs)) - 200
    np.testing.assert_allclose(theirs[200:n], ours[200:n], atol=0.02)
    assert [len(p) for p in plain.windows(np.zeros(16_000 * 21 + 5))] == [160_000, 160_000, 16_005]
    assert [len(p) for p in plain.windows(np.zeros(16_000 * 20 + 5))] == [160_000, 160_000]
    assert [len(p) for p in plain.windows(np.zeros(5))] == [5]


def test_wav2vec2_gives_a_class_each_ten_seconds(references: References, recording: Path) -> None:
    encoder = module(references, "wav2vec2_base")
    model = encoder.make(3, **SMALL)
    assert encoder.logits(model, noise(2, 0.5)).shape == (2, 3)
    assert len(encoder.predict_file(model, recording)) == 2


def test_wav2vec2_is_of_the_base_size(references: References) -> None:
    encoder = module(references, "wav2vec2_base")
    with torch.device("meta"):
        n_weights = sum(p.numel() for p in encoder.make().parameters())
    assert 94e6 < n_weights < 96e6


def test_opensmile_gives_a_class_each_ten_seconds(references: References, recording: Path) -> None:
    classical = module(references, "opensmile_svm")
    smile, classifier = classical.make(3, n_utterances=6)
    assert classical.extract(smile, noise(1, 0.5)[0]).shape == (classical.N_FEATURES,)
    assert len(classical.predict_file(smile, classifier, recording)) == 2


def test_bclstm_learns(references: References) -> None:
    torch.manual_seed(0)
    lstms = module(references, "bclstm")
    network = lstms.BcLSTM({"speech": 3, "text": 4}, 2)
    dialogues = [torch.randn(n, 7) for n in (4, 6)]
    features = {"speech": lstms.pad([d[:, :3] for d in dialogues]), "text": lstms.pad([d[:, 3:] for d in dialogues])}
    labels = lstms.pad([torch.arange(len(d)) % 2 for d in dialogues], lstms.IGNORE)
    assert labels[0].tolist() == [0, 1, 0, 1, -1, -1]
    losses = [network.train_epoch(features, labels, 1) for _ in range(20)]
    assert losses[-1] < 0.9 * losses[0]


def test_mult_of_mmsa_learns(references: References) -> None:
    mult = module(references, "mmsa_mult")
    torch.manual_seed(0)
    model, optimiser = mult.make()
    inputs, labels = mult.batch(4, 10)
    losses = [mult.train_step(model, optimiser, inputs, labels) for _ in range(10)]
    assert losses[-1] < losses[0]


@pytest.fixture
def plain_server(references: References) -> Iterator[int]:
    model = module(references, "wav2vec2_base").make(3, **SMALL)
    with module(references, "plain_server").serve(model) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def test_the_plain_server_answers_with_classes(plain_server: int, tmp_path: Path) -> None:
    clip = write_recording(tmp_path / "clip.wav", speech_like(1.0), 16_000, 1)
    with urlopen(f"http://127.0.0.1:{plain_server}/", clip.read_bytes()) as answer:
        assert answer.read() in (b"[0]", b"[1]", b"[2]")


def test_what_is_missing_is_noted(references: References, tmp_path: Path) -> None:
    (tmp_path / "odd.py").write_text("import surely_not_installed")
    elsewhere = References(tmp_path)
    assert elsewhere.use("odd", lambda m: m) is None
    assert elsewhere.use("unheard_of", lambda m: m) is None
    assert elsewhere.notes == ["odd needs surely_not_installed", "no reference unheard_of"]
    assert References(None).use("plain_cma", lambda m: m) is None


def test_a_folder_without_references_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no plain_cma\.py in it; give benchmarks/reference"):
        reference_folder(tmp_path)
