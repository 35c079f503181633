import copy
import threading

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from emofuse.errors import ConfigError
from emofuse.models import build, inference, make_config
from emofuse.models.conv_block import ConvBlock
from emofuse.models.inference import FoldedBlock, for_inference


def trained(name: str, **settings: object) -> nn.Module:
    """A network whose batch norms have seen something, with scales of both signs."""
    torch.manual_seed(0)
    model = build(name, make_config(name, **settings)).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            with torch.no_grad():
                module.weight.uniform_(-1.5, 1.5)
                module.bias.normal_()
                module.running_mean.normal_()
                module.running_var.uniform_(0.3, 3)
    return model


def inputs(name: str, lengths: tuple[int, ...], words: tuple[int, ...]) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    shape = (len(lengths), max(lengths))
    speech = torch.randn(*shape, 257) if "spectrogram" in name else torch.randn(*shape)
    given = {"speech": speech, "speech_lengths": torch.tensor(lengths)}
    for row, n in zip(given["speech"], lengths, strict=True):
        row[n:] = 0
    text = {"text": torch.randn(len(words), max(words), 300), "text_lengths": torch.tensor(words)}
    return given if name.startswith("cma-speech") else given | text


WAVES, FRAMES = (9000, 4000, 16001, 12345), (90, 41, 200, 33)
WORDS = (3, 7, 1, 4)


@pytest.mark.parametrize("name", ["cma", "cma-speech", "cma-spectrogram", "cma-speech-spectrogram"])
def test_logits_are_those_of_the_trained_network(name: str) -> None:
    model = trained(name)
    given = inputs(name, FRAMES if "spectrogram" in name else WAVES, WORDS)
    with torch.inference_mode():
        expected = model(**given)
        torch.testing.assert_close(for_inference(model, "float32")(**given), expected, rtol=1e-4, atol=2e-5)
        rounded = for_inference(model, "bfloat16")(**given)
    assert 0 < float((rounded - expected).abs().max()) < 0.03 * float(expected.std() + 1)


def test_text_alone_and_missing_modalities() -> None:
    model = trained("cma")
    fast = for_inference(model, "float32")
    given = inputs("cma", WAVES, WORDS)
    text = {k: v for k, v in given.items() if k.startswith("text")}
    speech = {k: v for k, v in given.items() if k.startswith("speech")}
    some = given | {"speech_lengths": torch.tensor([9000, 0, 16001, 0])}
    with torch.inference_mode():
        for case in (text, speech, some):
            torch.testing.assert_close(fast(**case), model(**case), rtol=1e-4, atol=2e-5)


def test_attention_is_that_of_the_trained_network() -> None:
    model, given = trained("cma"), inputs("cma", WAVES, WORDS)
    with torch.inference_mode():
        expected = model.attention_received(**given)
        found = for_inference(model, "float32").attention_received(**given)
    for modality, shares in expected.items():
        torch.testing.assert_close(found[modality], shares, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("n_threads", [1, 2])
def test_many_rows_are_grouped_by_length_and_come_back_in_order(n_threads: int) -> None:
    model = trained("cma-speech")
    lengths = tuple(3000 + 531 * (i * 7 % 20) for i in range(20))
    given = inputs("cma-speech", lengths, WORDS)
    before = torch.get_num_threads()
    torch.set_num_threads(n_threads)
    try:
        with torch.inference_mode():
            found = for_inference(model, "float32")(**given)
        assert torch.get_num_threads() == n_threads
        in_new_thread: list[int] = []
        thread = threading.Thread(target=lambda: in_new_thread.append(torch.get_num_threads()))
        thread.start()
        thread.join()
        assert in_new_thread == [n_threads]
    finally:
        torch.set_num_threads(before)
    with torch.inference_mode():
        torch.testing.assert_close(found, model(**given), rtol=1e-4, atol=2e-5)


def test_gradients_are_neither_made_nor_needed() -> None:
    fast = for_inference(trained("cma-speech"))
    assert not any(p.requires_grad for p in fast.parameters())
    assert not fast(**inputs("cma-speech", (4000,) * 9, WORDS)).requires_grad


def test_the_trained_network_is_left_as_it_was() -> None:
    model = trained("cma-speech")
    before = copy.deepcopy(model.state_dict())
    for_inference(model, "bfloat16")
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


@pytest.mark.parametrize(
    ("kernel", "stride", "pool", "pool_stride"),
    [(3, 4, 4, 2), (5, 4, 4, 2), (7, 4, 4, 2), (7, 1, 2, 2), (5, 2, 3, 2), (1, 1, 1, 1), (4, 3, 5, 3), (7, 2, 2, 4)],
)
@pytest.mark.parametrize("n_steps", [40, 41, 97])
def test_a_folded_block_in_stretches_is_the_textbook_layers(
    kernel: int, stride: int, pool: int, pool_stride: int, n_steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inference, "BLOCK_BYTES", 64)  # a few steps at once
    torch.manual_seed(0)
    block = ConvBlock(5, 6, kernel, stride, pool, pool_stride).eval()
    with torch.no_grad():
        block.norm.weight.uniform_(-1, 1)
        block.norm.running_mean.normal_()
        x = torch.randn(n_steps, 5)
        y = block.norm(block.conv(x.t()[None])[:, :, None])[:, :, 0]
        expected = F.max_pool1d(torch.relu(y), pool, pool_stride)[0].t()
    torch.testing.assert_close(FoldedBlock(block, torch.float32)(x), expected, rtol=1e-5, atol=1e-6)


def test_a_clip_that_is_too_short_is_named_as_such() -> None:
    with pytest.raises(ConfigError, match="too short"):
        for_inference(trained("cma-speech"))(**inputs("cma-speech", (4000, 200), WORDS))


def test_other_networks_stay_as_they_are() -> None:
    model = trained("face-cnn")
    assert for_inference(model) is model


def test_a_network_that_is_ready_already_stays_as_it_is() -> None:
    ready = for_inference(trained("cma-speech"), "bfloat16")
    assert for_inference(ready, "float32") is ready


def test_an_unknown_precision_is_refused() -> None:
    with pytest.raises(ConfigError, match="known: auto, float32, bfloat16"):
        for_inference(trained("cma-speech"), "half")  # type: ignore[arg-type]


@pytest.mark.parametrize("fast", [False, True])
def test_what_explains_itself_is_encoded_once(fast: bool) -> None:
    model = trained("cma")
    model = for_inference(model, "float32") if fast else model
    given = inputs("cma", WAVES, WORDS)
    n_encoded = 0

    def count(*_: object) -> None:
        nonlocal n_encoded
        n_encoded += 1

    with torch.inference_mode():
        expected, expected_received = model(**given), model.attention_received(**given)  # type: ignore[operator]
        model.speech_encoder.register_forward_hook(count)  # type: ignore[union-attr]
        logits, received = model.explained(**given)  # type: ignore[operator]
    assert n_encoded == 1
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=2e-5)
    for modality, weights in received.items():
        torch.testing.assert_close(weights, expected_received[modality])
