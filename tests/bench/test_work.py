"""Operations and bytes, worked by hand and counted by torch."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from emofuse.bench.references import References
from emofuse.bench.work import (
    ADAM_TRAFFIC,
    Flops,
    attention_block,
    cma_speech,
    contextual_lstm,
    dense,
    inference,
    lstm,
    mman_parts,
    training,
)
from emofuse.models.cma import CMAConfig
from emofuse.models.mman import MMANConfig


def test_layers_by_hand() -> None:
    assert dense(3, 4, 5) == 2 * 60
    assert lstm(1, 2, 3) == 2 * (2 * 12 + 3 * 12)  # W x and U h, four gates of three units each
    assert lstm(7, 2, 3, 2) == 14 * lstm(1, 2, 3)
    # Two steps of width 3: query, key, value, output and two dense layers; then 2 x 2 scores and 2 x 2 weighted values.
    assert attention_block(2, 3) == 6 * (2 * 2 * 3 * 3) + 2 * (2 * 2 * 3 * 2)


def test_cma_by_hand() -> None:
    config = CMAConfig(
        n_classes=2,
        modalities=("speech",),
        filters=(2, 3, 4),
        kernels=(1, 1, 1),
        conv_strides=(2, 1, 1),
        pool_sizes=(2, 1, 1),
        pool_strides=(2, 1, 1),
        d_model=2,
        n_heads=1,
        n_blocks=1,
    )
    # 8 samples: 4 steps after the first convolution, 2 after its pooling and ever after.
    convolutions = 2 * (4 * 1 * 2 + 2 * 2 * 3 + 2 * 3 * 4)
    recurrent = 2 * 2 * 2 * (4 + 2) * 8 + 2 * 2 * 4 * 2
    blocks = 6 * 2 * 2 * 2 * 2 + 2 * 2 * 2 * 2 * 2
    assert cma_speech(config, 8) == Flops(convolutions + recurrent + blocks + 2 * 4 * 2, 2 * 4 * 1 * 2)


def test_the_plain_model_takes_as_many_as_counted(references: References) -> None:
    """At the paper's sizes. torch counts neither LSTMs nor the products inside of `nn.MultiheadAttention`'s kernel."""
    plain = references.use("plain_cma", lambda module: module.PlainCMA())
    assert plain is not None
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        plain.train()(torch.zeros(1, 80_000))
    n_steps, d = 155, 100
    uncounted = lstm(n_steps, d, d, 2)
    assert counter.get_total_flops() + uncounted == pytest.approx(cma_speech(CMAConfig(), 80_000).all, rel=0.01)


def test_mman_by_hand() -> None:
    config = MMANConfig(n_classes=2, feature_dims={"speech": 3, "text": 5}, d_model=2, n_hidden=4, n_dense=6)
    head = 2 * (4 * 6 + 6 * 2)
    assert contextual_lstm(1, 3, 2, config) == 2 * 16 * (3 + 4) + 2 * 16 * (4 + 4) + head
    standardised, projected = 2 * (3 * 2 + 5 * 2), 2 * 3 * 2 * 2 * 2
    attended = 2 * 2 * 2 * 2 * 2  # 2 x 2 scores of width 2, and as much for the values
    fusion = standardised + projected + attended + 2 * 16 * (4 + 4) + head
    alone = contextual_lstm(1, 3, 2, config) + contextual_lstm(1, 5, 2, config)
    found = mman_parts(config, 1)
    assert found.all == fusion + alone
    assert found.first == standardised + 2 * 16 * (3 + 5)
    assert mman_parts(config, 10).all == 10 * found.all


def test_inference_and_training_by_hand() -> None:
    counts = [Flops(10.0, 4.0), Flops(20.0, 8.0)]
    assert inference(counts, 7, 3).flops == 30
    assert inference(counts, 7, 3).bytes == 4 * (7 + 3)
    trained = training(counts, 7, 3, n_steps=2)
    assert trained.flops == 3 * 30 - 12
    assert trained.bytes == 4 * (7 + ADAM_TRAFFIC * 3 * 2)
