import math

import pytest
import torch
from torch.nn import functional as F

from emofuse.errors import ConfigError
from emofuse.example import speaker_turns
from emofuse.models import MODELS, build, make_config, n_parameters
from emofuse.models.mman import N_TURNS, MMANConfig, MultiModalAttention
from emofuse.models.staged import StagedFusion

COUNTS = {
    "clstm-speech": 1_265_804,
    "clstm-text": 1_265_804,
    "clstm-visual": 1_760_204,
    "clstm-ef": 2_000_204,
    "clstm-lf": 4_729_616,
    "clstm-mma": 1_274_504,
    "mman": 5_566_384,
}
STAGED = ["clstm-lf", "mman"]
DIMS = {"speech": 3, "visual": 5, "text": 4}
SMALL = {"n_classes": 3, "d_model": 6, "n_hidden": 7, "n_dense": 5, "dropout": 0.0}


def small(name: str, dims: dict[str, int] = DIMS, **settings) -> torch.nn.Module:
    torch.manual_seed(0)
    return build(name, make_config(name, feature_dims=dims, **{**SMALL, **settings}))


def inputs(lengths=(4, 2, 5), dims: dict[str, int] = DIMS) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    batch = {m: torch.randn(len(lengths), max(lengths), dim) for m, dim in dims.items()}
    for x in batch.values():
        for row, n in zip(x, lengths, strict=True):
            row[n:] = 0
    return {"lengths": torch.tensor(lengths), **batch}


def test_all_systems_of_the_paper_are_here():
    assert {name for name, entry in MODELS.items() if entry.config is MMANConfig} == set(COUNTS)


@pytest.mark.parametrize(("name", "count"), COUNTS.items())
def test_parameters_of_table_2(name, count):
    assert n_parameters(build(name, make_config(name))) == count


@pytest.mark.parametrize("name", COUNTS)
def test_padding_never_changes_the_logits(name):
    model = small(name).eval()
    batch = inputs()
    logits = model(**batch)
    assert logits.shape == (3, 5, 3)
    for row, n in enumerate(batch["lengths"]):
        one = {k: v[row : row + 1] if k == "lengths" else v[row : row + 1, :n] for k, v in batch.items()}
        torch.testing.assert_close(model(**one)[0], logits[row, :n])
    longer = {k: v if k == "lengths" else torch.cat([v, torch.randn(3, 4, v.shape[2])], 1) for k, v in batch.items()}
    for row, n in enumerate(batch["lengths"]):
        torch.testing.assert_close(model(**longer)[row, :n], logits[row, :n])


@pytest.mark.parametrize("name", COUNTS)
def test_the_future_never_changes_the_past(name):
    model = small(name).eval()
    batch = inputs((6,))
    logits = model(**batch)
    for t in range(5):
        changed = {k: v.clone() for k, v in batch.items()}
        for m in DIMS:
            changed[m][:, t + 1] += 1
        now = model(**changed)
        torch.testing.assert_close(now[:, : t + 1], logits[:, : t + 1], rtol=0, atol=0)
        assert (now[:, t + 1] - logits[:, t + 1]).abs().max() > 1e-5


def turns_of(batch: dict[str, torch.Tensor]) -> torch.Tensor:
    n_dialogues, n_utterances = batch["speech"].shape[:2]
    who = torch.from_numpy(speaker_turns(list("abbacab"[:n_utterances])))
    return who.expand(n_dialogues, -1, -1)


@pytest.mark.parametrize("name", COUNTS)
@pytest.mark.parametrize("context", ["both", "none"])
def test_padding_never_changes_the_logits_of_another_context(name, context):
    model = small(name, context=context, turns=True).eval()
    batch = inputs()
    batch["turns"] = turns_of(batch)
    logits = model(**batch)
    for row, n in enumerate(batch["lengths"]):
        one = {k: v[row : row + 1] if k == "lengths" else v[row : row + 1, :n] for k, v in batch.items()}
        torch.testing.assert_close(model(**one)[0], logits[row, :n])


