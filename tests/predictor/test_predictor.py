"""Media in, predictions out: late fusion, what is missing, whole recordings, and models that cannot work on media."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
import torch

import emofuse
from emofuse.checkpoint import Checkpoint, save_checkpoint
from emofuse.errors import ConfigError, DataError
from emofuse.features.lexical import WordVectors
from emofuse.media.audio import read_audio
from emofuse.media.segment import Segment, Word
from emofuse.models import build, make_config
from emofuse.models.text_cnn import TextCNN
from emofuse.predictor import Part, Predictor, Sources, Utterance, default_model, load
from emofuse.predictor.grouping import groups
from emofuse.protocol.calibration import tempered
from emofuse.protocol.feature import FeatureConfig
from emofuse.protocol.fitted import FittedFeature, feature_state
from emofuse.protocol.fitting import hidden_of

CLASSES = ("angry", "happy")


def speech_checkpoint() -> Checkpoint:
    torch.manual_seed(0)
    config = make_config("cma-speech", n_classes=2, d_model=10, n_heads=2, filters=[4, 4, 4])
    meta, arrays = feature_state(FittedFeature(FeatureConfig(kind="waveform", level="rms")))
    return Checkpoint(
        "cma-speech", config, build("cma-speech", config).eval(), CLASSES, {"speech": meta}, {"speech": arrays}
    )


def text_checkpoint(classes: tuple[str, ...] = CLASSES) -> Checkpoint:
    torch.manual_seed(1)
    config = make_config("cma-text", n_classes=len(classes), d_model=10, n_heads=2, word_dim=3)
    vectors = WordVectors({"good": 0, "bad": 1}, np.eye(3, dtype=np.float32)[:2], "two words")
    meta, arrays = feature_state(FittedFeature(FeatureConfig(kind="words"), vectors=vectors))
    return Checkpoint("cma-text", config, build("cma-text", config).eval(), classes, {"text": meta}, {"text": arrays})


@pytest.fixture
def waveform() -> np.ndarray:
    return np.random.default_rng(0).normal(0, 0.1, 16_000).astype(np.float32)


def test_late_fusion_is_a_product_of_discounted_experts(waveform: np.ndarray) -> None:
    parts = [Part(speech_checkpoint().trained(), "s"), Part(text_checkpoint().trained(), "t")]
    fused = Predictor(parts, [1.0, 0.5]).predict_array(waveform, "good")
    utterance = Utterance(Segment(0, 1, None, "good"), waveform)
    (speech,), (text,) = (part.judge([utterance]) for part in parts)
    assert speech is not None
    assert text is not None
    expected = speech.probabilities * (0.5 * text.probabilities + 0.25)
    assert list(fused.probabilities.values()) == pytest.approx(expected / expected.sum(), abs=1e-4)
    assert fused.modalities == ("speech", "text")
    assert fused.missing == ()
    assert fused.by_modality["text"]["angry"] == pytest.approx(text.probabilities[0], abs=1e-4)
    assert fused.confidence == max(fused.probabilities.values())
    # two classes: a part pushes as far as its log-odds are from 0
    factors = (speech.probabilities, 0.5 * text.probabilities + 0.25)
    push = [abs(np.log(p[0] / p[1])) for p in factors]
    assert fused.weights["speech"] == pytest.approx(push[0] / sum(push), abs=1e-3)
    assert sum(w.weight for w in fused.words) == pytest.approx(1, abs=1e-3)
    assert sum(m.weight for m in fused.moments) == pytest.approx(1, abs=1e-2)


def test_each_modality_may_be_missing_but_not_both(waveform: np.ndarray) -> None:
    predictor = Predictor([Part(speech_checkpoint().trained(), "s"), Part(text_checkpoint().trained(), "t")])
    assert predictor.predict_array(waveform).missing == ("text",)
    assert predictor.predict_array(None, "good").missing == ("speech",)
    with pytest.raises(DataError, match="array: the model needs speech or text, found nothing"):
        predictor.predict_array(None)
    assert predictor.predict_array(waveform, "unheard-of words").missing == ("text",)
    with pytest.raises(DataError, match="the text is empty"):
        predictor.predict_array(waveform, " ")


def test_a_gain_does_not_change_the_decision(waveform: np.ndarray) -> None:
    predictor = Predictor([Part(speech_checkpoint().trained(), "s")])
    quiet = predictor.predict_array(0.1 * waveform).probabilities["angry"]
    assert quiet == pytest.approx(predictor.predict_array(waveform).probabilities["angry"], abs=1e-3)


def test_folders_on_disk_give_the_same_predictions(tmp_path: Path, waveform: np.ndarray) -> None:
    save_checkpoint(tmp_path / "m" / "speech", speech_checkpoint())
    save_checkpoint(tmp_path / "m" / "text", text_checkpoint())
    (tmp_path / "m" / "fusion.json").write_text(
        json.dumps({"parts": {"speech": 1.0, "text": {"temperature": 2, "reliability": {"angry": 0.5, "happy": 0.5}}}})
    )
    clip = tmp_path / "clip.wav"
    soundfile.write(clip, waveform, 16_000, subtype="FLOAT")
    cooler = Part(replace(text_checkpoint(), temperature=2 * text_checkpoint().temperature).trained(), "t")
    direct = Predictor([Part(speech_checkpoint().trained(), "s"), cooler], [1.0, 0.5])
    (loaded,) = load(tmp_path / "m").predict(clip, "bad")
    assert loaded.probabilities == direct.predict_array(waveform, "bad").probabilities
    assert loaded.to_dict()["source"] == str(clip)
    assert (loaded.start_s, loaded.end_s, loaded.speaker) == (0.0, 1.0, None)


@pytest.mark.parametrize("engine", ["torch", "onnx"])
def test_a_temperature_by_duration_is_read_and_used_by_both_engines(tmp_path: Path, waveform, engine) -> None:
    shutil.copytree(default_model() / "speech", tmp_path / "speech")
    said = {}
    for name, temperature in (("plain", 1.0), ("cooler", {"0.5": 5.0, "0.7": 3.0})):
        (tmp_path / "fusion.json").write_text(json.dumps({"parts": {"speech": {"temperature": temperature}}}))
        predictor = load(tmp_path, engine=engine)
        said[name] = [
            np.array(list(predictor.predict_array(waveform[:n]).probabilities.values())) for n in (4000, None)
        ]
    for plain, cooler, temperature in zip(said["plain"], said["cooler"], (5.0, 3.0), strict=True):
        np.testing.assert_allclose(cooler, tempered(plain, temperature), atol=2e-3)


def test_a_model_of_both_modalities_takes_what_there_is(waveform: np.ndarray) -> None:
    torch.manual_seed(2)
    config = make_config("cma", n_classes=2, d_model=10, n_heads=2, word_dim=3, filters=[4, 4, 4])
    speech, text = speech_checkpoint(), text_checkpoint()
    both = Checkpoint(
        "cma",
        config,
        build("cma", config).eval(),
        CLASSES,
        speech.features | text.features,
        speech.feature_arrays | text.feature_arrays,
    )
    predictor = Predictor([Part(both.trained(), "b")])
    assert predictor.predict_array(waveform, "good bad").modalities == ("speech", "text")
    heard = predictor.predict_array(waveform)
    assert (heard.modalities, heard.missing, heard.weights) == (("speech",), ("text",), {"speech": 1.0})
    read = predictor.predict_array(None, "good bad")
    assert (read.modalities, read.missing, read.weights) == (("text",), ("speech",), {"text": 1.0})
    unknown = predictor.predict_array(waveform, "unheard-of words")
    assert (unknown.missing, unknown.probabilities) == (("text",), heard.probabilities)
    with pytest.raises(DataError, match=r"the model needs speech or text, found nothing$"):
        predictor.predict_array(None)
    with pytest.raises(DataError, match=r"found text without a word that it knows$"):
        predictor.predict_array(None, "unheard-of words")


def test_a_recording_is_a_timeline(tmp_path: Path, example_clip: Path) -> None:
    voice = read_audio(example_clip)
    gap = np.zeros(2 * 16_000, np.float32)
    talk = np.concatenate([gap, voice, gap, voice, gap])
    predictor = Predictor([Part(speech_checkpoint().trained(), "s"), Part(text_checkpoint().trained(), "t")])
    timeline = predictor.predict(talk)
    assert len(timeline) == 2
    assert timeline.duration_s == pytest.approx(len(talk) / 16_000, abs=1e-3)
    first, second = timeline
    assert 1.5 < first.start_s < first.end_s < second.start_s < second.end_s <= timeline.duration_s
    assert first.moments[0].start_s == first.start_s
    # the same as the utterance alone, and as the file
    part = talk[round(first.start_s * 16_000) : round(first.end_s * 16_000)]
    assert predictor.predict_array(part).probabilities["angry"] == pytest.approx(first.probabilities["angry"], abs=0.01)
    soundfile.write(tmp_path / "talk.wav", talk, 16_000, subtype="FLOAT")
    assert [p.label for p in predictor.predict(tmp_path / "talk.wav")] == [p.label for p in timeline]
    table = timeline.to_pandas()
    assert list(table["start_s"]) == [first.start_s, second.start_s]
    assert table["p_angry"][0] == first.probabilities["angry"]


@pytest.mark.parametrize("n_threads", [1, 2, 3])
def test_groups_and_threads_change_nothing(n_threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    texts = ["good", None, "bad good", None, "xyzzy", "good good bad"]
    lengths = rng.permutation([2000, 9000, 170_000, 30_000, 800, 16_000])
    utterances = [
        Utterance(
            Segment(i, i + n / 16_000, None, text), rng.normal(0, 0.1, n).astype(np.float32) if n > 2000 else None
        )
        for i, (n, text) in enumerate(zip(lengths, texts, strict=True))
    ]
    predictor = load(n_threads=n_threads)
    alone = [predictor.conclude(predictor.observe([u]), [u.segment], "x")[0] for u in utterances]
    assert sum(p is not None for p in alone) >= 4
    judged: list[int] = []
    assert predictor.judge(utterances, "x", judged.append) == alone
    assert judged == [6]
    monkeypatch.setattr("emofuse.predictor.grouping.TOGETHER", 2)
    assert predictor.judge(iter(utterances), "x", judged.append) == alone
    assert judged == [6, 2, 4, 6]


def test_a_group_ends_when_it_is_long_enough() -> None:
    lengths = [100, 30, 30, 1000, 1, 1]
    found = groups(Utterance(Segment(0, n), None) for n in lengths)
    assert [[u.segment.end_s for u in group] for group in found] == [[100, 30], [30, 1000], [1, 1]]


def test_words_of_a_transcript_reach_the_utterances_with_their_times(tmp_path: Path, example_clip: Path) -> None:
    words = [{"word": " good", "start": 0.4, "end": 0.8}, {"word": " bad", "start": 0.9, "end": 1.2}]
    whisper = {"segments": [{"start": 0.4, "end": 1.2, "text": " good bad", "words": words}]}
    (tmp_path / "t.json").write_text(json.dumps(whisper))
    predictor = Predictor([Part(text_checkpoint().trained(), "t")], [1.0])
    (p,) = predictor.predict(example_clip, sources=Sources(transcript=tmp_path / "t.json"))
    assert (p.start_s, p.end_s, p.text) == (0.4, 1.2, "good bad")
    assert [(w.text, w.start_s, w.end_s) for w in p.words] == [("good", 0.4, 0.8), ("bad", 0.9, 1.2)]


def test_times_of_words_are_kept_where_no_model_reads_them(waveform: np.ndarray) -> None:
    words = (Word("oh", 0.1, 0.2), Word("no", 0.3, 0.5))
    predictor = Predictor([Part(speech_checkpoint().trained(), "s")])
    (p,) = predictor.judge([Utterance(Segment(0, 1, None, "oh no", words), waveform)], "x")
    assert p is not None
    assert [(w.text, w.start_s, w.end_s, w.weight) for w in p.words] == [("oh", 0.1, 0.2, 0), ("no", 0.3, 0.5, 0)]


def test_context_runs_through_a_recording(tmp_path: Path, example_clip: Path) -> None:
    torch.manual_seed(3)
    vectors = WordVectors({"good": 0, "bad": 1}, np.eye(3, dtype=np.float32)[:2], "two words")
    cnn = TextCNN(make_config("text-cnn", word_dim=3, n_features=5, filters=4))
    meta, arrays = feature_state(FittedFeature(FeatureConfig(kind="text-cnn"), None, vectors, hidden_of(cnn)))
    config = make_config("clstm-text", n_classes=2, feature_dims={"text": 5}, n_hidden=4, n_dense=4)
    model = build("clstm-text", config).eval()
    part = Part(Checkpoint("clstm-text", config, model, CLASSES, {"text": meta}, {"text": arrays}).trained(), "c")
    (tmp_path / "t.csv").write_text("start_s,end_s,text\n0,1,good\n1,2,bad\n2,2.5,good\n")
    timeline = Predictor([part], [1.0]).predict(example_clip, sources=Sources(segments=tmp_path / "t.csv"))
    with torch.no_grad():
        rows = torch.from_numpy(vectors.vectors[[0, 1, 0]][:, None])
        hidden = cnn.eval().features(rows, torch.tensor([1, 1, 1]))
        expected = model(torch.tensor([3]), text=hidden[None]).softmax(-1)[0, :, 0]
    assert [p.probabilities["angry"] for p in timeline] == pytest.approx(expected.tolist(), abs=1e-3)
    assert list(timeline[0].by_modality) == ["text in context"]


def test_utterances_that_cannot_be_judged_are_left_out_and_said(tmp_path: Path, example_clip: Path) -> None:
    (tmp_path / "t.csv").write_text("start_s,end_s,text\n0,1,good\n1,2,\n")
    predictor = Predictor([Part(text_checkpoint().trained(), "t")], [1.0])
    timeline = predictor.predict(example_clip, sources=Sources(segments=tmp_path / "t.csv"))
    assert len(timeline) == 1
    assert timeline.problems == ("1 of 2 utterances have nothing that the model can use, left out",)


def test_what_nobody_said_is_unsure() -> None:
    tone = (0.1 * np.sin(np.arange(16_000) / 20)).astype(np.float32)
    predictor = Predictor([Part(speech_checkpoint().trained(), "s")], [1.0], threshold=0.0)
    (p,) = predictor.predict(tone)
    assert p.unsure
    assert not predictor.predict_array(tone).unsure
    assert len(predictor.predict(np.zeros(16_000, np.float32))) == 0


def test_silence_is_no_evidence_of_the_voice(tmp_path: Path, waveform: np.ndarray) -> None:
    (tmp_path / "t.csv").write_text("start_s,end_s,text\n0,1,good\n1,2,good\n")
    half_silent = np.concatenate([waveform[:16_000], np.zeros(16_000, np.float32)])
    parts = [Part(speech_checkpoint().trained(), "s"), Part(text_checkpoint().trained(), "t")]
    heard, silent = Predictor(parts).predict(half_silent, sources=Sources(segments=tmp_path / "t.csv"))
    assert heard.modalities == ("speech", "text")
    assert (silent.modalities, silent.missing) == (("text",), ("speech",))
    with pytest.raises(DataError, match="needs speech, found nothing but silence"):
        Predictor(parts[:1]).predict(np.zeros(32_000, np.float32), sources=Sources(whole=True))


@pytest.mark.parametrize("rate", [8_000, 44_100])
def test_waveforms_of_any_rate_and_number_of_channels(rate: int, example_clip: Path) -> None:
    voice = soxr.resample(read_audio(example_clip), 16_000, rate)
    predictor = Predictor([Part(speech_checkpoint().trained(), "s")])
    (p,) = predictor.predict(np.stack([voice, voice], axis=1), sample_rate=rate)
    assert p.end_s == pytest.approx(len(voice) / rate, abs=1.0)
    with pytest.raises(DataError, match="need floats"):
        predictor.predict(np.zeros((2, 2, 2), np.float32))
    with pytest.raises(DataError, match="NaN"):
        predictor.predict(np.full(16_000, np.nan, np.float32))
    with pytest.raises(DataError, match=r"\(2, 16000\), channels first"):
        predictor.predict(np.zeros((2, 16_000), np.float32))
    with pytest.raises(DataError, match="sample_rate is 0"):
        predictor.predict(voice, sample_rate=0)


def test_files_beside_a_recording_may_be_named_by_strings(tmp_path: Path, example_clip: Path) -> None:
    (tmp_path / "t.csv").write_text("start_s,end_s\n0.5,1.5\n")
    (tmp_path / "t.srt").write_text("1\n00:00:00,500 --> 00:00:01,500\ngood\n")
    sources = Sources(segments=str(tmp_path / "t.csv"), transcript=str(tmp_path / "t.srt"))
    (p,) = Predictor([Part(speech_checkpoint().trained(), "s")]).predict(str(example_clip), sources=sources)
    assert (p.start_s, p.end_s, p.text) == (0.5, 1.5, "good")


def test_parts_must_share_their_classes() -> None:
    with pytest.raises(ConfigError, match="different classes"):
        Predictor([Part(speech_checkpoint().trained(), "s"), Part(text_checkpoint(("sad", "calm")).trained(), "t")])


def test_a_reliability_out_of_range_is_one_line() -> None:
    for wrong in (1.5, -0.1, np.array([0.5, 0.5, 0.5])):
        with pytest.raises(ConfigError, match=r"speech: reliability is .*, need 0 to 1, or that for each class"):
            Predictor([Part(speech_checkpoint().trained(), "s")], [wrong])


def test_a_model_on_stored_features_says_why_it_cannot() -> None:
    config = make_config("clstm-text", n_classes=2, feature_dims={"text": 3}, n_hidden=4, n_dense=4)
    meta, arrays = feature_state(FittedFeature(FeatureConfig(kind="stored")))
    stored = Checkpoint("clstm-text", config, build("clstm-text", config), CLASSES, {"text": meta}, {"text": arrays})
    with pytest.raises(ConfigError, match="cannot be made from a media file"):
        Part(stored.trained(), "runs/x")


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        '{"parts": {"speech": "heavy"}}',
        '{"parts": {"speech": {"temperature": 0}}}',
        '{"parts": {"speech": {"temperature": {"soon": 2}}}}',
        '{"parts": {"speech": {"weight": 1}}}',
    ],
)
def test_a_damaged_fusion_file_is_one_line(tmp_path: Path, content: str) -> None:
    (tmp_path / "fusion.json").write_text(content)
    with pytest.raises(DataError, match=r"fusion\.json: need") as error:
        load(tmp_path)
    assert "\n" not in str(error.value)


def test_the_model_that_ships_works(waveform: np.ndarray) -> None:
    predictor = emofuse.load()
    prediction = predictor.predict_array(waveform, "I am so sad, I miss her.")
    assert predictor.classes == ("angry", "happy", "neutral", "sad")
    assert sum(prediction.probabilities.values()) == pytest.approx(1, abs=1e-3)


def test_importing_the_package_does_not_import_torch() -> None:
    script = "import sys, emofuse; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
    with pytest.raises(AttributeError, match="nothing"):
        _ = emofuse.nothing


def test_utterances_that_are_judged_together_are_judged_as_one_by_one(waveform: np.ndarray) -> None:
    predictor = emofuse.load()
    clips = [waveform, waveform[:6000], None, np.zeros(800, np.float32), np.tile(waveform, 12)]
    texts = [None, "I miss her.", "How wonderful!", None, "Good."]
    utterances = [
        Utterance(Segment(0, 1 if clip is None else len(clip) / 16_000, None, text), clip)
        for clip, text in zip(clips, texts, strict=True)
    ]
    together = predictor.conclude(predictor.observe(utterances), [u.segment for u in utterances], "x")
    for prediction, u in zip(together, utterances, strict=True):
        (alone,) = predictor.judge([u], "x")
        assert (prediction is None) == (alone is None)
        if prediction is not None and alone is not None:
            assert prediction.probabilities == pytest.approx(alone.probabilities, abs=2e-4)
            assert prediction.missing == alone.missing
            assert len(prediction.moments) == len(alone.moments)
