import pytest
import torch

from emofuse.errors import ConfigError
from emofuse.models import build, make_config
from emofuse.models.minilm import CLS, SEP, MiniLM, rename_bert

SMALL = {
    "n_classes": 3,
    "n_pieces": 20,
    "max_pieces": 9,
    "d_model": 8,
    "n_layers": 2,
    "n_heads": 2,
    "d_feed": 12,
    "dropout": 0.0,
}


def small(**settings) -> MiniLM:
    torch.manual_seed(0)
    model = build("minilm", make_config("minilm", **{**SMALL, **settings}))
    assert isinstance(model, MiniLM)
    return model


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    lengths = torch.tensor([3, 1, 5])
    text = torch.randint(4, 20, (3, 5)).int()
    for row, n in zip(text, lengths, strict=True):
        row[n:] = 0
    return text, lengths


def test_padding_and_neighbours_do_not_change_the_logits():
    model, (text, lengths) = small().eval(), batch()
    together = model(text, lengths)
    assert together.shape == (3, 3)
    for row, n, logits in zip(text, lengths, together, strict=True):
        torch.testing.assert_close(model(row[None, :n], n[None])[0], logits, rtol=1e-5, atol=1e-6)
    longer = torch.cat([text, torch.full((3, 2), 7, dtype=torch.int32)], dim=1)  # whatever stands behind the end
    torch.testing.assert_close(model(longer, lengths), together, rtol=1e-5, atol=1e-6)


def test_it_is_the_library_s_bert():
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(2)
    config = transformers.BertConfig(
        vocab_size=20,
        hidden_size=8,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=12,
        max_position_embeddings=11,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    bert = transformers.BertModel(config, add_pooling_layer=False).eval()
    model = small(n_layers=3).eval()
    found = rename_bert(bert.state_dict())
    model.load_state_dict({name: found.get(name, value) for name, value in model.state_dict().items()})
    assert set(model.state_dict()) - set(found) == {"output.weight", "output.bias"}
    text, lengths = batch()
    for row, n in zip(text, lengths, strict=True):
        ids = torch.tensor([[CLS, *row[:n].tolist(), SEP]])
        expected = model.output(bert(ids).last_hidden_state.mean(1))
        torch.testing.assert_close(model(row[None, :n], n[None]), expected, rtol=1e-4, atol=1e-5)


def test_every_parameter_gets_a_gradient_but_that_of_the_padding():
    model, (text, lengths) = small(), batch()
    model(text, lengths).square().sum().backward()
    assert all(p.grad is not None and bool((p.grad != 0).any()) for p in model.parameters())


def test_two_texts_can_be_learnt_by_heart():
    model, (text, lengths) = small(), batch()
    optimiser = torch.optim.Adam(model.parameters(), lr=0.01)
    labels = torch.tensor([0, 1, 2])
    for _ in range(60):
        loss = torch.nn.functional.cross_entropy(model(text, lengths), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss.item() < 0.05


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_heads": 3}, "d_model 8 is not a multiple of n_heads 3"),
        ({"n_layers": 0}, "n_layers is 0, need at least 1"),
        ({"dropout": 1.0}, r"dropout is 1\.0, need 0 or more and less than 1"),
    ],
)
def test_sizes_that_cannot_be(settings, message):
    with pytest.raises(ConfigError, match=message):
        make_config("minilm", **{**SMALL, **settings})