@pytest.mark.parametrize("name", COUNTS)
def test_both_directions_see_the_whole_dialogue_and_none_sees_the_utterance_alone(name):
    batch = inputs((5,))
    for context, expected in (("past", [2, 3, 4]), ("both", [0, 1, 2, 3, 4]), ("none", [2])):
        model = small(name, context=context).eval()
        changed = {k: v.clone() for k, v in batch.items()}
        for m in DIMS:
            changed[m][:, 2] += 1
        moved = (model(**changed) - model(**batch)).abs().amax(-1)[0]
        assert (moved > 1e-6).nonzero().flatten().tolist() == expected


@pytest.mark.parametrize("name", COUNTS)
def test_turns_matter_where_they_are_asked_for_and_unknown_ones_are_zero(name):
    batch = inputs((5,))
    told = {**batch, "turns": turns_of(batch)}
    model = small(name, turns=True).eval()
    assert (model(**told) - model(**batch)).abs().max() > 1e-5
    unknown = torch.zeros(1, 5, N_TURNS)
    torch.testing.assert_close(model(**batch, turns=unknown), model(**batch), rtol=0, atol=0)
    deaf = small(name).eval()
    torch.testing.assert_close(deaf(**told), deaf(**batch), rtol=0, atol=0)


def test_input_dropout_is_another_one_only_where_it_is_given():
    assert small("clstm-mma", dropout=0.5).block.input_dropout.p == 0.5
    block = small("clstm-mma", dropout=0.5, input_dropout=0.3).block
    assert (block.input_dropout.p, block.dropout.p) == (0.3, 0.5)


@pytest.mark.parametrize("name", COUNTS)
@pytest.mark.parametrize("settings", [{}, {"context": "both", "turns": True}, {"context": "none"}])
def test_every_parameter_gets_a_gradient(name, settings):
    model = small(name, n_dense=24, **settings)  # of five units all may be dead
    batch = inputs((5, 5))
    logits = model(**batch, turns=turns_of(batch))
    F.cross_entropy(logits.flatten(0, 1), torch.arange(10) % 3).backward()
    for key, parameter in model.named_parameters():
        if settings.get("context") == "none" and "weight_hh" in key:
            continue  # what an LSTM remembers is nothing at its first step
        assert parameter.grad is not None, key
        assert parameter.grad.abs().max() > 0, key


@pytest.mark.parametrize("name", STAGED)
def test_frozen_parts_get_no_gradient_and_no_dropout(name):
    model = small(name, dropout=0.5).train()
    assert isinstance(model, StagedFusion)
    assert all(part.training for part in model.parts.values())
    model.freeze_parts()
    F.cross_entropy(model(**inputs((5, 5))).flatten(0, 1), torch.arange(10) % 3).backward()
    for key, parameter in model.named_parameters():
        assert (parameter.grad is None) == key.startswith("parts."), key
    for mode in (True, False, True):
        model.train(mode)
        assert model.training == mode
        assert not any(module.training for part in model.parts.values() for module in part.modules())
    if name == "clstm-lf":
        assert model.block.training
        assert model.block.dropout.training
    batch = inputs()
    features = {k: v for k, v in batch.items() if k != "lengths"}
    torch.testing.assert_close(
        model.fusion_input(batch["lengths"], features), model.fusion_input(batch["lengths"], features), rtol=0, atol=0
    )


def test_parts_of_the_staged_systems():
    assert list(small("mman").parts) == ["clstm-mma", "clstm-speech", "clstm-visual", "clstm-text"]
    assert list(small("clstm-lf").parts) == ["clstm-speech", "clstm-visual", "clstm-text"]


def test_fusion_sees_the_class_probabilities_of_each_part():
    model, batch = small("mman").eval(), inputs((4,))
    features = {k: v for k, v in batch.items() if k != "lengths"}
    seen = model.fusion_input(batch["lengths"], features).unflatten(-1, (4, 3))
    torch.testing.assert_close(seen.sum(-1), torch.ones(1, 4, 4))
    for i, part in enumerate(model.parts.values()):
        torch.testing.assert_close(seen[..., i, :], part(**batch).softmax(-1))
    # the dense layer starts as the parts' average
    torch.testing.assert_close(model(**batch), 4 * seen.mean(-2))


