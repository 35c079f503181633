"""Any subset of the modalities is a valid input of every fused system."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from emofuse.models import MODELS, build, make_config
from emofuse.models.cma import CMA
from emofuse.models.mman import MMANConfig, MultiModalAttention
from emofuse.models.staged import fill_absent

CONVERSATION = [name for name, entry in MODELS.items() if entry.config is MMANConfig]
FUSED = [name for name in CONVERSATION if len(MODELS[name].modalities) > 1]
CMAS = ["cma", "cma-spectrogram"]
DIMS = {"speech": 3, "visual": 5, "text": 4}
SUBSETS = [s for n in (1, 2, 3) for s in itertools.combinations(DIMS, n)]
LENGTHS = (4, 2, 5)
SMALL = {"n_classes": 3, "d_model": 6, "n_hidden": 7, "n_dense": 5, "dropout": 0.0}
SMALL_CMA = {"n_classes": 3, "n_bins": 6, "filters": (4, 6, 8), "word_dim": 5, "d_model": 8, "n_heads": 2}


def small(name: str) -> nn.Module:
    torch.manual_seed(0)
    return build(name, make_config(name, feature_dims=DIMS, **SMALL)).eval()


def conversation(lengths=LENGTHS) -> dict[str, Tensor]:
    torch.manual_seed(1)
    return {m: torch.randn(len(lengths), max(lengths), dim) for m, dim in DIMS.items()}


def there(modalities: tuple[str, ...], lengths=LENGTHS) -> Tensor:
    """(batch, utterances, 3): these modalities everywhere."""
    row = torch.tensor([m in modalities for m in DIMS])
    return row.expand(len(lengths), max(lengths), 3).clone()


def valid(lengths=LENGTHS) -> Tensor:
    return torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]


def loss_of(logits: Tensor) -> Tensor:
    return F.cross_entropy(logits.flatten(0, -2), torch.arange(logits.flatten(0, -2).shape[0]) % 3)


@pytest.mark.parametrize("name", CONVERSATION)
def test_everything_present_is_exactly_what_it_was(name):
    model, x = small(name), conversation()
    torch.testing.assert_close(
        model(torch.tensor(LENGTHS), there(tuple(DIMS)), **x), model(torch.tensor(LENGTHS), **x), rtol=0, atol=0
    )


@pytest.mark.parametrize("name", FUSED)
@pytest.mark.parametrize("subset", SUBSETS, ids="+".join)
def test_every_subset_gives_finite_logits_and_gradients(name, subset):
    model = small(name)
    logits = model(torch.tensor(LENGTHS), there(subset), **conversation())
    assert torch.isfinite(logits).all()
    loss_of(logits).backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is None or torch.isfinite(parameter.grad).all(), key
    if subset != tuple(DIMS):
        full = model(torch.tensor(LENGTHS), **conversation())
        assert ((full - logits).abs().amax(-1)[valid()] > 1e-6).all()


@pytest.mark.parametrize("name", CONVERSATION)
def test_an_utterance_without_any_modality_gives_no_nan(name):
    model, present = small(name), there(tuple(DIMS))
    present[:, 1] = False
    logits = model(torch.tensor(LENGTHS), present, **conversation())
    assert torch.isfinite(logits).all()
    loss_of(logits).backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is None or torch.isfinite(parameter.grad).all(), key
    nothing = model(torch.tensor(LENGTHS), torch.zeros_like(present), **conversation())
    assert torch.isfinite(nothing).all()


@st.composite
def partly_missing(draw: st.DrawFn) -> tuple[tuple[int, ...], Tensor]:
    """Lengths of one to three dialogues and any subset, the empty one too, of each utterance."""
    lengths = tuple(draw(st.lists(st.integers(1, 4), min_size=1, max_size=3)))
    n = len(lengths) * max(lengths) * 3
    bits = draw(st.lists(st.booleans(), min_size=n, max_size=n))
    return lengths, torch.tensor(bits).view(len(lengths), max(lengths), 3)


@pytest.mark.parametrize("name", CONVERSATION)
@given(case=partly_missing(), junk=st.sampled_from([0.0, 1e6, float("nan"), float("inf")]))
@settings(max_examples=15, deadline=None)
def test_what_stands_for_a_missing_modality_and_padding_never_counts(name, case, junk):
    lengths, present = case
    model, x = small(name), conversation(lengths)
    logits = model(torch.tensor(lengths), present, **x)
    assert torch.isfinite(logits).all()
    changed = {m: v.masked_fill(~present[..., i, None], junk) for i, (m, v) in enumerate(x.items())}
    padding = ~valid(lengths)[..., None]
    changed = {m: v.masked_fill(padding, 1e3 if abs(junk) < 1e9 else 0.0) for m, v in changed.items()}
    again = model(torch.tensor(lengths), present ^ (padding & torch.rand(present.shape).gt(0.5)), **changed)
    torch.testing.assert_close(again[valid(lengths)], logits[valid(lengths)], rtol=0, atol=0)
    loss_of(model(torch.tensor(lengths), present, **changed)).backward()
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in model.parameters())


@pytest.mark.parametrize("name", FUSED)
def test_dialogues_with_other_gaps_never_change_the_logits(name):
    model, x = small(name), conversation()
    torch.manual_seed(2)
    present = torch.rand(3, 5, 3) > 0.4
    logits = model(torch.tensor(LENGTHS), present, **x)
    for row, n in enumerate(LENGTHS):
        one = {m: v[row : row + 1, :n] for m, v in x.items()}
        torch.testing.assert_close(model(torch.tensor([n]), present[row : row + 1, :n], **one)[0], logits[row, :n])


def test_attention_over_what_is_there_by_hand():
    # identity projections, x = a I with a^2 / sqrt(3) = ln 2: scores ln 2 on the diagonal, else 0
    layer = MultiModalAttention(3, 3, "dot")
    with torch.no_grad():
        for projection in (*layer.query, *layer.key, *layer.value):
            projection.weight.copy_(torch.eye(3))
            projection.bias.zero_()
    x = (3**0.5 * torch.tensor(2.0).log()).sqrt() * torch.eye(3)
    x[1] = 0
    present = torch.tensor([True, False, True])
    expected = torch.tensor([[2 / 3, 0, 1 / 3], [0, 0, 0], [1 / 3, 0, 2 / 3]])
    torch.testing.assert_close(layer.weights(x, present), expected)
    torch.testing.assert_close(layer(x, present), expected @ x + x)


@pytest.mark.parametrize("subset", SUBSETS, ids="+".join)
def test_weights_of_the_modalities_are_shares_of_what_is_there(subset):
    weights = small("clstm-mma").modality_weights(there(subset), **conversation())
    torch.testing.assert_close(sum(weights.values()), torch.ones(3, 5))
    for modality, share in weights.items():
        assert bool((share > 0).all()) == (modality in subset)
        assert bool((share == 0).all()) == (modality not in subset)


def test_parts_without_their_modality_take_over_the_mean_of_the_others():
    p = torch.tensor([[0.8, 0.2], [0.1, 0.9], [0.4, 0.6]])
    filled = fill_absent(p, torch.tensor([True, False, True]))
    torch.testing.assert_close(filled, torch.tensor([[0.8, 0.2], [0.6, 0.4], [0.4, 0.6]]))
    torch.testing.assert_close(fill_absent(p, torch.zeros(3, dtype=torch.bool)), torch.full((3, 2), 0.5))
    torch.testing.assert_close(fill_absent(p, torch.ones(3, dtype=torch.bool)), p, rtol=0, atol=0)


def test_an_untrained_mman_averages_the_parts_that_are_there():
    model, x, lengths = small("mman"), conversation((4,)), torch.tensor([4])
    present = there(("speech", "text"), (4,))
    parts = {k: v(lengths, present, **x).softmax(-1) for k, v in model.parts.items()}
    mean = (parts["clstm-mma"] + parts["clstm-speech"] + parts["clstm-text"]) / 3
    torch.testing.assert_close(model(lengths, present, **x), 4 * mean)


# CMA: a missing modality has length 0.


def cma(name: str) -> CMA:
    torch.manual_seed(0)
    return build(name, make_config(name, **SMALL_CMA, dropout=0.0)).eval()


def utterances(name: str) -> dict[str, Tensor]:
    """Four rows: both modalities, words alone, sound alone, both."""
    torch.manual_seed(1)
    n = (2500, 0, 1800, 4000) if name == "cma" else (50, 0, 36, 80)
    speech = torch.randn(4, max(n), *(() if name == "cma" else (6,)))
    text, words = torch.randn(4, 6, 5), (3, 6, 0, 1)
    for x, lengths in ((speech, n), (text, words)):
        for row, length in zip(x, lengths, strict=True):
            row[length:] = 0
    lengths = {"speech_lengths": torch.tensor(n), "text_lengths": torch.tensor(words)}
    return {"speech": speech, "text": text, **lengths}


def rows_of(batch: dict[str, Tensor], rows: list[int]) -> dict[str, Tensor]:
    """Some rows, without padding that none of them needs; a modality that none of them has is left out."""
    result = {}
    for m in ("speech", "text"):
        lengths = batch[f"{m}_lengths"][rows]
        if int(lengths.max()):
            result |= {m: batch[m][rows, : int(lengths.max())], f"{m}_lengths": lengths}
    return result


@pytest.mark.parametrize("name", CMAS)
def test_a_row_depends_on_nothing_but_itself(name):
    model, batch = cma(name), utterances(name)
    logits = model(**batch)
    assert torch.isfinite(logits).all()
    for rows in ([0], [1], [2], [3], [1, 2], [3, 1]):
        torch.testing.assert_close(model(**rows_of(batch, rows)), logits[rows], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", CMAS)
def test_what_stands_in_a_missing_row_never_counts(name):
    model, batch = cma(name), utterances(name)
    logits = model(**batch)
    speech, text = batch["speech"].clone(), batch["text"].clone()
    speech[1], text[2] = torch.nan, torch.nan
    torch.testing.assert_close(model(**batch | {"speech": speech, "text": text}), logits, rtol=0, atol=0)


@pytest.mark.parametrize("name", CMAS)
@pytest.mark.parametrize("mode", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("rows", [[0, 1, 2, 3], [0, 3], [1], [2], [1, 2]])
def test_gradients_are_finite_and_each_modality_gets_one(name, mode, rows):
    model, batch = cma(name).train(mode), rows_of(utterances(name), rows)
    loss_of(model(**batch)).backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is None or torch.isfinite(parameter.grad).all(), key
    for modality in ("speech", "text"):
        grad = getattr(model, f"{modality}_encoder").project.weight.grad
        assert (grad is not None and bool(grad.abs().max() > 0)) == (modality in batch)


def test_neighbours_without_sound_never_shift_the_batch_statistics():
    model, other = cma("cma").train(), cma("cma").train()
    batch = utterances("cma")
    heard = rows_of(batch, [0, 2, 3])
    torch.testing.assert_close(model(**batch)[[0, 2, 3]], other(**heard), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(dict(model.named_buffers()), dict(other.named_buffers()), rtol=1e-4, atol=1e-5)


def test_the_statistics_of_a_missing_stream_are_zero():
    model, batch = cma("cma"), utterances("cma")
    seen: list[Tensor] = []
    model.output.register_forward_hook(lambda _module, args, _result: seen.append(args[0]))
    model(**batch)
    speech, text = seen[0].split(16, dim=1)
    assert [bool((row == 0).all()) for row in speech] == [False, True, False, False]
    assert [bool((row == 0).all()) for row in text] == [False, False, True, False]


def test_nobody_asks_for_what_is_alone():
    received = cma("cma").attention_received(**utterances("cma"))
    torch.testing.assert_close(received["speech"].sum(1), torch.tensor([1.0, 0, 0, 1]))
    torch.testing.assert_close(received["text"].sum(1), torch.tensor([1.0, 0, 0, 1]))


def test_neither_sound_nor_words_is_finite():
    model, batch = cma("cma"), utterances("cma")
    none = {"speech_lengths": torch.zeros(4, dtype=torch.long), "text_lengths": torch.zeros(4, dtype=torch.long)}
    torch.testing.assert_close(model(**batch | none), model.output.bias.expand(4, -1))
