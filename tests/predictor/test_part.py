"""One checkpoint on one utterance: windows, words and moments it attends to, context."""

import itertools

import numpy as np
import pytest
import torch

from emofuse.checkpoint import Checkpoint
from emofuse.errors import ConfigError
from emofuse.extractors import make_extractor
from emofuse.features.lexical import WordVectors
from emofuse.features.wordpieces import WordPieces
from emofuse.media.audio import SAMPLE_RATE
from emofuse.media.segment import Segment, Word
from emofuse.models import build, make_config
from emofuse.models.text_cnn import TextCNN
from emofuse.prediction import Moment
from emofuse.predictor.moments import merge_moments, window_starts
from emofuse.predictor.part import Judgement, Part, Utterance
from emofuse.protocol.calibration import tempered
from emofuse.protocol.duration import UNCHANGED, DurationTemperature
from emofuse.protocol.feature import FeatureConfig, speech_array
from emofuse.protocol.fitted import FittedFeature, feature_state
from emofuse.protocol.fitting import hidden_of

CLASSES = ("angry", "happy")
VECTORS = WordVectors({"good": 0, "bad": 1, "do": 2, "n't": 3}, np.eye(4, dtype=np.float32), "four words")
FEATURES = {
    "speech": FittedFeature(FeatureConfig(kind="waveform", level="rms")),
    "text": FittedFeature(FeatureConfig(kind="words"), vectors=VECTORS),
    "visual": FittedFeature(FeatureConfig(kind="face")),
}


def part(
    name: str,
    *modalities: str,
    features: dict[str, FittedFeature] | None = None,
    temperature: DurationTemperature = UNCHANGED,
    **settings,
) -> Part:
    torch.manual_seed(0)
    config = make_config(name, n_classes=2, **settings)
    states = {m: feature_state((features or FEATURES)[m]) for m in modalities}
    metas, arrays = {m: s[0] for m, s in states.items()}, {m: s[1] for m, s in states.items()}
    checkpoint = Checkpoint(name, config, build(name, config).eval(), CLASSES, metas, arrays)
    return Part(checkpoint.trained(), name, temperature)


def speech_part(temperature: DurationTemperature = UNCHANGED) -> Part:
    return part("cma-speech", "speech", d_model=10, n_heads=2, filters=[4, 4, 4], temperature=temperature)


def text_part() -> Part:
    return part("cma-text", "text", d_model=10, n_heads=2, word_dim=4)


def minilm_part() -> Part:
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "so", "good", "bad", "##ness"]
    vocabulary = WordPieces({piece: i for i, piece in enumerate(pieces)})
    feature = FittedFeature(FeatureConfig(kind="wordpieces", encoder="x", max_words=9), vectors=vocabulary)
    sizes = {"n_pieces": 8, "max_pieces": 9, "d_model": 8, "n_layers": 1, "n_heads": 2, "d_feed": 8}
    return part("minilm", "text", features={"text": feature}, **sizes)


def noise(seconds: float) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 0.1, round(seconds * SAMPLE_RATE)).astype(np.float32)


def one(p: Part, u: Utterance) -> Judgement:
    (judgement,) = p.judge([u])
    assert judgement is not None
    return judgement


@pytest.mark.parametrize("n", [1, 10, 11, 18, 19, 25, 26, 100])
def test_windows_cover_everything_overlap_and_end_at_the_end(n):
    starts = window_starts(n, 10, 2)
    covered = {i for s in starts for i in range(s, min(s + 10, n))}
    assert covered == set(range(n))
    assert starts[0] == 0
    assert starts[-1] == max(0, n - 10)
    assert all(b - a <= 8 for a, b in itertools.pairwise(starts))


def test_a_long_utterance_is_the_mean_of_its_windows():
    p, x = speech_part(), noise(25)
    starts = window_starts(len(x), 160_000, 32_000)
    assert len(starts) == 3
    alone = [one(p, Utterance(Segment(0, 10), x[s : s + 160_000])).probabilities for s in starts]
    found = one(p, Utterance(Segment(0, 25), x))
    np.testing.assert_allclose(found.probabilities, np.mean(alone, axis=0), atol=1e-5)


