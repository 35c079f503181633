import math

import numpy as np
import torch
from torch.nn import functional as F

from emofuse.models.mult import Block, MulTConfig, TemporalConvolution, positions

SIZES = {"d_model": 8, "n_heads": 2, "dropout": 0.0}


def test_cross_modal_attention_is_that_of_torch():
    torch.manual_seed(0)
    block = Block(8, MulTConfig(**SIZES)).eval()
    x, context = torch.randn(2, 5, 8), torch.randn(2, 5, 8)
    mask = torch.rand(2, 5, 5) < 0.6
    mask[..., 0] = True

    def heads(y: torch.Tensor) -> torch.Tensor:
        return y.reshape(2, 5, 2, 4).transpose(1, 2)

    q, k, v = heads(block.query(x)), heads(block.key(context)), heads(block.value(context))
    expected = F.scaled_dot_product_attention(q, k, v, attn_mask=mask[:, None])
    expected = block.output(expected.transpose(1, 2).reshape(2, 5, 8))
    torch.testing.assert_close(block.attend(x, context, mask), expected)


def test_attention_of_one_head_in_numpy():
    torch.manual_seed(0)
    block = Block(4, MulTConfig(d_model=4, n_heads=1, dropout=0.0)).eval()
    x, context = torch.randn(1, 3, 4), torch.randn(1, 3, 4)
    with torch.no_grad():
        found = block.attend(x, context, torch.ones(1, 3, 3, dtype=torch.bool))[0].numpy()
        w = {name: parameter.numpy() for name, parameter in block.named_parameters()}
    q = x[0].numpy() @ w["query.weight"].T + w["query.bias"]
    k = context[0].numpy() @ w["key.weight"].T
    v = context[0].numpy() @ w["value.weight"].T + w["value.bias"]
    scores = np.exp(q @ k.T / np.sqrt(4))
    expected = scores / scores.sum(1, keepdims=True) @ v @ w["output.weight"].T + w["output.bias"]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_a_block_is_the_identity_where_its_layers_give_nothing():
    block = Block(8, MulTConfig(**SIZES))
    for layer in (block.output, block.feed_forward[-1]):
        torch.nn.init.zeros_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
    x = torch.randn(1, 3, 8)
    torch.testing.assert_close(block(x, torch.randn(1, 3, 8), torch.ones(1, 3, 3, dtype=torch.bool)), x)


def test_positions_by_hand():
    place = positions(4, 4)
    assert place[0].tolist() == [0, 1, 0, 1]
    expected = [math.sin(3), math.cos(3), math.sin(0.03), math.cos(0.03)]
    torch.testing.assert_close(place[3], torch.tensor(expected))


def test_the_convolution_looks_both_ways_or_back():
    x = torch.arange(1.0, 6.0)[None, :, None]
    found = {}
    for context in ("both", "past"):
        layer = TemporalConvolution(1, MulTConfig(d_model=2, n_heads=1, context=context))
        torch.nn.init.ones_(layer.conv.weight)
        found[context] = layer(x)[0, :, 0].tolist()
    assert found == {"both": [3, 6, 9, 12, 9], "past": [1, 3, 6, 9, 12]}
