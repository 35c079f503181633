"""What every fusion of other papers must hold: padding, batch, missing modalities, causality, gradients."""

import pytest
import torch
from torch.nn import functional as F

from emofuse.errors import ConfigError
from emofuse.models import MODELS, build, make_config
from emofuse.models.conversation import ConversationConfig, context_mask, masked_softmax, visible
from emofuse.models.staged import StagedFusion

FUSIONS = ["bc-lstm", "sc-lstm", "alignment", "alignment-past", "mult", "mult-past", "tensor-fusion"]
UNIMODAL = [f"{family}-{m}" for family in ("bc-lstm", "sc-lstm") for m in ("speech", "visual", "text")]
ALL = FUSIONS + UNIMODAL
PAST = ["sc-lstm", "alignment-past", "mult-past", *(name for name in UNIMODAL if name.startswith("sc"))]
BOTH = ["bc-lstm", "alignment", "mult", *(name for name in UNIMODAL if name.startswith("bc"))]
DIMS = {"speech": 3, "visual": 5, "text": 4}
SIZES = {
    "BcLSTMConfig": {"n_hidden": 6, "n_dense": 7},
    "AlignmentConfig": {"n_hidden": 6},
    "MulTConfig": {"d_model": 8, "n_heads": 2, "n_blocks": 2},
    "TensorFusionConfig": {"n_text": 6, "n_other": 4, "n_dense": 8},
}


def small(name: str, dims: dict[str, int] = DIMS, **settings) -> torch.nn.Module:
    torch.manual_seed(0)
    sizes = SIZES[MODELS[name].config.__name__]
    return build(name, make_config(name, feature_dims=dims, n_classes=3, dropout=0.0, **{**sizes, **settings}))


def inputs(lengths=(4, 2, 5), dims: dict[str, int] = DIMS) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    batch = {m: torch.randn(len(lengths), max(lengths), dim) for m, dim in dims.items()}
    return {"lengths": torch.tensor(lengths), **batch}


def reached(name: str, t: int) -> torch.Tensor:
    """(6,): whether a change of utterance `t` of six changes each utterance's logits."""
    model, batch = small(name).eval(), inputs((6,))
    changed = {k: v.clone() for k, v in batch.items()}
    for m in DIMS:
        changed[m][:, t] += 1
    return (model(**changed) - model(**batch)).abs().amax(-1)[0] > 1e-7


def test_all_systems_of_other_papers_are_here():
    assert {name for name, entry in MODELS.items() if issubclass(entry.config, ConversationConfig)} == set(ALL)
    assert all(make_config(name).context == "past" for name in PAST)
    assert all(make_config(name).context == "both" for name in BOTH)


@pytest.mark.parametrize("name", ALL)
def test_padding_and_the_batch_never_change_the_logits(name):
    model, batch = small(name).eval(), inputs()
    logits = model(**batch)
    assert logits.shape == (3, 5, 3)
    longer = {k: v if k == "lengths" else torch.cat([v, torch.randn(3, 4, v.shape[2])], 1) for k, v in batch.items()}
    for row, n in enumerate(batch["lengths"]):
        one = {k: v[row : row + 1] if k == "lengths" else v[row : row + 1, :n] for k, v in batch.items()}
        torch.testing.assert_close(model(**one)[0], logits[row, :n])
        torch.testing.assert_close(model(**longer)[row, :n], logits[row, :n])


@pytest.mark.parametrize("name", PAST)
def test_the_future_never_changes_the_past(name):
    for t in range(6):
        assert reached(name, t).tolist() == [i >= t for i in range(6)]


@pytest.mark.parametrize("name", BOTH)
def test_both_directions_reach_every_utterance(name):
    assert reached(name, 0).all()
    assert reached(name, 5).all()


def test_tensor_fusion_has_no_context():
    assert reached("tensor-fusion", 2).tolist() == [False, False, True, False, False, False]


@pytest.mark.parametrize("name", ALL)
def test_every_parameter_gets_a_gradient(name):
    model = small(name)
    F.cross_entropy(model(**inputs((5, 5))).flatten(0, 1), torch.arange(10) % 3).backward()
    for key, parameter in model.named_parameters():
        if isinstance(model, StagedFusion) and key.startswith("parts.") and ".output." in key:
            assert parameter.grad is None, key  # logits of level 1, for its own training only
            continue
        assert parameter.grad is not None, key
        assert parameter.grad.abs().max() > 1e-8, key


@pytest.mark.parametrize("name", ALL)
def test_everything_there_is_the_same_as_no_mask(name):
    model, batch = small(name).eval(), inputs()
    present = torch.ones(3, 5, 3, dtype=torch.bool)
    torch.testing.assert_close(model(**batch, present=present), model(**batch))


