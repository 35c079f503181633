import math

import pytest
import torch
from torch import nn

from emofuse.models.layers import PaddedLSTM, attention, length_mask, masked_batch_norm, statistics_pooling


def test_length_mask_by_hand():
    mask = length_mask(torch.tensor([2, 0, 3]), 3)
    assert mask.tolist() == [[True, True, False], [False, False, False], [True, True, True]]


def norm_pair(affine_seed: int = 0) -> tuple[nn.BatchNorm2d, nn.BatchNorm1d]:
    torch.manual_seed(affine_seed)
    a, b = nn.BatchNorm2d(3), nn.BatchNorm1d(3)
    with torch.no_grad():
        a.weight.uniform_(0.5, 2)
        a.bias.normal_()
    b.load_state_dict(a.state_dict())
    return a, b


def test_masked_batch_norm_is_batch_norm_of_the_gathered_valid_steps():
    ours, reference = norm_pair()
    lengths = torch.tensor([5, 2, 7])
    mask = length_mask(lengths, 7)
    for step in range(3):  # running statistics accumulate
        x = 3 + 2 * torch.randn(3, 3, 7)
        x_ours, x_ref = x.clone().requires_grad_(), x.clone().requires_grad_()
        y_ours = masked_batch_norm(ours, x_ours[:, :, None], lengths)[:, :, 0].transpose(1, 2)[mask]
        y_ref = reference(x_ref.transpose(1, 2)[mask])
        torch.testing.assert_close(y_ours, y_ref, rtol=1e-4, atol=1e-5)
        target = torch.randn_like(y_ref)
        for norm, y in ((ours, y_ours), (reference, y_ref)):
            norm.zero_grad()
            ((y - target) ** 2).sum().backward()
        torch.testing.assert_close(x_ours.grad, x_ref.grad, rtol=1e-3, atol=1e-4)
        assert x_ours.grad.transpose(1, 2)[~mask].abs().max() == 0
        torch.testing.assert_close(ours.weight.grad, reference.weight.grad, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(ours.bias.grad, reference.bias.grad, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(ours.running_mean, reference.running_mean, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(ours.running_var, reference.running_var, rtol=1e-4, atol=1e-5)
        assert ours.num_batches_tracked == reference.num_batches_tracked == step + 1


@pytest.mark.parametrize("training", [True, False])
def test_masked_batch_norm_without_padding_is_the_librarys(training):
    ours, reference = (norm.train(training) for norm in norm_pair())
    x = torch.randn(2, 3, 1, 4)
    y = masked_batch_norm(ours, x, torch.tensor([4, 4]))
    torch.testing.assert_close(y[:, :, 0], reference(x[:, :, 0]), rtol=0, atol=0)


def test_masked_batch_norm_does_not_see_what_padding_holds():
    a, b = norm_pair()[0], norm_pair()[0]
    lengths = torch.tensor([4, 2])
    mask = length_mask(lengths, 4)
    x = torch.randn(2, 3, 1, 4)
    other = torch.where(mask[:, None, None], x, 1e3 * torch.randn_like(x))
    y, z = masked_batch_norm(a, x, lengths), masked_batch_norm(b, other, lengths)
    torch.testing.assert_close(y[:, :, 0].transpose(1, 2)[mask], z[:, :, 0].transpose(1, 2)[mask])
    torch.testing.assert_close(a.running_var, b.running_var)


def test_statistics_pooling_by_hand():
    # channel 0: 1, 3 -> mean 2, deviation 1; channel 1: 0, 4 -> mean 2, deviation 2; the third step is padding
    x = torch.tensor([[[1.0, 0.0], [3.0, 4.0], [99.0, -99.0]]])
    pooled = statistics_pooling(x, torch.tensor([[True, True, False]]))
    torch.testing.assert_close(pooled, torch.tensor([[2.0, 2.0, 1.0, 2.0]]))


def test_statistics_pooling_is_independent_of_padding():
    torch.manual_seed(0)
    x = torch.randn(2, 4, 3)
    lengths = torch.tensor([4, 3])
    padded = torch.cat([x, torch.randn(2, 5, 3)], dim=1)
    torch.testing.assert_close(
        statistics_pooling(x, length_mask(lengths, 4)), statistics_pooling(padded, length_mask(lengths, 9))
    )


def test_statistics_pooling_has_a_finite_gradient_at_zero_variance():
    x = torch.ones(1, 3, 2, requires_grad=True)
    pooled = statistics_pooling(x, torch.tensor([[True, True, False]]))
    pooled.sum().backward()
    assert torch.isfinite(x.grad).all()
    torch.testing.assert_close(x.grad[0], torch.tensor([[0.5, 0.5], [0.5, 0.5], [0.0, 0.0]]))


@pytest.mark.parametrize("bidirectional", [False, True])
def test_padding_never_changes_an_lstms_valid_outputs(bidirectional):
    torch.manual_seed(0)
    lstm = PaddedLSTM(3, 4, num_layers=2, bidirectional=bidirectional)
    lengths = torch.tensor([3, 6, 1])
    x = torch.randn(3, 6, 3)
    longer = torch.cat([x, torch.randn(3, 4, 3)], dim=1)
    y, z = lstm(x, lengths), lstm(longer, lengths)
    assert y.shape == (3, 6, 8 if bidirectional else 4)
    torch.testing.assert_close(y, z[:, :6])
    assert z[:, 6:].abs().max() == 0
    for row, n in enumerate(lengths):
        reference, _ = nn.LSTM.forward(lstm, x[row : row + 1, :n])
        torch.testing.assert_close(y[row, :n], reference[0])
        assert (y[row, n:] == 0).all()


def test_attention_by_hand():
    # scores 1 * (ln 3, 0), so the weights are 3/4 and 1/4
    query = torch.tensor([[2.0, 0.0]])
    key = torch.tensor([[math.log(3), 0.0], [0.0, 5.0]])
    value = torch.tensor([[8.0, 0.0], [0.0, 4.0]])
    torch.testing.assert_close(attention(query, key, value, None, 0.5), torch.tensor([[6.0, 1.0]]))


def test_attention_ignores_a_masked_key():
    torch.manual_seed(0)
    query, key, value = torch.randn(2, 4), torch.randn(3, 4), torch.randn(3, 5)
    masked = attention(query, key, value, torch.tensor([[True, True, False]]), 0.5)
    torch.testing.assert_close(masked, attention(query, key[:2], value[:2], None, 0.5))


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)])
def test_gradients_of_attention_are_those_of_its_formula(dtype, tolerance):
    torch.manual_seed(0)
    query, key, value = (torch.randn(2, 3, n, 10).to(dtype) for n in (5, 7, 7))
    mask = (torch.arange(7) < torch.tensor([7, 4])[:, None])[:, None, None]
    found = [x.clone().requires_grad_() for x in (query, key, value)]
    wanted = [x.double().requires_grad_() for x in (query, key, value)]
    y = attention(*found, mask, 0.3)
    q, k, v = wanted
    expected = (0.3 * q @ k.transpose(2, 3)).masked_fill(~mask, -math.inf).softmax(-1) @ v
    torch.testing.assert_close(y.double(), expected, rtol=tolerance, atol=tolerance)
    y.square().sum().backward()
    expected.square().sum().backward()
    for x, reference in zip(found, wanted, strict=True):
        assert x.grad is not None
        assert reference.grad is not None
        torch.testing.assert_close(x.grad.double(), reference.grad, rtol=tolerance, atol=tolerance)


def test_packed_sequences_are_two_passes_in_any_order_of_lengths():
    torch.manual_seed(0)
    lstm = PaddedLSTM(3, 4, num_layers=2, bidirectional=True)
    lengths, x = torch.tensor([3, 6, 1, 6]), torch.randn(4, 6, 3)
    torch.testing.assert_close(lstm.packed(x, lengths), lstm(x, lengths))
