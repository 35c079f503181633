import inspect

import numpy as np
import pytest
import torch

from emofuse.batching import (
    collate,
    crop,
    drop_modalities,
    evaluation_batches,
    jitter_faces,
    mask_bands,
    restrict,
    stable_seed,
    training_batches,
    without,
)
from emofuse.errors import DataError
from emofuse.example import IGNORE, Example, pad, speaker_turns, there
from emofuse.models import MODELS, build, make_config

SMALL_CMA = {"filters": (2, 2, 2), "word_dim": 3, "n_bins": 4, "d_model": 4, "n_heads": 2}
DIMS = {"speech": 2, "visual": 3, "text": 4}
SMALL = {
    "CMAConfig": SMALL_CMA,
    "MMANConfig": {"feature_dims": DIMS, "d_model": 4, "n_hidden": 4, "n_dense": 3},
    "BcLSTMConfig": {"feature_dims": DIMS, "n_hidden": 4, "n_dense": 3},
    "AlignmentConfig": {"feature_dims": DIMS, "n_hidden": 4},
    "MulTConfig": {"feature_dims": DIMS, "d_model": 4, "n_heads": 2, "n_blocks": 1},
    "TensorFusionConfig": {"feature_dims": DIMS, "n_text": 3, "n_other": 2, "n_dense": 4},
    "TextCNNConfig": {"word_dim": 3, "filters": 2, "n_features": 3},
    "FaceCNNConfig": {"channels": (2, 3)},
    "LinearConfig": {"n_features": 2000},
    "MLPConfig": {"n_features": 2000},
    "MiniLMConfig": {"n_pieces": 9, "d_model": 4, "n_layers": 1, "n_heads": 2, "d_feed": 4},
}


def words(name: str, n_steps: int, label: int = 0) -> Example:
    return Example((name,), np.array([label]), {"text": np.full((n_steps, 2), n_steps, np.float32)})


def clips(n: int = 37) -> list[Example]:
    return [
        Example((f"u{i}",), np.array([i % 3]), {"speech": np.arange(20 + i % 7, dtype=np.float32)}) for i in range(n)
    ]


def conversation(name: str, n: int, dims: dict[str, int]) -> Example:
    ids = tuple(f"{name}-{i}" for i in range(n))
    return Example(ids, np.arange(n) % 4, {m: np.ones((n, dim), np.float32) for m, dim in dims.items()})


def test_pad_by_hand():
    padded, lengths = pad([np.array([1.0, 2.0]), np.array([3.0])], value=-1)
    assert padded.tolist() == [[1, 2], [3, -1]]
    assert lengths.tolist() == [2, 1]


def test_pad_keeps_type_and_inner_shape():
    padded, lengths = pad([np.ones((2, 3), np.float32), np.ones((4, 3), np.float32)])
    assert padded.shape == (2, 4, 3)
    assert padded.dtype == np.float32
    assert lengths.tolist() == [2, 4]
    assert not padded[0, 2:].any()


def test_an_empty_example_is_refused():
    with pytest.raises(DataError, match="example 1 of a batch is empty, need at least one step"):
        pad([np.ones(2), np.ones(0)])


def test_collate_utterances():
    batch = collate([words("a", 2, 1), words("b", 3, IGNORE)], "utterance")
    assert set(batch.inputs) == {"text", "text_lengths"}
    assert batch.inputs["text"].tolist() == [[[2, 2], [2, 2], [0, 0]], [[3, 3]] * 3]
    assert batch.inputs["text_lengths"].tolist() == [2, 3]
    assert batch.labels.tolist() == [1, IGNORE]
    assert batch.labels.dtype == torch.int64
    assert batch.ids == (("a",), ("b",))


def test_collate_conversations():
    batch = collate(
        [conversation("a", 2, {"speech": 3, "text": 1}), conversation("b", 3, {"speech": 3, "text": 1})], "conversation"
    )
    assert set(batch.inputs) == {"lengths", "speech", "text"}
    assert batch.inputs["speech"].shape == (2, 3, 3)
    assert batch.inputs["lengths"].tolist() == [2, 3]
    assert batch.labels.tolist() == [[0, 1, IGNORE], [0, 1, 2]]
    assert batch.ids == (("a-0", "a-1"), ("b-0", "b-1", "b-2"))


