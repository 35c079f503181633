import math

import pytest
import torch

from emofuse.errors import ConfigError
from emofuse.models import MODELS, build, make_config, n_parameters
from emofuse.models.cma import CMA, CMAConfig, CrossModalBlock

SYSTEMS = [name for name, entry in MODELS.items() if entry.config is CMAConfig]
SMALL = {"n_classes": 3, "n_bins": 6, "filters": (4, 6, 8), "word_dim": 5, "d_model": 8, "n_heads": 2, "dropout": 0.0}


def small(name: str, **settings) -> CMA:
    torch.manual_seed(0)
    return build(name, make_config(name, **{**SMALL, **settings}))


def inputs(model: CMA, speech_lengths=(2500, 4000, 1800), text_lengths=(3, 1, 6)) -> dict[str, torch.Tensor]:
    """Random inputs, zero behind their lengths."""
    torch.manual_seed(1)
    result = {}
    for modality in model.config.modalities:
        lengths = torch.tensor(text_lengths if modality == "text" else speech_lengths)
        shape: tuple[int, ...] = ()
        if modality == "text":
            shape = (5,)
        elif model.config.speech_input == "spectrogram":
            lengths, shape = lengths // 50, (6,)
        x = torch.randn(len(lengths), int(lengths.max()), *shape)
        for row, n in zip(x, lengths, strict=True):
            row[n:] = 0
        result |= {modality: x, f"{modality}_lengths": lengths}
    return result


def alone(batch: dict[str, torch.Tensor], row: int) -> dict[str, torch.Tensor]:
    """One example without its padding."""
    result = {}
    for key, value in batch.items():
        part = value[row : row + 1]
        result[key] = part if key.endswith("lengths") else part[:, : batch[f"{key}_lengths"][row]]
    return result


def padded(batch: dict[str, torch.Tensor], n_steps: int) -> dict[str, torch.Tensor]:
    """The batch with more zeros behind every input."""
    return {
        k: v if k.endswith("lengths") else torch.cat([v, torch.zeros(len(v), n_steps, *v.shape[2:])], dim=1)
        for k, v in batch.items()
    }


def test_all_cma_systems_are_here():
    assert SYSTEMS == ["cma", "cma-spectrogram", "cma-speech", "cma-speech-spectrogram", "cma-text"]