def test_logits_are_divided_by_the_temperature_of_what_was_heard():
    by_duration = DurationTemperature((0.5, 2.5), (4.0, 2.0))
    for seconds, temperature in ((0.3, 4.0), (1.5, 3.0), (4.0, 2.0)):
        u = Utterance(Segment(0, seconds), noise(seconds))
        plain = one(speech_part(), u).probabilities
        found = one(speech_part(by_duration), u).probabilities
        np.testing.assert_allclose(found, tempered(plain, temperature), atol=1e-6)


def test_each_window_of_a_long_utterance_has_its_own_temperature():
    by_duration, x = DurationTemperature((0.0, 20.0), (1.0, 3.0)), noise(25)
    starts = window_starts(len(x), 160_000, 32_000)
    alone = [one(speech_part(), Utterance(Segment(0, 10), x[s : s + 160_000])).probabilities for s in starts]
    found = one(speech_part(by_duration), Utterance(Segment(0, 25), x))
    np.testing.assert_allclose(found.probabilities, np.mean(tempered(np.stack(alone), 2.0), axis=0), atol=1e-5)


def test_quiet_ends_that_an_extractor_leaves_out_are_not_heard():
    extractor = make_extractor("whisper-lower")
    config = FeatureConfig(kind="extract", extractor="whisper-lower")
    features = {"speech": FittedFeature(config, extractor=extractor)}
    u = Utterance(Segment(0, 4), np.pad(noise(0.8), (16_000, 35_200)))
    plain = one(part("speech-mlp", "speech", features=features, n_features=768), u).probabilities
    by_duration = DurationTemperature((0.8, 1.8), (4.0, 1.0))
    found = one(part("speech-mlp", "speech", features=features, n_features=768, temperature=by_duration), u)
    np.testing.assert_allclose(found.probabilities, tempered(plain, 4.0), atol=1e-6)


def test_words_without_speech_are_judged_at_the_temperature_of_plenty():
    sizes = {"d_model": 10, "n_heads": 2, "word_dim": 4, "filters": [4, 4, 4]}
    plain, cooler = (
        part("cma", "speech", "text", temperature=t, **sizes) for t in (UNCHANGED, DurationTemperature((0, 2), (9, 2)))
    )
    u = Utterance(Segment(0, 1, None, "good bad"))
    np.testing.assert_allclose(one(cooler, u).probabilities, tempered(one(plain, u).probabilities, 2.0), atol=1e-6)


@pytest.mark.parametrize(
    ("name", "sizes"), [("cma-text", {"d_model": 10, "n_heads": 2, "word_dim": 4}), ("clstm-text", {})]
)
def test_a_temperature_by_duration_of_what_hears_no_utterance_is_refused(name: str, sizes: dict):
    with pytest.raises(ConfigError, match="for a part that hears single utterances: give one number"):
        part(name, "text", temperature=DurationTemperature((0.5, 2.0), (3.0, 2.0)), **sizes)


def test_moments_cover_the_utterance_where_it_is():
    found = one(speech_part(), Utterance(Segment(100, 125), noise(25)))
    assert found.moments[0].start_s == 100
    assert found.moments[-1].end_s == 125
    assert sum(m.weight for m in found.moments) == pytest.approx(1, abs=0.01)
    assert len(found.moments) == 100
    assert all(a.end_s == b.start_s for a, b in zip(found.moments, found.moments[1:], strict=False))


def test_moments_of_overlapping_windows_by_hand():
    # two windows of 2 s that share 1 s, the first attends to its first half, the second evenly
    first = (Moment(0, 1, 1.0), Moment(1, 2, 0.0))
    second = (Moment(1, 2, 0.5), Moment(2, 3, 0.5))
    merged = merge_moments([*first, *second], Segment(0, 3))
    per_second = [sum(m.weight for m in merged if s <= m.start_s < s + 1) for s in range(3)]
    # densities 1, (0 + 0.5) / 2 and 0.5
    assert per_second == pytest.approx([1 / 1.75, 0.25 / 1.75, 0.5 / 1.75], abs=1e-3)


def test_words_carry_the_attention_of_their_tokens():
    found = one(text_part(), Utterance(Segment(0, 1, None, "Good don't xyzzy bad")))
    assert found.words is not None
    assert found.words.shape == (4,)
    assert found.words.sum() == pytest.approx(1)
    assert found.words[2] == 0  # the unknown word is not seen
    assert found.words[1] > 0


