import pytest
import torch

from emofuse.errors import ConfigError
from emofuse.models.conv_block import ConvBlock, frames_left


@pytest.mark.parametrize("training", [True, False])
def test_a_conv_block_is_the_four_layers_of_the_paper(training):
    block = ConvBlock(2, 3, kernel=5, stride=2, pool=4, pool_stride=2).train(training)
    norm = torch.nn.BatchNorm1d(3).train(training)
    layers = torch.nn.Sequential(block.conv, norm, torch.nn.ReLU(), torch.nn.MaxPool1d(4, 2))
    x = torch.randn(4, 2, 40)
    y, lengths = block(x[:, :, None].to(memory_format=torch.channels_last), torch.full((4,), 40))
    torch.testing.assert_close(y[:, :, 0], layers(x))
    assert lengths.tolist() == [y.shape[3]] * 4
    torch.testing.assert_close(block.norm.running_var, norm.running_var)


@pytest.mark.parametrize(("kernel", "stride", "pool", "pool_stride"), [(5, 2, 4, 2), (3, 4, 4, 2), (7, 1, 2, 2)])
def test_the_fewest_steps_of_which_so_many_frames_are_left(
    kernel: int, stride: int, pool: int, pool_stride: int
) -> None:
    block = ConvBlock(2, 3, kernel, stride, pool, pool_stride).eval()
    for n in (1, 2, 5):
        least = block.least_steps(n)
        assert frames_left([block], torch.tensor([least])).tolist() == [n]
        y, lengths = block(torch.randn(1, 2, 1, least), torch.tensor([least]))
        assert y.shape[3] == lengths.item() == n
        if least > 1 and n > 1:
            assert frames_left([block], torch.tensor([least - 1])).tolist() == [n - 1]
    with pytest.raises(ConfigError, match="too short for the convolutions' strides"):
        frames_left([block, block], torch.tensor([block.least_steps(1)]))