@pytest.mark.parametrize("name", MODELS)
def test_field_names_are_the_parameter_names_of_forward(name):
    entry = MODELS[name]
    torch.manual_seed(0)
    config = make_config(name, **SMALL[entry.config.__name__])
    model = build(name, config).eval()
    if entry.level == "conversation":
        dims = config.feature_dims
        keep = {m: np.ones(2, bool) for m in dims} | {"text": np.array([True, False])}
        examples = [restrict(conversation("a", 2, dims), keep, entry.level), conversation("b", 3, dims)]
        expected = {"lengths", "present"}
    else:
        arrays = {"speech": np.ones(2000, np.float32), "text": np.ones((5, 3), np.float32)}
        arrays["visual"] = np.ones((2, 48, 48), np.uint8)
        if "spectrogram" in name:
            arrays["speech"] = np.ones((60, 4), np.float32)
        if name == "minilm":
            arrays["text"] = np.ones(5, np.int32)
        inputs = {m: arrays[m] for m in entry.modalities}
        examples = [Example((i,), np.array([0]), inputs) for i in "ab"]
        expected = {f"{m}{suffix}" for m in entry.modalities for suffix in ("", "_lengths")}
    parameters = inspect.signature(model.forward).parameters
    named = {p.name for p in parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD}
    assert expected <= named
    batch = collate(examples, entry.level)
    if entry.level == "conversation":
        assert named == expected | ({"memory"} if entry.recurrent else set())  # which is no part of a batch
        assert "features" in parameters
        assert set(batch.inputs) == {*expected, *config.feature_dims}
        assert set(collate(examples[1:], entry.level).inputs) == {"lengths", *config.feature_dims}
    else:
        assert set(batch.inputs) == expected
    assert model(**batch.inputs).shape == (*batch.labels.shape, 4)


def test_turns_by_hand():
    turns = speaker_turns(["a", "a", "b", None, "b", "c", "a"])
    assert turns[:, 0].tolist() == [1, 1, -1, 0, -1, -1, 1]  # is it the first speaker?
    assert turns[:, 1].tolist() == [0, 1, -1, 0, 0, -1, -1]  # is it the one before?
    assert not speaker_turns([None, None]).any()
    assert speaker_turns([None, "b"])[1].tolist() == [1, 0]


def test_turns_know_no_names_and_no_future():
    speakers = ["a", "b", "b", "a", "c"]
    np.testing.assert_array_equal(speaker_turns(speakers), speaker_turns(["x", "y", "y", "x", "z"]))
    for n in range(1, 5):
        np.testing.assert_array_equal(speaker_turns(speakers[:n]), speaker_turns(speakers)[:n])


def test_turns_are_padded_with_the_dialogue():
    def dialogue(n: int, turns: bool) -> Example:
        who = speaker_turns(["a", "b", "a"][:n]) if turns else None
        return Example(("",) * n, np.zeros(n, int), {"speech": np.zeros((n, 2), np.float32)}, turns=who)

    batch = collate([dialogue(3, True), dialogue(1, True)], "conversation")
    assert batch.inputs["turns"].tolist() == [[[1, 0], [-1, -1], [1, -1]], [[1, 0], [0, 0], [0, 0]]]
    assert "turns" not in collate([dialogue(3, True), dialogue(1, False)], "conversation").inputs


def test_to_moves_all_but_the_lengths():
    batch = collate([words("a", 2)], "utterance").to(torch.device("meta"))
    assert batch.labels.is_meta
    assert {name: value.is_meta for name, value in batch.inputs.items()} == {"text": True, "text_lengths": False}
    assert batch.ids == (("a",),)