@pytest.mark.parametrize("name", ALL)
def test_what_stands_in_a_missing_row_never_matters_and_nothing_there_is_finite(name):
    model, batch = small(name), inputs()
    torch.manual_seed(2)
    present = torch.rand(3, 5, 3) < 0.5
    present[0, 1] = False  # an utterance without any modality
    present[1] = False  # a conversation without any
    logits = model(**batch, present=present)
    assert torch.isfinite(logits).all()
    logits.sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
    changed = dict(batch)
    for i, m in enumerate(DIMS):
        changed[m] = batch[m].masked_fill(~present[..., i, None], torch.nan)
    torch.testing.assert_close(model(**changed, present=present), logits, rtol=0, atol=0)
    assert (model(**batch) - logits).abs().max() > 1e-5  # and missing is not the same as there


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("kept", [(0,), (1,), (2,), (0, 1), (0, 2), (1, 2)])
def test_any_subset_is_a_valid_input(name, kept):
    present = torch.zeros(3, 5, 3, dtype=torch.bool)
    present[..., list(kept)] = True
    assert torch.isfinite(small(name).eval()(**inputs(), present=present)).all()


@pytest.mark.parametrize("name", FUSIONS)
@pytest.mark.parametrize(
    "dims", [{"speech": 2, "text": 9}, {"speech": 1, "visual": 3}, {"visual": 4, "speech": 4, "text": 4}]
)
def test_any_two_or_more_modalities_of_any_size(name, dims):
    logits = small(name, dims).eval()(**inputs((4, 2), dims))
    assert logits.shape == (2, 4, 3)
    assert torch.isfinite(logits).all()


@pytest.mark.parametrize("name", ["alignment", "mult"])
def test_a_single_modality_is_refused_where_nothing_would_be_left_to_do(name):
    with pytest.raises(ConfigError, match="need two modalities or more"):
        make_config(name, feature_dims={"text": 3})


@pytest.mark.parametrize("name", ALL)
def test_two_dialogues_can_be_over_fitted(name):
    wide = {"BcLSTMConfig": {"n_hidden": 24, "n_dense": 24}, "AlignmentConfig": {"n_hidden": 24}}
    model, batch = small(name, **wide.get(MODELS[name].config.__name__, {})), inputs((5, 3))
    labels = torch.tensor([[0, 1, 2, 0, 1], [2, 2, 1, -1, -1]]).flatten()
    optimiser = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(100):
        loss = F.cross_entropy(model(**batch).flatten(0, 1), labels, ignore_index=-1)
        if loss < 0.1:
            break
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss < 0.1


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("bc-lstm", {"n_hidden": 0}, "n_hidden is 0, need at least 1"),
        ("tensor-fusion", {"dropout": 1.0}, "dropout is 1.0, need 0 or more"),
        ("alignment", {"feature_dims": {"speech": 3, "audio": 2}}, "modalities are speech, visual, text"),
        ("mult", {"n_heads": 3}, "d_model 40 is not an even multiple of n_heads 3"),
        ("mult", {"kernel": 2}, "kernel is 2, need an odd number"),
        ("bc-lstm", {"context": "future"}, "context"),
    ],
)
def test_wrong_settings_are_refused(name, settings, message):
    with pytest.raises(ConfigError, match=message):
        make_config(name, **settings)


def test_context_mask_by_hand():
    lengths, there = torch.tensor([3]), torch.tensor([[True, False, True, True]])
    valid = [[1, 0, 1, 0]] * 4  # the second lacks the modality, the fourth is padding
    assert context_mask(lengths, torch.zeros(len(lengths), 4, 1), "both", there)[0].int().tolist() == valid
    assert (
        context_mask(lengths, torch.zeros(len(lengths), 4, 1), "past", there)[0].int().tolist()
        == [[1, 0, 0, 0]] * 2 + [[1, 0, 1, 0]] * 2
    )


def test_masked_softmax_by_hand():
    scores = torch.tensor([[0.0, 5.0, torch.log(torch.tensor(3.0))], [1.0, 2.0, 3.0]])
    mask = torch.tensor([[True, False, True], [False, False, False]])
    torch.testing.assert_close(masked_softmax(scores, mask), torch.tensor([[0.25, 0, 0.75], [0, 0, 0]]))


def test_visible_zeroes_missing_rows_and_padding():
    features = {"speech": torch.ones(1, 3, 2), "text": torch.full((1, 3, 1), torch.nan)}
    present = torch.tensor([[[True, False], [False, False], [True, False]]])
    shown = visible(features, ("speech", "text"), torch.tensor([2]), present)
    assert shown["speech"].tolist() == [[[1, 1], [0, 0], [0, 0]]]
    assert shown["text"].tolist() == [[[0], [0], [0]]]
