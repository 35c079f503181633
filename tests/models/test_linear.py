import pytest
import torch

from emofuse.errors import ConfigError
from emofuse.models.linear import LinearClassifier, LinearConfig


def test_logits_by_hand() -> None:
    model = LinearClassifier(LinearConfig(2, 3))
    with torch.no_grad():
        model.output.weight.copy_(torch.tensor([[1.0, 0, -1], [2, 2, 2]]))
        model.output.bias.copy_(torch.tensor([0.5, -1]))
    assert model(torch.tensor([[1.0, 2, 3]]), torch.tensor([3])).tolist() == [[-1.5, 11.0]]


def test_every_parameter_gets_a_gradient_and_the_batch_changes_nothing() -> None:
    torch.manual_seed(0)
    model = LinearClassifier(LinearConfig(4, 5))
    x, lengths = torch.randn(3, 5), torch.full((3,), 5)
    model(x, lengths).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())
    torch.testing.assert_close(model(x, lengths)[1:2], model(x[1:2], lengths[:1]))


@pytest.mark.parametrize("sizes", [{"n_classes": 0}, {"n_features": 0}])
def test_impossible_sizes_are_refused(sizes: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="need at least 1"):
        LinearConfig(**sizes)
