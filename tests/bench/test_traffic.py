"""Bytes that operations move, by hand."""

import torch

from emofuse.bench.traffic import traffic


def test_what_goes_in_and_comes_out_counts_and_views_do_not() -> None:
    a, b = torch.ones(10), torch.ones(10)
    assert traffic(lambda: a + b) == 3 * 40
    assert traffic(lambda: a.view(2, 5).t()) == 0
    assert traffic(lambda: a.double()) == 40 + 80


def test_gradients_count() -> None:
    x = torch.ones(10, requires_grad=True)
    forward = traffic(lambda: x.exp())
    assert traffic(lambda: x.exp().backward(torch.ones(10))) >= forward + 3 * 40  # gradient times output
