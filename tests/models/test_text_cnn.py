import pytest
import torch

from emofuse.models import build, make_config, n_parameters
from emofuse.models.text_cnn import TextCNN, TextCNNConfig


def small(**settings) -> TextCNN:
    torch.manual_seed(0)
    return TextCNN(
        TextCNNConfig(**{"n_classes": 3, "word_dim": 4, "filters": 5, "n_features": 6, "dropout": 0.0, **settings})
    )


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    lengths = torch.tensor([3, 1, 5])
    text = torch.randn(3, 5, 4)
    for row, n in zip(text, lengths, strict=True):
        row[n:] = 0
    return text, lengths


@pytest.mark.parametrize("training", [True, False])
def test_padding_never_changes_the_logits(training):
    model = small().train(training)
    text, lengths = batch()
    logits = model(text, lengths)
    assert logits.shape == (3, 3)
    longer = torch.cat([text, torch.zeros(3, 7, 4)], dim=1)
    torch.testing.assert_close(model(longer, lengths), logits)
    for row, n in enumerate(lengths):
        torch.testing.assert_close(model(text[row : row + 1, :n], lengths[row : row + 1]), logits[row : row + 1])


def test_every_parameter_gets_a_gradient():
    model = small()
    torch.nn.functional.cross_entropy(model(*batch()), torch.tensor([0, 1, 2])).backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.abs().max() > 0, key


def test_the_hidden_layer_is_what_the_logits_are_made_of():
    model = small(dropout=0.5).eval()
    features = model.features(*batch())
    assert features.shape == (3, 6)
    assert (features >= 0).all()
    torch.testing.assert_close(model.output(features), model(*batch()))


def test_maximum_over_words_by_hand():
    # one filter of width 1 that passes its input: the maximum over valid words, not below 0
    model = small(word_dim=1, filters=1, kernels=(1,), n_features=1)
    with torch.no_grad():
        for layer in (model.convs[0], model.hidden):
            layer.weight.fill_(1)
            layer.bias.zero_()
    text = torch.tensor([[2.0, -1.0, 9.0], [-3.0, -1.0, 9.0]])[..., None]
    assert model.features(text, torch.tensor([2, 2])).tolist() == [[2.0], [0.0]]


def test_a_word_order_matters_to_wide_filters_only():
    text = torch.randn(1, 4, 4)
    lengths = torch.tensor([4])
    narrow, wide = small(kernels=(1,)).eval(), small(kernels=(2,)).eval()
    torch.testing.assert_close(narrow(text.flip(1), lengths), narrow(text, lengths))
    assert (wide(text.flip(1), lengths) - wide(text, lengths)).abs().max() > 1e-5


def test_default_sizes():
    model = build("text-cnn", make_config("text-cnn"))
    convolutions = sum(300 * 100 * k + 100 for k in (1, 2, 3))
    assert n_parameters(model) == convolutions + (300 * 100 + 100) + (100 * 4 + 4)