@pytest.mark.parametrize("batch_size", [1, 4, 50])
def test_an_epoch_holds_every_example_once(batch_size):
    batches = list(training_batches(clips(), "utterance", batch_size, seed=3))
    ids = [i for batch in batches for (i,) in batch.ids]
    assert sorted(ids) == sorted(f"u{i}" for i in range(37))
    assert len(batches) == -(-37 // batch_size)
    assert all(len(batch.ids) <= batch_size for batch in batches)
    for batch in batches:  # labels and inputs stay with their id
        assert batch.labels.tolist() == [int(i[1:]) % 3 for (i,) in batch.ids]
        assert batch.inputs["speech_lengths"].tolist() == [20 + int(i[1:]) % 7 for (i,) in batch.ids]


def test_the_order_depends_on_the_seed_alone():
    def order(seed: int) -> list:
        return [b.ids for b in training_batches(clips(), "utterance", 4, seed)]

    first = order(3)
    np.random.default_rng().random()
    torch.rand(5)
    assert order(3) == first
    assert order(4) != first


def test_batches_carry_little_padding():
    # 24 examples are within one pool of eight batches of 3: sorted, with neighbours in a batch
    examples = [words(str(i), i + 1) for i in range(24)]
    batches = list(training_batches(examples, "utterance", 3, seed=0))
    for batch in batches:
        lengths = batch.inputs["text_lengths"]
        assert lengths.max() - lengths.min() == 2
    assert [int(b.inputs["text_lengths"][0]) for b in batches] != sorted(
        int(b.inputs["text_lengths"][0]) for b in batches
    )


def test_crop_takes_a_part_in_order():
    example = Example(("a",), np.array([1]), {"speech": np.arange(10.0), "text": np.ones((3, 2))})
    starts = set()
    for seed in range(30):
        part = crop(example, 4, np.random.default_rng(seed))
        start = part.inputs["speech"][0]
        assert part.inputs["speech"].tolist() == [start + i for i in range(4)]
        assert part.inputs["text"] is example.inputs["text"]
        assert part.ids == example.ids
        starts.add(int(start))
    assert {0, 6} <= starts <= set(range(7))
    assert crop(example, 10, np.random.default_rng(0)) is example
    assert crop(example, 11, np.random.default_rng(0)) is example


def test_training_batches_crop_only_long_speech():
    batches = list(training_batches(clips(), "utterance", 5, seed=0, crop_steps=23))
    for batch in batches:
        expected = [min(23, 20 + int(i[1:]) % 7) for (i,) in batch.ids]
        assert batch.inputs["speech_lengths"].tolist() == expected
    again = list(training_batches(clips(), "utterance", 5, seed=0, crop_steps=23))
    assert all(torch.equal(a.inputs["speech"], b.inputs["speech"]) for a, b in zip(batches, again, strict=True))


def test_evaluation_goes_through_every_example_longest_first():
    examples = [words(str(n), n) for n in (2, 5, 1, 4, 3)]
    batches = list(evaluation_batches(examples, "utterance", 2))
    assert [[i for (i,) in b.ids] for b in batches] == [["5", "4"], ["3", "2"], ["1"]]
    assert list(evaluation_batches([], "utterance", 2)) == []


def test_n_steps_is_the_longest_input():
    assert Example(("a",), np.array([0]), {"speech": np.ones(7), "text": np.ones((3, 2))}).n_steps == 7


def test_stable_seed_is_the_same_in_every_process():
    assert stable_seed(0, "order", 1) == 1332101017241992705
    assert stable_seed(0, "order", 1) != stable_seed(0, "order", 2)
    assert stable_seed("1") != stable_seed(1)
    assert all(0 <= stable_seed(i) < 2**63 for i in range(100))


def face(name: str, frames: np.ndarray, votes: list[float] | None = None) -> Example:
    return Example((name,), np.array([0]), {"visual": frames}, None if votes is None else np.array([votes]))


def test_votes_are_there_when_every_utterance_has_them():
    frames = np.zeros((1, 4, 4), np.uint8)
    both = collate([face("a", frames, [0.25, 0.75]), face("b", frames, [1.0, 0.0])], "utterance")
    assert both.votes is not None
    assert both.votes.tolist() == [[0.25, 0.75], [1.0, 0.0]]
    assert both.to(torch.device("meta")).votes is not None
    assert collate([face("a", frames, [0.25, 0.75]), face("b", frames)], "utterance").votes is None


def test_jitter_changes_all_frames_of_a_face_alike():
    picture = np.random.default_rng(0).integers(0, 255, (48, 48), dtype=np.uint8)
    frames = np.stack([picture, picture])
    moved = [jitter_faces(face("a", frames), np.random.default_rng(seed)).inputs["visual"] for seed in (1, 1, 2)]
    assert moved[0].shape == frames.shape
    assert moved[0].dtype == np.uint8
    np.testing.assert_array_equal(moved[0][0], moved[0][1])
    np.testing.assert_array_equal(moved[0], moved[1])
    assert (moved[0] != moved[2]).mean() > 0.5
    assert (moved[0][0] != picture).mean() > 0.5


def test_jitter_is_on_where_it_is_asked_for():
    frames = np.random.default_rng(0).integers(0, 255, (1, 48, 48), dtype=np.uint8)
    (plain,) = training_batches([face("a", frames)], "utterance", 1, 0)
    (varied,) = training_batches([face("a", frames)], "utterance", 1, 0, jitter=True)
    assert plain.inputs["visual"][0].numpy().tolist() == frames.tolist()
    assert varied.inputs["visual"][0].numpy().tolist() != frames.tolist()


def spectrogram(name: str = "a", n_frames: int = 100, n_bins: int = 40) -> Example:
    return Example((name,), np.array([0]), {"speech": np.ones((n_frames, n_bins), np.float32), "text": np.ones((2, 3))})


def test_masks_silence_whole_frames_and_whole_bins_within_bounds():
    shares = []
    for seed in range(200):
        example = spectrogram()
        masked = mask_bands(example, np.random.default_rng(seed))
        silent = masked.inputs["speech"] == 0
        frames, bins = silent.all(axis=1), silent.all(axis=0)
        np.testing.assert_array_equal(silent, frames[:, None] | bins[None])
        shares.append((frames.mean(), bins.mean()))
        assert example.inputs["speech"].all()  # the example itself is heard again in the next epoch
        assert masked.inputs["text"] is example.inputs["text"]
    assert 0 < np.mean([s[0] for s in shares]) < np.max([s[0] for s in shares]) <= 0.2
    assert 0 < np.mean([s[1] for s in shares]) < np.max([s[1] for s in shares]) <= 0.4


def test_masks_leave_something_of_the_shortest_input():
    for seed in range(20):
        assert mask_bands(spectrogram("a", 1, 1), np.random.default_rng(seed)).inputs["speech"].all()


def test_masking_is_on_where_it_is_asked_for():
    def silent(**settings) -> int:
        batches = training_batches([spectrogram(str(i)) for i in range(8)], "utterance", 4, 0, **settings)
        return sum(int((b.inputs["speech"] == 0).sum()) for b in batches)

    assert silent() == 0
    assert silent(mask=True) > 0


def test_what_varies_an_example_comes_before_the_crop_and_draws_from_the_epoch():
    def vary(example: Example, rng: np.random.Generator) -> Example:
        draws.append(rng.random())
        return Example(example.ids, example.labels, {"speech": np.full(50, 7.0, np.float32)})

    seen = []
    for seed in (0, 0, 1):
        draws: list[float] = []
        batches = list(training_batches(clips(), "utterance", 5, seed, crop_steps=23, vary=vary))
        assert len(draws) == 37
        assert all(b.inputs["speech"].shape[1] == 23 and (b.inputs["speech"] == 7).all() for b in batches)
        seen.append(draws)
    assert seen[0] == seen[1] != seen[2]


def words_and_sound(name: str, n_samples: int, n_words: int) -> Example:
    inputs = {"speech": np.ones(n_samples, np.float32), "text": np.ones((n_words, 2), np.float32)}
    present = {m: np.array([len(x) > 0]) for m, x in inputs.items()}
    return Example((name,), np.array([0]), inputs, present=present)


def test_a_missing_modality_has_length_0():
    batch = collate([words_and_sound("a", 5, 2), words_and_sound("b", 0, 3), words_and_sound("c", 4, 0)], "utterance")
    assert batch.inputs["speech_lengths"].tolist() == [5, 0, 4]
    assert batch.inputs["text_lengths"].tolist() == [2, 3, 0]
    assert "present" not in batch.inputs
    nobody = collate([words_and_sound("b", 0, 3)], "utterance").inputs
    assert nobody["speech"].shape == (1, 0)


def partly(n: int, missing: dict[str, list[int]]) -> Example:
    """A conversation whose modalities lack in some utterances."""
    e = conversation("c", n, {"speech": 2, "visual": 3, "text": 4})
    keep = {m: np.array([i not in missing.get(m, []) for i in range(n)]) for m in e.inputs}
    return restrict(e, keep, "conversation")


def test_what_is_there_is_an_input_where_something_is_missing():
    full = conversation("d", 2, {"speech": 2, "visual": 3, "text": 4})
    assert "present" not in collate([full, full], "conversation").inputs
    batch = collate([full, partly(3, {"visual": [0, 1, 2], "text": [1]})], "conversation").inputs
    there, lacks = [True] * 3, [False] * 3
    assert batch["present"].tolist() == [
        [there, there, lacks],
        [[True, False, True], [True, False, False], [True, False, True]],
    ]
    assert batch["visual"][1].abs().sum() == 0
    assert batch["text"][1].sum(-1).tolist() == [4, 0, 4]


def test_what_keeps_everything_stays_as_it_is():
    e = conversation("d", 2, {"speech": 2, "text": 4})
    assert restrict(e, {m: np.ones(2, bool) for m in e.inputs}, "conversation") is e
    assert without([e], (), "conversation") == [e]


def test_a_modality_is_taken_from_every_utterance():
    (e,) = without([partly(2, {"speech": [0]})], {"text"}, "conversation")
    assert e.present is not None
    assert {m: rows.tolist() for m, rows in e.present.items()} == {
        "speech": [False, True],
        "visual": [True, True],
        "text": [False, False],
    }
    assert not e.inputs["text"].any()
    (u,) = without([words_and_sound("a", 5, 2)], {"speech"}, "utterance")
    assert (len(u.inputs["speech"]), len(u.inputs["text"])) == (0, 2)


def test_modality_dropout_takes_whole_modalities_but_never_all_of_an_utterance():
    rng = np.random.default_rng(0)
    e = conversation("c", 3, {"speech": 2, "visual": 3, "text": 4})
    dropped = [drop_modalities(e, 0.5, "conversation", rng) for _ in range(400)]
    kinds = [tuple(there(d, m).all() for m in e.inputs) for d in dropped]
    assert all(there(d, m).all() or not there(d, m).any() for d in dropped for m in e.inputs)
    assert len(set(kinds)) == 7
    assert (False, False, False) not in kinds
    # kept: half of the time, or when all three would have gone, an eighth of the time
    assert np.mean(kinds, axis=0) == pytest.approx([0.625] * 3, abs=0.08)


def test_an_utterance_that_has_one_modality_keeps_it():
    e = partly(2, {"visual": [0, 1], "text": [1]})
    for seed in range(20):
        d = drop_modalities(e, 0.9, "conversation", np.random.default_rng(seed))
        assert there(d, "speech")[1]
        assert there(d, "speech")[0] or there(d, "text")[0]
        assert not there(d, "visual").any()
        u = drop_modalities(words_and_sound("a", 5, 0), 0.9, "utterance", np.random.default_rng(seed))
        assert len(u.inputs["speech"]) == 5


def test_modality_dropout_depends_on_the_seed_alone_and_off_changes_nothing():
    examples = [conversation(f"c{i}", 3, {"speech": 2, "text": 4}) for i in range(12)]

    def epoch(seed: int, p: float) -> list[tuple]:
        batches = training_batches(examples, "conversation", 4, seed, modality_dropout=p)
        return [(b.ids, b.inputs["present"].tolist() if "present" in b.inputs else None) for b in batches]

    assert epoch(1, 0.5) == epoch(1, 0.5)
    assert epoch(1, 0.5) != epoch(2, 0.5)
    assert [ids for ids, _ in epoch(1, 0.5)] == [ids for ids, _ in epoch(1, 0.0)]
    assert all(present is None for _, present in epoch(1, 0.0))
