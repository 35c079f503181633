import pytest
import torch

from emofuse.errors import ConfigError
from emofuse.models import build, make_config
from emofuse.models.cma_subword import SubwordCMA

SMALL = {
    "n_classes": 3,
    "word_dim": 5,
    "n_words": 11,
    "n_grams": 13,
    "n_pairs": 7,
    "d_model": 8,
    "n_heads": 2,
    "dropout": 0.0,
    "word_dropout": 0.0,
}


def small(**settings) -> SubwordCMA:
    torch.manual_seed(0)
    model = build("cma-subword", make_config("cma-subword", **{**SMALL, **settings}))
    assert isinstance(model, SubwordCMA)
    with torch.no_grad():  # which start at zero: nothing would be seen of them
        model.pairs.weight[1:].normal_()
    return model


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    """Ids of three texts of 3, 1 and 5 words; every word has a pair and one to three n-grams."""
    torch.manual_seed(1)
    lengths = torch.tensor([3, 1, 5])
    own, pair, grams = (torch.randint(1, n + 1, (3, 5, k)) for n, k in ((11, 1), (7, 1), (13, 3)))
    text = torch.cat([own, pair, grams], dim=2).int()
    text[0, 1, 3:] = 0
    text[2, 0, 0] = 0  # an unknown word
    for row, n in zip(text, lengths, strict=True):
        row[n:] = 0
    return text, lengths


@pytest.mark.parametrize("training", [True, False])
def test_padding_never_changes_the_logits(training):
    model = small().train(training)
    text, lengths = batch()
    logits = model(text, lengths)
    assert logits.shape == (3, 3)
    longer = torch.cat([text, torch.zeros(3, 4, 5, dtype=text.dtype)], dim=1)
    torch.testing.assert_close(model(longer, lengths), logits, rtol=1e-4, atol=1e-5)
    for row, n in enumerate(lengths):
        one = model(text[row : row + 1, :n], lengths[row : row + 1])
        torch.testing.assert_close(one, logits[row : row + 1], rtol=1e-4, atol=1e-5)


def test_every_parameter_gets_a_gradient():
    model = small()
    torch.nn.functional.cross_entropy(model(*batch()), torch.tensor([0, 1, 2])).backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None, key
        if not key.endswith("key.bias"):  # adds the same to all scores of a query, which the softmax cancels
            assert parameter.grad.abs().max() > 1e-9, key
    for table in (model.words, model.grams, model.pairs):
        assert table.weight.grad is not None
        assert not table.weight.grad[0].any()  # no id: nothing to learn


def test_the_embedding_by_hand():
    model = small(word_dim=1)
    with torch.no_grad():
        model.words.weight[3], model.grams.weight[1], model.grams.weight[2] = 10.0, 2.0, 4.0
    text = torch.tensor([[[3, 1, 1, 2, 2, 2], [0, 1, 1, 0, 0, 0], [3, 1, 0, 0, 0, 0]]])
    # 10 + (2 + 4 + 4 + 4) / sqrt(4); an unknown word is its n-gram; a word without n-grams is itself
    assert model._embed(text)[0, :, 0].tolist() == pytest.approx([17.0, 2.0, 10.0])


def test_pairs_vote_beside_the_network_by_hand():
    model = small()
    text, lengths = batch()
    with torch.no_grad():
        model.pairs.weight[1:] = 0
        without = model(text, lengths)
        model.pairs.weight[text[0, 1, 1], 2] = 6.0
        votes = model(text, lengths) - without
    n_of_pair = (text[..., 1] == text[0, 1, 1]).sum(1)
    expected = torch.zeros(3, 3)
    expected[:, 2] = 6 * n_of_pair / lengths.sqrt()
    torch.testing.assert_close(votes, expected, rtol=1e-4, atol=1e-4)


def test_attention_falls_on_valid_words_alone():
    text, lengths = batch()
    received = small().eval().attention_received(text, lengths)["text"]
    torch.testing.assert_close(received.sum(1), torch.ones(3))
    for row, n in zip(received, lengths, strict=True):
        assert not row[n:].any()


def test_word_dropout_leaves_the_letters():
    model = small(word_dropout=0.999).train()
    text, _ = batch()
    unknown = text.clone()
    unknown[:, :, 0] = 0
    torch.testing.assert_close(model._embed(text), model._embed(unknown))
    assert not torch.allclose(model.eval()._embed(text), model._embed(unknown))


def test_two_texts_can_be_told_apart():
    model = small()
    text, lengths = batch()
    labels = torch.tensor([2, 0, 1])
    optimiser = torch.optim.Adam(model.parameters(), 0.02)
    for _ in range(60):
        loss = torch.nn.functional.cross_entropy(model(text, lengths), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss.item() < 0.05


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_words": 0}, "n_words is 0"),
        ({"word_dropout": 1.0}, "word_dropout"),
        ({"n_heads": 3}, "multiple of n_heads"),
    ],
)
def test_sizes_are_checked(settings, message):
    with pytest.raises(ConfigError, match=message):
        make_config("cma-subword", **{**SMALL, **settings})