def test_a_text_longer_than_the_model_reads_is_read_in_windows():
    p = text_part()
    long = one(p, Utterance(Segment(0, 60, None, "good " * 50 + "bad " * 50)))
    good, bad = (one(p, Utterance(Segment(0, 30, None, w * 50))).probabilities for w in ("good ", "bad "))
    np.testing.assert_allclose(long.probabilities, (good + bad) / 2, atol=1e-6)
    assert long.words is not None
    assert long.words[50:].sum() == pytest.approx(0.5)


def test_a_fused_model_reads_the_words_of_each_window():
    p = part("cma", "speech", "text", d_model=10, n_heads=2, word_dim=4, filters=[4, 4, 4])
    x = noise(18)
    words = (Word("good", 1, 2), Word("bad", 16, 17))
    timed = one(p, Utterance(Segment(0, 18, None, "good bad", words), x))
    first = one(p, Utterance(Segment(0, 10, None, "good"), x[:160_000])).probabilities
    second = one(p, Utterance(Segment(8, 18, None, "bad"), x[-160_000:])).probabilities
    np.testing.assert_allclose(timed.probabilities, (first + second) / 2, atol=1e-5)
    assert timed.weights == {"speech": 0.5, "text": 0.5}


def fused_part() -> Part:
    return part("cma", "speech", "text", d_model=10, n_heads=2, word_dim=4, filters=[4, 4, 4])


def test_a_fused_model_judges_on_what_there_is():
    p, x = fused_part(), noise(2)
    both = one(p, Utterance(Segment(0, 2, None, "good bad"), x))
    heard, read = one(p, Utterance(Segment(0, 2), x)), one(p, Utterance(Segment(0, 2, None, "good bad")))
    assert [j.modalities for j in (both, heard, read)] == [("speech", "text"), ("speech",), ("text",)]
    assert [j.weights for j in (heard, read)] == [{"speech": 1}, {"text": 1}]
    with torch.inference_mode():
        speech = torch.from_numpy(FEATURES["speech"].transform([speech_array(x, FEATURES["speech"].config)])[0][None])
        expected = p.network.model(speech=speech, speech_lengths=torch.tensor([len(x)])).softmax(-1)[0].numpy()
    np.testing.assert_allclose(heard.probabilities, expected, atol=1e-6)
    # nobody asks for what stands alone
    assert heard.moments == ()
    assert heard.words is None
    assert read.words is not None
    np.testing.assert_allclose(read.words, [0.5, 0.5])
    assert both.moments
    # too short to be heard, and words that it does not know
    assert one(p, Utterance(Segment(0, 2, None, "good bad"), noise(0.05))).modalities == ("text",)
    assert one(p, Utterance(Segment(0, 2, None, "xyzzy"), x)).modalities == ("speech",)
    assert p.judge([Utterance(Segment(0, 2, None, "xyzzy"))]) == [None]


def test_a_window_without_words_is_judged_by_its_sound():
    p, x = fused_part(), noise(18)
    words = (Word("good", 1, 2),)
    found = one(p, Utterance(Segment(0, 18, None, "good", words), x))
    first = one(p, Utterance(Segment(0, 10, None, "good"), x[:160_000])).probabilities
    second = one(p, Utterance(Segment(8, 18), x[-160_000:])).probabilities
    np.testing.assert_allclose(found.probabilities, (first + second) / 2, atol=1e-5)
    assert found.modalities == ("speech", "text")
    assert found.words is not None
    assert found.words.tolist() == [1]


def in_context(name: str) -> Part:
    """A contextual system over two features of 4 numbers."""
    features = {m: FittedFeature(FeatureConfig(kind="words"), vectors=VECTORS) for m in ("speech", "text")}
    return part(name, "speech", "text", features=features, feature_dims={"speech": 4, "text": 4}, d_model=4)