@pytest.mark.parametrize("name", SYSTEMS)
def test_longer_neighbours_never_change_the_logits(name):
    model = small(name).eval()
    batch = inputs(model)
    logits = model(**batch)
    assert logits.shape == (3, 3)
    for row in range(3):
        torch.testing.assert_close(model(**alone(batch, row)), logits[row : row + 1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", SYSTEMS)
@pytest.mark.parametrize("n_steps", [1, 77])
def test_more_padding_never_changes_training(name, n_steps):
    model, other = small(name).train(), small(name).train()
    batch = inputs(model)
    torch.testing.assert_close(other(**padded(batch, n_steps)), model(**batch), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(dict(other.named_buffers()), dict(model.named_buffers()), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", SYSTEMS)
def test_every_parameter_gets_a_gradient(name):
    # Evaluation mode: in training, batch normalisation cancels the bias of the convolution before it.
    model = small(name).eval()
    loss = torch.nn.functional.cross_entropy(model(**inputs(model)), torch.tensor([0, 1, 2]))
    loss.backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None, key
        if key.endswith("key.bias"):  # adds the same to all scores of a query, which the softmax cancels
            assert parameter.grad.abs().max() < 1e-6, key
        else:
            assert parameter.grad.abs().max() > 1e-9, key


def test_order_of_examples_does_not_matter():
    model = small("cma").eval()
    batch = inputs(model)
    order = torch.tensor([2, 0, 1])
    torch.testing.assert_close(
        model(**{k: v[order] for k, v in batch.items()}), model(**batch)[order], rtol=1e-4, atol=1e-5
    )


def test_each_modality_matters_to_cma():
    model = small("cma").eval()
    batch = inputs(model)
    logits = model(**batch)
    for modality in ("speech", "text"):
        changed = model(**{**batch, modality: 2 * batch[modality]})
        assert (changed - logits).abs().max() > 1e-4


@pytest.mark.parametrize("name", SYSTEMS)
def test_attention_received_sums_to_one_and_ignores_padding(name):
    model = small(name).eval()
    batch = inputs(model)
    received = model.attention_received(**batch)
    assert set(received) == set(model.config.modalities)
    for weights in received.values():
        torch.testing.assert_close(weights.sum(1), torch.ones(3))
        assert weights.min() >= 0
    alone = {k: v[1:2] for k, v in batch.items()}
    for modality in model.config.modalities:
        n = int(alone[f"{modality}_lengths"])
        alone[modality] = alone[modality][:, :n]
    for modality, weights in model.attention_received(**alone).items():
        n = weights.shape[1]
        torch.testing.assert_close(received[modality][1, :n], weights[0], rtol=1e-4, atol=1e-6)
        assert received[modality][1, n:].abs().sum() == 0


def test_weights_are_those_that_forward_uses():
    torch.manual_seed(0)
    block = CrossModalBlock(CMAConfig(d_model=8, n_heads=2))
    with torch.no_grad():  # one head's values pass through: attention times value, and nothing else
        for linear in (block.value, block.output):
            linear.weight.copy_(torch.eye(8))
            linear.bias.zero_()
        block.feed_forward[2].weight.zero_()
        block.feed_forward[2].bias.zero_()
    block.n_heads = 1
    block.scale = 1 / math.sqrt(8)
    x, context = torch.randn(1, 3, 8), torch.randn(1, 5, 8)
    mask = torch.tensor([[True, True, True, True, False]])
    expected = x + block.weights(x, context, mask) @ block.norm_context(context)
    torch.testing.assert_close(block(x, context, mask), expected)


def test_ten_seconds_give_311_frames():
    model = CMA(CMAConfig(modalities=("speech",), filters=(2, 2, 2), d_model=4, n_heads=2)).eval()
    states, lengths = model.speech_encoder(torch.randn(1, 160_000), torch.tensor([160_000]))
    assert states.shape == (1, 311, 4)
    assert lengths.tolist() == [311]


def test_a_spectrogram_of_998_frames_gives_124():
    # stride 1 in the convolutions; pooling by 2: 998 -> 499 -> 249 -> 124
    model = small("cma-speech-spectrogram").eval()
    states, lengths = model.speech_encoder(torch.randn(1, 998, 6), torch.tensor([998]))
    assert lengths.tolist() == [states.shape[1]] == [124]


@pytest.mark.parametrize(("scale", "score"), [("sqrt", 4 / math.sqrt(4)), ("linear", 4 / 4)])
def test_scale_by_hand(scale, score):
    # d_q = 4. x = (1, -1, 1, -1) is its own layer norm; context rows x and -x score +-4 before scaling, so
    # the weight p of the first is 1 / (1 + exp(-2 score)) and x + p x - (1 - p) x = 2 p x.
    block = CrossModalBlock(CMAConfig(d_model=4, n_heads=1, scale=scale))
    with torch.no_grad():
        for layer in (block.query, block.key, block.value, block.output):
            layer.weight.copy_(torch.eye(4))
            layer.bias.zero_()
        block.feed_forward[2].weight.zero_()
        block.feed_forward[2].bias.zero_()
    x = torch.tensor([[[1.0, -1.0, 1.0, -1.0]]])
    out = block(x, torch.cat([x, -x], dim=1), torch.tensor([[True, True]]))
    p = 1 / (1 + math.exp(-2 * score))
    torch.testing.assert_close(out, 2 * p * x, rtol=1e-4, atol=1e-4)


def test_number_of_parameters():
    assert n_parameters(build("cma", make_config("cma"))) == 742_888


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"modalities": ()}, "CMA takes speech, text or both"),
        ({"modalities": ("speech", "visual")}, "visual"),
        ({"n_heads": 0}, "n_heads is 0, need at least 1"),
        ({"dropout": 1.0}, "dropout is 1.0, need 0 or more and less than 1"),
        ({"d_model": 10, "n_heads": 3}, "d_model 10 is not a multiple of n_heads 3"),
    ],
)
def test_wrong_sizes_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message) as caught:
        CMAConfig(**settings)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["cma", "cma-speech-spectrogram"])
@pytest.mark.parametrize("lengths", [(10, 10), (10, 5000)])
def test_a_clip_too_short_is_refused(name, lengths):
    model = small(name).eval()
    speech = torch.zeros(2, max(lengths), *((6,) if "spectrogram" in name else ()))
    n_steps = torch.tensor(lengths)
    if "spectrogram" in name:
        n_steps = torch.clamp(n_steps, max=50).where(n_steps > 10, 3)
        speech = speech[:, : int(n_steps.max())]
    more = {"text": torch.randn(2, 2, 5), "text_lengths": torch.tensor([2, 2])} if name == "cma" else {}
    with pytest.raises(ConfigError, match="too short") as caught:
        model(speech=speech, speech_lengths=n_steps, **more)
    assert "\n" not in str(caught.value)
