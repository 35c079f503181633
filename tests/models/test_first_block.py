import pytest
import torch
from torch import Tensor, nn

from emofuse.models.conv_block import ConvBlock
from emofuse.models.first_block import clip_by_clip, convolve_and_pool

SIZES = (3, 4, 4, 2)
LENGTHS = torch.tensor([400, 263, 190, 401])


def waveforms() -> Tensor:
    """(4, 401) in double precision, with an offset, zero behind their lengths."""
    torch.manual_seed(0)
    x = 0.1 * torch.randn(4, 401, dtype=torch.float64) + 0.05
    return x * (torch.arange(401) < LENGTHS[:, None])


def block() -> ConvBlock:
    """Of a waveform, with a norm that turns some channels round: pooling must come behind it."""
    torch.manual_seed(1)
    made = ConvBlock(1, 6, *SIZES).double().train()
    nn.init.uniform_(made.norm.weight, -1, 1)
    nn.init.normal_(made.norm.bias)
    return made


def trained(x: Tensor, lengths: Tensor) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
    """Output, gradients and running statistics of a block after a step on (batch, 1, 1, samples)."""
    made = block()
    y, _ = made(x, lengths)
    torch.manual_seed(2)
    (y * torch.randn(y.shape, dtype=y.dtype)).sum().backward()
    return y.detach(), {k: p.grad for k, p in made.named_parameters() if p.grad is not None}, dict(made.named_buffers())


def test_padded_waveforms_are_as_layer_by_layer():
    x = waveforms()[:, None, None]
    fast = trained(x, LENGTHS)
    layers = trained(x.clone().requires_grad_(), LENGTHS)  # what asks for its own gradient goes layer by layer
    torch.testing.assert_close(fast, layers, rtol=1e-7, atol=1e-7)
    assert set(fast[1]) == {"conv.weight", "conv.bias", "norm.weight", "norm.bias"}


def test_whole_waveforms_are_as_the_librarys_layers():
    made, x = block(), waveforms()[:1, :400]
    norm = nn.BatchNorm1d(6).double()
    norm.load_state_dict(made.norm.state_dict())
    expected = nn.MaxPool1d(4, 2)(torch.relu(norm(made.conv(x[:, None]))))
    y, lengths = made(x[:, None, None], torch.tensor([400]))
    torch.testing.assert_close(y[:, :, 0], expected)
    assert lengths.tolist() == [expected.shape[2]]
    torch.testing.assert_close(dict(made.norm.named_buffers()), dict(norm.named_buffers()))


def test_gradients_are_those_of_finite_differences():
    torch.manual_seed(3)
    x = torch.randn(2, 50, dtype=torch.float64)
    weight = torch.randn(3, 3, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda w, b: clip_by_clip(x, w, b, SIZES), (weight, bias))


def test_no_value_before_the_pooling_is_kept():
    kept: list[int] = []

    def pack(tensor: Tensor) -> Tensor:
        kept.append(tensor.numel())
        return tensor

    made, x = block(), waveforms()
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        y, _ = made(x[:, None, None], LENGTHS)
    n_convolved = 4 * 6 * 101
    assert y.numel() < n_convolved  # pooled
    assert max(kept) < n_convolved


@pytest.mark.parametrize("enabled", [True, False])
def test_autocast_rounds_what_comes_out_and_nothing_before(enabled):
    x, weight, bias = waveforms().float(), torch.randn(6, 3), torch.randn(6)
    with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
        y = clip_by_clip(x, weight, bias, SIZES)
    expected = convolve_and_pool(x, weight, bias, SIZES)
    assert y.dtype == (torch.bfloat16 if enabled else torch.float32)
    torch.testing.assert_close(y, expected.to(y.dtype), rtol=0 if enabled else 1e-6, atol=0 if enabled else 1e-6)