@pytest.mark.parametrize("name", ["clstm-ef", "clstm-lf", "clstm-mma", "mman"])
def test_in_context_too_each_utterance_says_what_it_rests_on(name, monkeypatch):
    p = in_context(name)
    monkeypatch.setattr(FittedFeature, "absent", np.zeros(4, np.float32))
    row = np.eye(4, dtype=np.float32)
    judged = p.conclude([{"speech": row[0], "text": row[1]}, {"text": row[2]}, None, {"speech": row[3]}])
    assert [j and j.modalities for j in judged] == [("speech", "text"), ("text",), None, ("speech",)]
    for j in judged:
        if j is not None:
            assert set(j.weights) == set(j.modalities)
            assert sum(j.weights.values()) == pytest.approx(1)
    speech, text = torch.zeros(1, 3, 4), torch.zeros(1, 3, 4)
    speech[0, 0], speech[0, 2], text[0, 0], text[0, 1] = (torch.from_numpy(row[i]) for i in (0, 3, 1, 2))
    present = torch.tensor([[[True, True], [False, True], [True, False]]])
    logits = p.network.model(torch.tensor([3]), present, speech=speech, text=text)[0].softmax(-1)
    for found, expected in zip([j for j in judged if j is not None], logits, strict=True):
        np.testing.assert_allclose(found.probabilities, expected.detach().numpy(), atol=1e-5)


def test_what_is_missing_gives_none():
    assert speech_part().judge([Utterance(Segment(0, 1, None, "good"))]) == [None]
    assert speech_part().judge([Utterance(Segment(0, 1), noise(0.05))]) == [None]
    assert text_part().judge([Utterance(Segment(0, 1), noise(1))]) == [None]
    assert text_part().judge([Utterance(Segment(0, 1, None, "xyzzy"))]) == [None]
    assert part("face-cnn", "visual").judge([Utterance(Segment(0, 1, None, "good bad"), noise(1))]) == [None]


def test_faces_are_pooled_over_time_whatever_is_said():
    p = part("face-cnn", "visual")
    faces = np.random.default_rng(0).integers(0, 255, (3, 48, 48), dtype=np.uint8)
    found = one(p, Utterance(Segment(0, 1, None, "good bad good"), None, faces)).probabilities
    with torch.inference_mode():
        logits = [p.network.model(torch.from_numpy(f[None, None]), torch.tensor([1])) for f in faces]
    expected = torch.cat(logits).mean(0).softmax(0).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5)


GOOD = [Utterance(Segment(i, i + 1, None, "good")) for i in range(2)]


def context_part(**settings) -> Part:
    torch.manual_seed(3)
    cnn = hidden_of(TextCNN(make_config("text-cnn", word_dim=4, n_features=5, filters=4)))
    feature = FittedFeature(FeatureConfig(kind="text-cnn"), None, VECTORS, cnn)
    return part(
        "clstm-text", "text", features={"text": feature}, feature_dims={"text": 5}, n_hidden=4, n_dense=4, **settings
    )


def test_context_is_the_past_alone():
    p = context_part()

    def judged(*texts: str) -> list[np.ndarray]:
        found = p.judge([Utterance(Segment(i, i + 1, None, t)) for i, t in enumerate(texts)])
        return [j.probabilities for j in found if j is not None]

    before, after = judged("good", "bad", "good"), judged("good", "bad", "bad")
    np.testing.assert_array_equal(before[:2], after[:2])
    assert not np.allclose(judged("good", "good")[1], judged("bad", "good")[1])


def test_who_speaks_matters_where_the_model_asks_and_may_be_unknown():
    def judged(p: Part, *speakers: str | None) -> np.ndarray:
        found = p.judge([Utterance(Segment(i, i + 1, s, "good")) for i, s in enumerate(speakers)])
        return np.array([j.probabilities for j in found if j is not None])

    asks = context_part(turns=True)
    assert not np.allclose(judged(asks, "a", "b"), judged(asks, "a", "a"))
    np.testing.assert_array_equal(judged(asks, "a", "b"), judged(asks, "x", "y"))
    unknown = judged(asks, None, None)
    np.testing.assert_array_equal(unknown, [j.probabilities for j in asks.conclude(asks.observe(GOOD)) if j])
    assert np.isfinite(unknown).all()
    deaf = context_part()
    np.testing.assert_array_equal(judged(deaf, "a", "b"), judged(deaf, "a", "a"))


