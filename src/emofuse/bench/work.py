"""The least arithmetic and memory traffic that a model needs, counted by hand.

A multiplication and an addition are two operations. Counted are the layers that multiply matrices; normalisation,
activation, pooling and softmax are not: a perfect program does them on the way. Moved are the inputs, the weights and
the logits, once; what lies between stays in the cache of a perfect program. So it is a bound that cannot be beaten,
not one that can always be reached.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from emofuse.models.cma import CMAConfig
from emofuse.models.mman import MMANConfig

FLOAT_BYTES = 4
ADAM_TRAFFIC = 6
"""Values that a step of Adam moves at least for each weight: it and its two moments, read and written."""


@dataclass(frozen=True)
class Work:
    """Arithmetic operations and bytes moved."""

    flops: float
    bytes: float


@dataclass(frozen=True)
class Flops:
    """Operations of a network's forward pass.

    Attributes:
        all: Of the whole network.
        first: Of that, in the layers that see the input: training needs no gradient of it.
    """

    all: float
    first: float


def dense(n_rows: int, n_input: int, n_output: int) -> float:
    """Operations of a linear layer on `n_rows` vectors."""
    return 2.0 * n_rows * n_input * n_output


def lstm(n_steps: int, n_input: int, n_hidden: int, n_directions: int = 1) -> float:
    """Operations of an LSTM layer: four gates that see the input and the state."""
    return n_directions * dense(n_steps, n_input + n_hidden, 4 * n_hidden)


def attention_block(n_steps: int, d_model: int) -> float:
    """Operations of a block that attends to its own steps: four projections, scores, values, two dense layers."""
    return 6 * dense(n_steps, d_model, d_model) + 2 * dense(n_steps, d_model, n_steps)


def cma_speech(config: CMAConfig, n_samples: int) -> Flops:
    """CMA on the waveform of one clip, without words."""
    strides, pools = config.conv_strides or (4, 4, 4), config.pool_sizes or (4, 4, 4)
    pool_strides = config.pool_strides or (2, 2, 2)
    convolutions: list[float] = []
    n_steps, n_channels = n_samples, 1
    for i, (n_filters, kernel) in enumerate(zip(config.filters, config.kernels, strict=True)):
        n_steps = (n_steps + 2 * (kernel // 2) - kernel) // strides[i] + 1
        convolutions.append(dense(n_steps, n_channels * kernel, n_filters))
        n_steps, n_channels = (n_steps - pools[i]) // pool_strides[i] + 1, n_filters
    d = config.d_model
    recurrent = lstm(n_steps, n_channels, d, 2) + dense(n_steps, 2 * d, d)
    blocks = config.n_blocks * attention_block(n_steps, d)
    return Flops(sum(convolutions) + recurrent + blocks + dense(1, 2 * d, config.n_classes), convolutions[0])


def contextual_lstm(n_utterances: int, n_input: int, n_layers: int, config: MMANConfig) -> float:
    """A cLSTM block over the utterances of a dialogue."""
    n_hidden = config.n_hidden
    recurrent = lstm(n_utterances, n_input, n_hidden) + (n_layers - 1) * lstm(n_utterances, n_hidden, n_hidden)
    head = dense(n_utterances, n_hidden, config.n_dense) + dense(n_utterances, config.n_dense, config.n_classes)
    return recurrent + head


def mman_parts(config: MMANConfig, n_utterances: int) -> Flops:
    """MMAN's parts on a dialogue: the multi-modal one and one a modality; the layer that fuses them is nothing."""
    d, n_modalities = config.d_model, len(config.feature_dims)
    standardised = sum(dense(n_utterances, dim, d) for dim in config.feature_dims.values())
    projected = 3 * n_modalities * dense(n_utterances, d, d)
    attended = 2 * n_utterances * dense(n_modalities, d, n_modalities)
    fusion = standardised + projected + attended + contextual_lstm(n_utterances, n_modalities * d, 1, config)
    alone = sum(contextual_lstm(n_utterances, dim, 2, config) for dim in config.feature_dims.values())
    seen = sum(dense(n_utterances, dim, 4 * config.n_hidden) for dim in config.feature_dims.values())
    return Flops(fusion + alone, standardised + seen)


def inference(counts: Sequence[Flops], n_values: int, n_parameters: int) -> Work:
    """Examples, one after the other or at once, that bring in and give `n_values` numbers."""
    return Work(sum(f.all for f in counts), FLOAT_BYTES * (n_values + n_parameters))


def training(counts: Sequence[Flops], n_values: int, n_parameters: int, n_steps: int) -> Work:
    """Training on examples: gradients of what layers see and of their weights cost as much as the forward pass each."""
    flops = sum(3 * f.all - f.first for f in counts)
    return Work(flops, FLOAT_BYTES * (n_values + ADAM_TRAFFIC * n_parameters * n_steps))