@pytest.mark.parametrize("name", ["clstm-ef", "clstm-lf", "clstm-mma", "mman"])
@pytest.mark.parametrize(
    "dims", [{"speech": 2, "text": 9}, {"text": 1, "visual": 3}, {"visual": 4, "speech": 4, "text": 4}]
)
def test_any_two_or_more_modalities_of_any_size(name, dims):
    model = small(name, dims).eval()
    logits = model(**inputs((4, 2), dims))
    assert logits.shape == (2, 4, 3)
    assert torch.isfinite(logits).all()


def hand_attention(kind: str) -> tuple[MultiModalAttention, torch.Tensor, float]:
    """Identity projections and x = a I, so that scores are a^2 / sqrt(2) = ln 3 on the diagonal, else 0."""
    layer = MultiModalAttention(2, 2, kind)
    with torch.no_grad():
        for projection in (*layer.query, *layer.key, *layer.value):
            projection.weight.copy_(torch.eye(2))
            projection.bias.zero_()
    a = math.sqrt(math.sqrt(2) * math.log(3))
    return layer, a * torch.eye(2), a


def test_attention_by_hand():
    layer, x, a = hand_attention("dot")
    torch.testing.assert_close(layer.weights(x), torch.tensor([[3 / 4, 1 / 4], [1 / 4, 3 / 4]]))
    # attended values plus the skip connection
    torch.testing.assert_close(layer(x), a * torch.tensor([[7 / 4, 1 / 4], [1 / 4, 7 / 4]]))


def test_cosine_attention_by_hand():
    layer, x, _ = hand_attention("cosine")
    p = math.e / (math.e + 1)
    torch.testing.assert_close(layer.weights(x), torch.tensor([[p, 1 - p], [1 - p, p]]))
    torch.testing.assert_close(layer.weights(7 * x), layer.weights(x))


@pytest.mark.parametrize("kind", ["dot", "cosine"])
def test_rows_of_the_attention_sum_to_one_over_the_same_utterance(kind):
    torch.manual_seed(0)
    layer = MultiModalAttention(4, 3, kind)
    x = torch.randn(2, 5, 3, 4)
    weights = layer.weights(x)
    assert weights.shape == (2, 5, 3, 3)
    assert (weights > 0).all()
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 5, 3))
    torch.testing.assert_close(layer(x)[1, 2], layer(x[1, 2]))


def test_skip_connection():
    layer = MultiModalAttention(4, 3, "dot")
    with torch.no_grad():
        for value in layer.value:
            value.weight.zero_()
            value.bias.zero_()
    x = torch.randn(2, 3, 4)
    torch.testing.assert_close(layer(x), x)


def test_cosine_differs_from_dot():
    dot, cosine = small("clstm-mma").eval(), small("clstm-mma", attention="cosine").eval()
    cosine.load_state_dict(dot.state_dict())
    assert (dot(**inputs()) - cosine(**inputs())).abs().max() > 1e-5


@pytest.mark.parametrize("dims", [{}, {"speech": 3, "audio": 2}])
def test_unknown_modalities_are_refused(dims):
    with pytest.raises(ConfigError, match="modalities are speech, visual, text"):
        MMANConfig(feature_dims=dims)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_hidden": 0}, "n_hidden is 0, need at least 1"),
        ({"dropout": -0.1}, "dropout is -0.1, need 0 or more"),
        ({"input_dropout": 1.0}, "input_dropout is 1.0, need 0 or more"),
    ],
)
def test_wrong_sizes_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        MMANConfig(**settings)


@pytest.mark.parametrize("name", COUNTS)
def test_two_dialogues_can_be_over_fitted(name):
    model = small(name, n_hidden=24, n_dense=24)
    batch = inputs((5, 3))
    labels = torch.tensor([[0, 1, 2, 0, 1], [2, 2, 1, -1, -1]]).flatten()
    optimiser = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(80):
        loss = F.cross_entropy(model(**batch).flatten(0, 1), labels, ignore_index=-1)
        if loss < 0.1:
            break
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss < 0.1
