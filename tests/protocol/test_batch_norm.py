import copy

import numpy as np
import pytest
import torch
from torch import nn

from emofuse.batching import Example, training_batches
from emofuse.models import build, make_config
from emofuse.protocol.batch_norm import MAX_BATCHES, recalibrate


def clips(n: int, seed: int = 0) -> list[Example]:
    rng = np.random.default_rng(seed)
    lengths = rng.integers(3000, 6000, n)
    return [
        Example((f"u{i}",), np.array([i % 4]), {"speech": rng.standard_normal(m).astype(np.float32) * (1 + i % 3)})
        for i, m in enumerate(lengths)
    ]


def cma() -> nn.Module:
    torch.manual_seed(0)
    return build("cma-speech", make_config("cma-speech"))


def norms(model: nn.Module) -> list[nn.BatchNorm2d]:
    return [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]


def test_one_batch_gives_its_own_statistics_whatever_was_before() -> None:
    model, examples = cma(), clips(6)
    for norm in norms(model):
        norm.running_mean.fill_(7)
        norm.running_var.fill_(9)
    recalibrate(model, examples, "utterance", 8, 0)
    first = model.speech_encoder.blocks[0]
    steps = []
    for example in examples:
        clip = torch.from_numpy(example.inputs["speech"])[None, None]
        steps.append(first.conv(clip)[0].detach())
    everything = torch.cat(steps, dim=1)
    torch.testing.assert_close(first.norm.running_mean, everything.mean(1), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(first.norm.running_var, everything.var(1), rtol=1e-4, atol=1e-5)


def test_several_batches_count_alike() -> None:
    model, examples = cma(), clips(10)
    first = model.speech_encoder.blocks[0]
    means = []
    for batch in training_batches(examples, "utterance", 4, seed=5):
        one = copy.deepcopy(model)
        clips_of = [s[:n] for s, n in zip(batch.inputs["speech"], batch.inputs["speech_lengths"], strict=True)]
        steps = [one.speech_encoder.blocks[0].conv(c[None, None])[0].detach() for c in clips_of]
        means.append(torch.cat(steps, dim=1).mean(1))
    recalibrate(model, examples, "utterance", 4, seed=5)
    torch.testing.assert_close(first.norm.running_mean, torch.stack(means).mean(0), rtol=1e-4, atol=1e-6)


def test_dropout_is_off_and_weights_stay() -> None:
    model, examples = cma(), clips(6)
    before = {k: v.clone() for k, v in model.named_parameters()}
    recalibrate(model, examples, "utterance", 4, 0)
    assert not any(m.training for m in model.modules())
    assert [n.momentum for n in norms(model)] == [0.1] * 3
    assert all(torch.equal(v, before[k]) for k, v in model.named_parameters())
    again = cma()
    recalibrate(again, examples, "utterance", 4, 0)
    for a, b in zip(norms(model), norms(again), strict=True):
        assert torch.equal(a.running_mean, b.running_mean)


def test_a_large_corpus_is_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    model, seen = cma(), []
    monkeypatch.setattr(model, "forward", lambda **inputs: seen.append(len(inputs["speech"])))
    recalibrate(model, clips(2 * MAX_BATCHES + 9), "utterance", 2, 0)
    assert sum(seen) <= 2 * MAX_BATCHES
    assert len(seen) == MAX_BATCHES


def test_a_network_without_batch_norm_is_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    model = nn.Linear(3, 2)
    monkeypatch.setattr(model, "forward", lambda **_: pytest.fail("it was run"))
    recalibrate(model, clips(2), "utterance", 2, 0)
    assert model.training