def test_a_relative_feature_is_made_from_the_speakers_past():
    torch.manual_seed(3)
    cnn = hidden_of(TextCNN(make_config("text-cnn", word_dim=4, n_features=5, filters=4)))
    feature = FittedFeature(FeatureConfig(kind="text-cnn", relative=True), None, VECTORS, cnn)
    sizes = {"feature_dims": {"text": 10}, "n_hidden": 4, "n_dense": 4, "context": "none"}
    p = part("clstm-text", "text", features={"text": feature}, **sizes)

    def second(*speakers: str | None) -> np.ndarray:
        utterances = [Utterance(Segment(i, i + 1, s, "good bad"[5 * i :])) for i, s in enumerate(speakers)]
        judgement = p.judge(utterances)[1]
        assert judgement is not None
        return judgement.probabilities

    # every utterance is judged alone: only the deviation knows of the one before
    assert not np.allclose(second("a", "a"), second("b", "a"))
    np.testing.assert_array_equal(second("b", "a"), second(None, None))


def test_both_directions_also_see_what_follows():
    for context, same in (("past", True), ("both", False)):
        p = context_part(context=context)
        found = [
            p.judge([Utterance(Segment(i, i + 1, None, t)) for i, t in enumerate(texts)])[0]
            for texts in (("good", "bad"), ("good", "good"))
        ]
        assert found[0] is not None
        assert found[1] is not None
        assert np.array_equal(found[0].probabilities, found[1].probabilities) == same


def test_utterances_without_words_are_no_context():
    p = context_part()
    texts = ["good", None, "bad"]
    with_gap = p.judge([Utterance(Segment(i, i + 1, None, t)) for i, t in enumerate(texts)])
    assert with_gap[1] is None
    without = p.judge([Utterance(Segment(i, i + 1, None, t)) for i, t in enumerate(["good", "bad"])])
    assert with_gap[2] is not None
    assert without[1] is not None
    np.testing.assert_allclose(with_gap[2].probabilities, without[1].probabilities)


def test_attention_across_modalities_gives_their_weights():
    features = {m: FittedFeature(FeatureConfig(kind="words"), vectors=VECTORS) for m in ("speech", "text")}
    p = part("clstm-mma", "speech", "text", features=features, feature_dims={"speech": 4, "text": 4}, d_model=4)
    x = {m: np.eye(4, dtype=np.float32)[:2] for m in ("speech", "text")}
    judged = p.conclude([{m: rows[i] for m, rows in x.items()} for i in range(2)])
    for j in judged:
        assert j is not None
        assert sum(j.weights.values()) == pytest.approx(1)
    inputs = {m: torch.from_numpy(rows[None]) for m, rows in x.items()}
    expected = p.network.model.modality_weights(**inputs)["text"][0, 1]  # type: ignore[operator]
    assert judged[1] is not None
    assert judged[1].weights["text"] == pytest.approx(expected.item())


def test_words_weigh_what_leaving_them_out_takes_from_the_decision():
    p = minilm_part()
    u = Utterance(Segment(0.0, 1.0, text="So goodness, bad bad"))
    judgement = one(p, u)
    assert judgement.words is not None
    assert judgement.words.shape == (4,)
    assert judgement.words.sum() == pytest.approx(1)
    decided = int(judgement.probabilities.argmax())
    without = [one(p, Utterance(Segment(0.0, 1.0, text=t))) for t in ("goodness, bad bad", "So bad bad")]
    losses = [max(0.0, np.log(judgement.probabilities[decided] / j.probabilities[decided])) for j in without]
    assert max(losses) > 0
    assert judgement.words[0] * losses[1] == pytest.approx(judgement.words[1] * losses[0], abs=1e-6)


def test_no_piece_of_a_long_text_is_cut_off():
    p = minilm_part()
    judgement = one(p, Utterance(Segment(0.0, 1.0, text="good goodness " * 5)))  # three pieces a pair, nine at once
    three, two = (one(p, Utterance(Segment(0.0, 1.0, text="good goodness " * n))).probabilities for n in (3, 2))
    np.testing.assert_allclose(judgement.probabilities, (three + two) / 2, rtol=1e-6)
    assert judgement.words is not None
    assert judgement.words.shape == (10,)


def test_a_text_in_another_language_is_no_evidence_to_a_trained_vocabulary():
    assert minilm_part().judge([Utterance(Segment(0.0, 1.0, text="das ist so gut"))]) == [None]
