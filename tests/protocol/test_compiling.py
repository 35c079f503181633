import shutil
from importlib import util

import numpy as np
import pytest
import torch

from emofuse.batching import Example
from emofuse.errors import ConfigError
from emofuse.models import build, make_config
from emofuse.protocol.compiling import compiled
from emofuse.protocol.settings import TrainingConfig
from emofuse.protocol.train import fit, train_epoch

CPU = torch.device("cpu")
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


def vectors(n: int, seed: int) -> list[Example]:
    """One vector an utterance; the label shows in it."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 6)).astype(np.float32)
    x[:, 0] += 2 * (np.arange(n) % 3 - 1)
    return [Example((f"{seed}-{i}",), np.array([i % 3]), {"speech": x[i]}) for i in range(n)]


def clips(n: int) -> list[Example]:
    """Waveforms of several lengths; how loud they are tells the label."""
    rng = np.random.default_rng(0)
    sizes = rng.integers(3000, 5000, n)
    waves = [(0.1 * (1 + i % 3) * rng.standard_normal(size)).astype(np.float32) for i, size in enumerate(sizes)]
    return [Example((str(i),), np.array([i % 3]), {"speech": wave}) for i, wave in enumerate(waves)]


def history(
    name: str, examples: list[Example], sizes: dict[str, object], device: torch.device, **settings
) -> list[float]:
    """Losses of a few epochs."""
    torch.manual_seed(0)
    model = build(name, make_config(name, n_classes=3, dropout=0.0, **sizes)).to(device)
    config = TrainingConfig(max_epochs=3, batch_size=4, **settings)
    keywords = {"level": "utterance", "n_classes": 3, "config": config, "metric": "ua", "seed": 0}
    return [entry["loss"] for entry in fit(model, examples, examples[:4], **keywords).history]


def test_none_is_the_network_itself() -> None:
    model = torch.nn.Linear(2, 2)
    assert compiled(model, "none", CPU) is model


@pytest.mark.parametrize(
    ("device", "missing"), [("cpu", "needs a C.. compiler, g.. is not there"), ("cuda", "needs triton")]
)
def test_what_the_compiler_needs_is_named(device: str, missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr("shutil.which", lambda _: None)
    monkeypatch.setattr("emofuse.protocol.compiling.find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=f"training.compile is 'default': {missing}"):
        compiled(torch.nn.Linear(2, 2), "default", torch.device(device))


@pytest.mark.filterwarnings("ignore:.torch.jit.script_method:DeprecationWarning")  # torch's own
@pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")
def test_a_compiled_network_is_trained_as_it_is() -> None:
    sizes = {"n_features": 6, "n_hidden": 5}
    expected = history("speech-mlp", vectors(8, 0), sizes, CPU)
    found = history("speech-mlp", vectors(8, 0), sizes, CPU, compile="default")
    assert found == pytest.approx(expected, rel=1e-4)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > 0  # something was compiled


SMALL = {"filters": (4, 5, 6), "d_model": 8, "n_heads": 2}


def test_bfloat16_rounds_and_trains_weights_of_float32() -> None:
    torch.manual_seed(0)
    models = [build("cma-speech", make_config("cma-speech", n_classes=3, dropout=0.0, **SMALL)) for _ in range(2)]
    models[1].load_state_dict(models[0].state_dict())
    losses = []
    for model, precision in zip(models, ("float32", "bfloat16"), strict=True):
        optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
        config = TrainingConfig(batch_size=4, precision=precision)
        losses.append(train_epoch(model, optimiser, clips(8), "utterance", config, None, 0, 16_000))
    assert losses[0] == pytest.approx(losses[1], rel=0.02)
    assert losses[0] != losses[1]
    assert all(p.dtype == torch.float32 for p in models[1].parameters())


@needs_gpu
@pytest.mark.parametrize("mode", ["none", "default", "reduce-overhead"])
def test_a_gpu_trains_what_a_processor_trains(mode: str) -> None:
    if mode != "none" and util.find_spec("triton") is None:
        pytest.skip("needs triton")
    expected = history("cma-speech", clips(8), SMALL, CPU)
    assert history("cma-speech", clips(8), SMALL, torch.device("cuda"), compile=mode) == pytest.approx(
        expected, rel=1e-2
    )


@needs_gpu
def test_mixed_precision_on_a_gpu_is_near_to_float32() -> None:
    cuda = torch.device("cuda")
    expected = history("cma-speech", clips(8), SMALL, cuda)
    assert history("cma-speech", clips(8), SMALL, cuda, precision="bfloat16") == pytest.approx(expected, rel=0.1)


@needs_gpu
@pytest.mark.filterwarnings("default")
def test_a_gpu_is_waited_for_once_an_epoch() -> None:
    model = build("cma-speech", make_config("cma-speech", n_classes=3, **SMALL)).cuda()
    optimiser = torch.optim.AdamW(model.parameters(), fused=True)
    arguments = ("utterance", TrainingConfig(batch_size=2), None, 0, 16_000)
    train_epoch(model, optimiser, clips(8), *arguments)  # what is made once
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with pytest.warns(UserWarning, match="synchroniz") as told:
            train_epoch(model, optimiser, clips(8), *arguments)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert len(told) == 1
