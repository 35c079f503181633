from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import torch
from safetensors.numpy import load_file, save_file

from emofuse.checkpoint import load_checkpoint, save_checkpoint
from emofuse.corpora.utterance import Corpus, Utterance
from emofuse.errors import ConfigError, DataError
from emofuse.example import IGNORE
from emofuse.extractors import EXTRACTORS
from emofuse.features.acoustic import N_BINS, log_power_spectrogram
from emofuse.features.extractor import Extractor
from emofuse.features.projection import fit_projection
from emofuse.features.wordpieces import WordPieces
from emofuse.labels import label_set
from emofuse.protocol.examples import make_examples, vote_shares
from emofuse.protocol.feature import FeatureConfig, pool_rows, pool_without, speech_array
from emofuse.protocol.fitted import FittedFeature, feature_from_state, feature_state
from emofuse.protocol.fitting import fit_feature
from emofuse.protocol.raw import load_raw, load_vectors, load_wordpieces
from emofuse.protocol.recipe import Recipe
from emofuse.protocol.run import FoldRun, Inputs
from emofuse.protocol.splits import make_folds

CLASSES = label_set("emotions4")
VOCABULARY = ("the", "of", "glad", "rage", "calm", "tears", "well", "known", "so", "very")


def tone(seconds: float = 1.0, amplitude: float = 0.3) -> np.ndarray:
    t = np.arange(round(seconds * 16_000)) / 16_000
    return (amplitude * np.sin(2 * np.pi * 220 * t)).astype(np.float32)


def write_vectors(folder: Path) -> Path:
    """A GloVe text file of 10 words, 3 numbers each."""
    rng = np.random.default_rng(0)
    file = folder / "small.txt"
    file.write_text("".join(f"{w} {' '.join(f'{x:.6f}' for x in rng.normal(size=3))}\n" for w in VOCABULARY))
    return file


class TestSpeech:
    def test_only_the_first_seconds_are_used(self) -> None:
        config = FeatureConfig(kind="waveform", max_s=0.25)
        array = speech_array(tone(), config)
        assert array.dtype == np.float32
        np.testing.assert_array_equal(array, tone()[:4000])
        np.testing.assert_array_equal(speech_array(tone(0.2), config), tone(0.2))

    @pytest.mark.parametrize("amplitude", [0.001, 0.02, 1.0])
    def test_the_gain_does_not_matter_at_rms_level(self, amplitude: float) -> None:
        config = FeatureConfig(kind="waveform", level="rms")
        array = speech_array(tone(amplitude=amplitude), config)
        assert np.sqrt(np.mean(array**2)) == pytest.approx(0.1, rel=1e-5)
        np.testing.assert_allclose(array, speech_array(tone(), config), atol=1e-6)

    def test_the_level_is_that_of_the_part_in_use(self) -> None:
        loud_end = np.concatenate([tone(0.5, 0.01), tone(0.5, 0.9)])
        array = speech_array(loud_end, FeatureConfig(kind="waveform", max_s=0.5, level="rms"))
        assert np.sqrt(np.mean(array**2)) == pytest.approx(0.1, rel=1e-5)

    def test_silence_stays_silence(self) -> None:
        array = speech_array(np.zeros(8000, np.float32), FeatureConfig(kind="waveform", level="rms"))
        assert not array.any()

    def test_a_spectrogram_of_the_part_in_use(self) -> None:
        array = speech_array(tone(), FeatureConfig(kind="spectrogram", max_s=0.5))
        assert array.shape == (1 + (8000 - 400) // 160, N_BINS)
        np.testing.assert_array_equal(array, log_power_spectrogram(tone()[:8000]))


class TestVectors:
    def test_keeps_the_most_frequent_and_the_corpus_words(self, tmp_path: Path) -> None:
        config = FeatureConfig(kind="words", word_vectors=str(write_vectors(tmp_path)), vocabulary_size=2)
        kept = load_vectors(config, ["Well-known rage, unheard-of!", "rage"])
        # hyphenated words are kept in parts; words without a vector are left out
        assert list(kept.index) == ["the", "of", "known", "rage", "well"]
        assert list(kept.index.values()) == list(range(5))
        assert kept.name == "small.txt"

    def test_rounds_to_what_a_checkpoint_stores(self, tmp_path: Path) -> None:
        file = write_vectors(tmp_path)
        kept = load_vectors(FeatureConfig(kind="words", word_vectors=str(file), vocabulary_size=0), ["tears so"])
        written = dict(line.split(" ", 1) for line in file.read_text().splitlines())
        assert kept.vectors.dtype == np.float32
        for word in ("tears", "so"):
            expected = np.array(written[word].split(), np.float32)
            np.testing.assert_array_equal(kept.vectors[kept.index[word]], expected.astype(np.float16))
            assert (kept.vectors[kept.index[word]] != expected).any()


PIECES = ["[PAD]", "[unused0]", "[UNK]", "[CLS]", "[SEP]", "a", "##a", "glad", "sad", "rage", "tears", "so", "the"]


def write_bert(folder: Path) -> Path:
    """A BERT of two layers of width 8, as transformers writes it."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    sizes = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 1536}
    config = transformers.BertConfig(vocab_size=len(PIECES), max_position_embeddings=12, **sizes)
    transformers.BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(PIECES) + "\n")
    return folder


class TestWordPieces:
    def test_the_pieces_of_the_corpus_start_at_the_weights_of_the_encoder(self, tmp_path: Path) -> None:
        encoder = write_bert(tmp_path)
        config = FeatureConfig(kind="wordpieces", encoder=str(encoder), vocabulary_size=8, max_words=5)
        found = load_wordpieces(config, ["Tears, tears!", "rage glad tears", "glad a"])
        assert list(found.index) == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "##a", "tears", "glad"]
        weights = load_file(encoder / "model.safetensors")
        old = weights["embeddings.word_embeddings.weight"]
        np.testing.assert_array_equal(found.start["pieces.weight"], old[[0, 2, 3, 4, 5, 6, 10, 7]])
        assert found.start["positions.weight"].shape == (7, 8)

    @pytest.mark.parametrize(
        ("spoil", "message"),
        [
            (lambda f: (f / "vocab.txt").unlink(), "not a BERT with vocab.txt"),
            (lambda f: (f / "vocab.txt").write_text("glad\n"), r"vocab.txt has no \[PAD\], need a BERT's"),
            (lambda f: save_file({"x": np.ones(1)}, f / "model.safetensors"), "not a BERT"),
        ],
    )
    def test_what_is_no_bert_is_refused(self, tmp_path: Path, spoil, message: str) -> None:
        spoil(write_bert(tmp_path))
        config = FeatureConfig(kind="wordpieces", encoder=str(tmp_path), vocabulary_size=8)
        with pytest.raises(DataError, match=message):
            load_wordpieces(config, ["glad"])

    def test_training_starts_there_and_a_checkpoint_understands_what_training_did(self, tmp_path: Path) -> None:
        recipe = text_recipe(write_bert(tmp_path / "bert"))
        texts = ["glad glad", "tears", "rage rage tears", "so glad", "the rage", "tears tears"]
        labels = ["happy", "sad", "angry"] * 2
        parts = ["train"] * 3 + ["dev", "dev", "test"]
        utterances = tuple(
            Utterance(f"u{i}", "manifest", label=y, split=p, text=t)
            for i, (t, y, p) in enumerate(zip(texts, labels, parts, strict=True))
        )
        corpus = Corpus("manifest", utterances)
        fold = make_folds(corpus, "split", "emotions4", 0)[0]
        run = FoldRun(Inputs(recipe, corpus, utterances), fold, 0)
        vocabulary = run.features("minilm")["text"].vectors
        assert isinstance(vocabulary, WordPieces)
        done = run.train("minilm")
        moved = done.model.pieces.weight.detach().numpy() - vocabulary.start["pieces.weight"]
        assert 0 < np.abs(moved).max() < 1e-3  # one step of 1e-4 from where it started
        result = run.test("minilm", done)
        assert result.y_prob.shape == (1, 4)
        saved = tmp_path / "model"
        save_checkpoint(saved, run.checkpoint("minilm", done, result))
        kept = load_file(saved / "model.safetensors")
        assert kept["model/layers.0.feed1.weight"].dtype == np.int8
        again = load_checkpoint(saved)
        feature = feature_from_state(again.features["text"], again.feature_arrays["text"])
        assert feature.vectors is not None
        ids = feature.vectors.encode("so glad, lol")
        np.testing.assert_array_equal(ids, vocabulary.encode("so glad, lol"))
        inputs = torch.from_numpy(ids)[None], torch.tensor([len(ids)])
        with torch.inference_mode():
            torch.testing.assert_close(again.model(*inputs), done.model(*inputs), rtol=0.05, atol=0.02)


def text_recipe(encoder: Path) -> Recipe:
    feature = {"kind": "wordpieces", "encoder": str(encoder), "vocabulary_size": 12, "max_words": 9}
    return Recipe.model_validate(
        {
            "name": "t",
            "paper": "t",
            "command": "t",
            "expected": "t",
            "corpus": "manifest",
            "protocol": "split",
            "labels": "emotions4",
            "metric": "f1_macro",
            "systems": ["minilm"],
            "weights": "int8",
            "features": {"text": feature},
            "model": {"d_model": 8, "n_heads": 2, "n_layers": 1},
            "training": {"max_epochs": 1, "learning_rate": 1e-4, "precision": "bfloat16"},
        }
    )


def stored(rows: list[list[float]], nan_allowed: tuple[str, ...] = ()) -> Corpus:
    utterances = tuple(Utterance(f"u{i}", "manifest", features={"speech": i}) for i in range(len(rows)))
    return Corpus("manifest", utterances, {"speech": np.array(rows, np.float32)}, nan_allowed=nan_allowed)


class TestRaw:
    @pytest.mark.parametrize(
        ("utterance", "modality", "kind", "message"),
        [
            (Utterance("a7", "x"), "text", "words", "has no text, need a transcript for text = words"),
            (Utterance("a7", "x"), "text", "text-cnn", "has no text, need a transcript for text = text-cnn"),
            (Utterance("a7", "x"), "speech", "waveform", "has no audio, need it for speech = waveform"),
            (Utterance("a7", "x"), "visual", "stored", "has no stored visual feature"),
        ],
    )
    def test_a_missing_modality_names_the_utterance(
        self, tmp_path: Path, utterance: Utterance, modality: str, kind: str, message: str
    ) -> None:
        config = FeatureConfig(kind=kind, word_vectors=str(write_vectors(tmp_path)))
        with pytest.raises(DataError) as caught:
            load_raw([utterance], Corpus("x", (utterance,)), modality, config)
        assert str(caught.value) == f"x: utterance a7 {message}"

    @pytest.mark.parametrize("value", [np.nan, np.inf])
    def test_values_that_are_not_finite_name_the_utterance(self, value: float) -> None:
        corpus = stored([[1, 2], [value, 3]])
        with pytest.raises(DataError) as caught:
            load_raw(corpus.utterances, corpus, "speech", FeatureConfig(kind="stored"))
        assert str(caught.value) == "manifest: speech of utterance u1 holds NaN or infinity, need finite values"

    def test_a_missing_file_is_named(self, tmp_path: Path) -> None:
        u = Utterance("a", "x", audio=tmp_path / "gone.wav")
        with pytest.raises(DataError, match=r"gone\.wav: no such file"):
            load_raw([u], Corpus("x", (u,)), "speech", FeatureConfig(kind="waveform"))

    def test_audio_is_read_from_the_part_of_the_file(self, tmp_path: Path) -> None:
        sf.write(tmp_path / "a.wav", tone(), 16_000, subtype="FLOAT")
        u = Utterance("a", "x", audio=tmp_path / "a.wav", media_start_s=0.25, media_end_s=0.5)
        raw = load_raw([u], Corpus("x", (u,)), "speech", FeatureConfig(kind="waveform"))
        np.testing.assert_allclose(raw.arrays["a"], tone()[4000:8000], atol=1e-6)
        assert raw.vectors is None

    def test_a_padded_sequence_gives_the_mean_of_its_steps(self) -> None:
        u = Utterance("a", "x", features={"speech": 0})
        array = np.array([[[1, 2], [3, 4], [0, 0]], [[0, 0]] * 3], np.float32)
        raw = load_raw([u], Corpus("x", (u,), {"speech": array}), "speech", FeatureConfig(kind="stored"))
        np.testing.assert_array_equal(raw.arrays["a"], [2, 3])
        silent = replace(u, features={"speech": 1})
        raw = load_raw([silent], Corpus("x", (u,), {"speech": array}), "speech", FeatureConfig(kind="stored"))
        np.testing.assert_array_equal(raw.arrays["a"], [0, 0])

    def test_nan_where_allowed_becomes_the_training_mean(self) -> None:
        corpus = stored([[1, np.nan], [3, 4], [5, 8], [np.nan, 100]], nan_allowed=("speech",))
        raw = load_raw(corpus.utterances, corpus, "speech", FeatureConfig(kind="stored")).arrays
        train = {i: raw[i] for i in ("u0", "u1", "u2")}
        fitted = fit_feature(
            FeatureConfig(kind="stored"),
            train,
            {},
            {},
            vectors=None,
            n_classes=4,
            metric="ua",
            seed=0,
            device=torch.device("cpu"),
        )
        # columns 1 3 5 and 4 8: means 3 and 6
        np.testing.assert_allclose(fitted.projection.mean, [3, 6])
        rows = np.stack(fitted.transform([raw["u0"], raw["u3"]]))
        assert np.isfinite(rows).all()
        assert rows[0, 1] == rows[1, 0] == 0


WORDS = {"angry": "rage so rage", "happy": "glad very glad", "neutral": "calm the calm", "sad": "tears of tears"}


def dialogues() -> Corpus:
    """Eight dialogues of four utterances with stored speech and words: four train, two dev, two test."""
    rng = np.random.default_rng(0)
    utterances = []
    for d in range(8):
        split = ("train", "train", "dev", "test")[d % 4]
        for i, label in enumerate(WORDS):
            u = Utterance(f"d{d}-{i}", "manifest", label, dialogue=f"d{d}", index=i, split=split, text=WORDS[label])
            utterances.append(replace(u, features={"speech": len(utterances)}))
    return Corpus("manifest", tuple(utterances), {"speech": rng.normal(size=(32, 4)).astype(np.float32)})


def changed(corpus: Corpus, split: str) -> Corpus:
    """Other features and words in one part."""
    features = corpus.features["speech"].copy()
    utterances = []
    for u in corpus.utterances:
        if u.split == split:
            features[u.features["speech"]] = 50 + 3 * features[u.features["speech"]]
        utterances.append(replace(u, text="known well") if u.split == split else u)
    return Corpus(corpus.name, tuple(utterances), {"speech": features})


def fold_run(corpus: Corpus, folder: Path, max_epochs: int = 3) -> FoldRun:
    text = {"kind": "text-cnn", "word_vectors": str(write_vectors(folder)), "max_epochs": max_epochs}
    recipe = Recipe.model_validate(
        {
            "name": "small",
            "paper": "",
            "command": "",
            "expected": "",
            "corpus": "manifest",
            "protocol": "split",
            "labels": "emotions4",
            "systems": ["clstm-ef"],
            "features": {"speech": {"kind": "stored", "n_components": 2}, "text": text},
        }
    )
    (fold,) = make_folds(corpus, recipe.protocol, recipe.labels, seed=0)
    return FoldRun(Inputs(recipe, corpus, corpus.utterances), fold, seed=0)


def fitted_numbers(run: FoldRun) -> dict[str, np.ndarray]:
    """Every number that was fitted on data."""
    features = run.features("clstm-ef")
    numbers = {f"{m}.{k}": v for m, f in features.items() if f.projection for k, v in f.projection.to_arrays().items()}
    return numbers | {f"cnn.{k}": v for k, v in features["text"].text_cnn.weights.items()}


# dev chooses the text CNN's epoch, so there it must have no choice for its weights to stay
@pytest.mark.parametrize(("split", "max_epochs"), [("test", 3), ("dev", 1)])
def test_nothing_is_fitted_on_rows_outside_train(tmp_path: Path, split: str, max_epochs: int) -> None:
    expected = fitted_numbers(fold_run(dialogues(), tmp_path, max_epochs))
    numbers = fitted_numbers(fold_run(changed(dialogues(), split), tmp_path, max_epochs))
    assert list(numbers) == list(expected)
    for key, value in expected.items():
        np.testing.assert_array_equal(numbers[key], value, err_msg=key)


def test_training_rows_are_what_is_fitted_on(tmp_path: Path) -> None:
    before, after = (fitted_numbers(fold_run(c, tmp_path, 1)) for c in (dialogues(), changed(dialogues(), "train")))
    assert {key for key in before if (before[key] != after[key]).any()} >= {
        "speech.mean",
        "speech.scale",
        "speech.components",
        "text.mean",
        "cnn.hidden.weight",
        "cnn.output.weight",
    }


def test_transformed_training_rows_are_standardised(tmp_path: Path) -> None:
    run = fold_run(dialogues(), tmp_path)
    rows = np.concatenate([e.inputs["text"] for e in run.examples("clstm-ef", run.train_ids)])
    assert rows.shape == (16, 100)
    np.testing.assert_allclose(rows.mean(axis=0), 0, atol=1e-5)
    assert run.features("clstm-ef")["speech"].dim == 2


def turn(name: str, dialogue: str | None, index: int, label: str | None = "sad") -> Utterance:
    return Utterance(name, "manifest", label, dialogue=dialogue, index=index)


TURNS = (
    turn("b2", "b", 2, "happy"),
    turn("a0", "a", 0, "excited"),
    turn("b0", "b", 0, None),
    turn("clip", None, 0, "angry"),
    turn("b1", "b", 1, "surprised"),
    turn("b9", "b", 9, "neutral"),
)
BY_ID = {u.id: u for u in TURNS}
ARRAYS = {"speech": {u.id: np.full(2, i, np.float32) for i, u in enumerate(TURNS)}}


def test_a_conversation_is_in_order_of_index() -> None:
    ids = ["b2", "a0", "b0", "clip", "b1"]  # of another part: b9
    examples = make_examples(ids, BY_ID, ARRAYS, CLASSES, "conversation")
    assert [e.ids for e in examples] == [("b0", "b1", "b2"), ("a0",), ("clip",)]
    np.testing.assert_array_equal(examples[0].inputs["speech"], [[2, 2], [4, 4], [0, 0]])
    # no class: without a label, and with one that the label set leaves out; excited merges into happy
    assert [e.labels.tolist() for e in examples] == [[IGNORE, IGNORE, 1], [1], [0]]


def test_an_utterance_is_an_example_of_its_own() -> None:
    ids = ["b2", "a0", "b0"]
    examples = make_examples(ids, BY_ID, ARRAYS, CLASSES, "utterance")
    assert [e.ids for e in examples] == [(i,) for i in ids]
    assert [e.labels.tolist() for e in examples] == [[1], [1], [IGNORE]]
    np.testing.assert_array_equal(examples[1].inputs["speech"], [1, 1])


def test_shares_of_the_votes_that_fall_on_a_class() -> None:
    # surprised has no class; calm merges into neutral
    assert vote_shares({"angry": 1, "calm": 2, "neutral": 1, "surprised": 6}, CLASSES).tolist() == [0.25, 0, 0.75, 0]
    assert vote_shares({"surprised": 6}, CLASSES).tolist() == [0, 0, 0, 0]
    voted = replace(turn("v", None, 0, "angry"), votes={"angry": 3, "sad": 1})
    (example,) = make_examples(["v"], {"v": voted}, {"speech": {"v": np.zeros(2)}}, CLASSES, "utterance")
    assert example.votes is not None
    assert example.votes.tolist() == [[0.75, 0, 0, 0.25]]


def test_without_votes_the_label_is_the_vote() -> None:
    with_label, without = make_examples(["b2", "b0"], BY_ID, ARRAYS, CLASSES, "utterance")
    assert with_label.votes is not None
    assert with_label.votes.tolist() == [[0, 1, 0, 0]]
    assert without.votes is None


def clips(folder: Path, n: int = 3) -> Corpus:
    """Tones of several lengths."""
    utterances = []
    for i in range(n):
        sf.write(folder / f"{i}.wav", tone(1 + i / 4, 0.1 * (i + 1)), 16_000)
        utterances.append(Utterance(f"u{i}", "manifest", "sad", text="so glad", audio=folder / f"{i}.wav"))
    return Corpus("manifest", tuple(utterances))


LOG_MEL = FeatureConfig(kind="extract", extractor="log-mel")


def test_extracted_features_are_pooled_as_asked() -> None:
    rows = np.array([[1.0, 0.0], [3.0, 4.0]])
    assert pool_rows(rows, LOG_MEL).tolist() == [2, 2, 1, 2]
    assert pool_rows(rows, LOG_MEL.model_copy(update={"pooling": "mean"})).tolist() == [2, 2]
    assert pool_rows(rows, LOG_MEL.model_copy(update={"pooling": "none"})) is rows
    assert pool_rows(rows[0], LOG_MEL) is not None


@pytest.mark.parametrize("pooling", ["mean", "statistics", "none"])
def test_what_is_left_without_a_stretch_is_pooled_as_if_it_were_all(pooling: str) -> None:
    rows = np.random.default_rng(0).normal(100, 0.1, (23, 5)).astype(np.float32)
    rows[:, 2] = 7  # which deviates nowhere
    edges = np.array([0, 5, 6, 6, 23 - 3, 23])
    config = LOG_MEL.model_copy(update={"pooling": pooling})
    found = pool_without(rows, edges, config)
    kept = [np.delete(rows, slice(a, b), axis=0) for a, b in pairwise(edges)]
    expected = [pool_rows(version, config) for version in (rows, *kept)]
    assert len(found) == len(expected) == 6
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.dtype == theirs.dtype
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


def test_extracted_features_are_computed_once_where_there_is_a_store(tmp_path: Path, monkeypatch) -> None:
    corpus = clips(tmp_path)
    direct = load_raw(corpus.utterances, corpus, "speech", LOG_MEL)
    stored = load_raw(corpus.utterances, corpus, "speech", LOG_MEL, tmp_path / "store")
    assert direct.arrays["u0"].shape == (160,)
    for i, array in direct.arrays.items():
        np.testing.assert_array_equal(array, stored.arrays[i])
    for file in tmp_path.glob("*.wav"):  # features are handed on without the recordings
        file.unlink()
    again = load_raw(corpus.utterances, corpus, "speech", LOG_MEL, tmp_path / "store")
    np.testing.assert_array_equal(again.arrays["u2"], direct.arrays["u2"])
    with pytest.raises(DataError, match="3 features cannot be had; of utterance u0: "):
        load_raw(corpus.utterances, corpus, "speech", LOG_MEL)


def test_a_feature_of_another_modality_is_refused(tmp_path: Path) -> None:
    corpus = clips(tmp_path, 1)
    with pytest.raises(ConfigError, match=r"features\.text: log-mel is a feature of speech"):
        load_raw(corpus.utterances, corpus, "text", LOG_MEL)
    with pytest.raises(ValueError, match="unknown; known: waveform"):
        FeatureConfig(kind="extract", extractor="nothing")
    with pytest.raises(ValueError, match="are for kind extract"):
        FeatureConfig(kind="words", extractor="log-mel")


def sizes_of_text(encoder: str | None = None) -> Extractor:
    """Length of a text times what the encoder is called, which is a number."""
    return Extractor("sentence", "text", ("n",), None, "", partial(_size_of_text, int(encoder or 1)), {"by": encoder})


def _size_of_text(factor: int, text: str) -> np.ndarray:
    return np.array([factor * len(text)], np.float32)


def test_a_second_encoder_stands_beside_the_first(tmp_path: Path, monkeypatch) -> None:
    entry = replace(EXTRACTORS["sentence"], make=sizes_of_text)
    monkeypatch.setitem(EXTRACTORS, "sentence", entry)
    utterances = tuple(Utterance(id=t, corpus="manifest", text=t) for t in ("well", "very well"))
    corpus = Corpus("manifest", utterances)
    config = FeatureConfig(kind="extract", extractor="sentence", encoder="3", beside="10")
    for _ in range(2):  # computed, then found in the store
        found = load_raw(utterances, corpus, "text", config, tmp_path / "store").arrays
        assert {i: a.tolist() for i, a in found.items()} == {"well": [12, 40], "very well": [27, 90]}
    common = {"vectors": None, "n_classes": 2, "metric": "ua", "seed": 0, "device": torch.device("cpu")}
    fitted = fit_feature(config, found, {}, {}, **common)
    loaded = feature_from_state(*feature_state(fitted))
    assert loaded.extractor is not None
    assert loaded.extractor("well").tolist() == [12, 40]
    with pytest.raises(ValueError, match="beside is for the extractors minilm and sentence"):
        FeatureConfig(kind="extract", extractor="log-mel", beside="10")


@pytest.mark.parametrize("pooling", ["statistics", "none"])
def test_a_checkpoint_knows_what_it_extracted(tmp_path: Path, pooling: str) -> None:
    config = LOG_MEL.model_copy(update={"pooling": pooling})
    corpus = clips(tmp_path)
    raw = load_raw(corpus.utterances, corpus, "speech", config).arrays
    common = {"vectors": None, "n_classes": 2, "metric": "ua", "seed": 0, "device": torch.device("cpu")}
    fitted = fit_feature(config, raw, {}, {}, **common)
    meta, arrays = feature_state(fitted)
    loaded = feature_from_state(meta, arrays)
    for a, b in zip(loaded.transform(list(raw.values())), fitted.transform(list(raw.values())), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-3)  # a checkpoint holds float32
    assert loaded.dim == fitted.dim == (160 if pooling == "statistics" else 80)
    meta["extractor_settings"]["n_mels"] = 40
    with pytest.raises(ConfigError, match="log-mel: not as it was in training"):
        feature_from_state(meta, arrays)


def partly_missing() -> Corpus:
    """The dialogues without the text of every third utterance, and without the speech of the one before."""
    corpus = dialogues()
    utterances = []
    for k, u in enumerate(corpus.utterances):
        if k % 3 == 2:
            u = replace(u, text=None)
        elif k % 3 == 1:
            u = replace(u, features={})
        utterances.append(u)
    return replace(corpus, utterances=tuple(utterances))


def test_a_fused_system_takes_what_there_is_of_an_utterance(tmp_path: Path) -> None:
    run = fold_run(partly_missing(), tmp_path, 1)
    examples = run.examples("clstm-ef", run.train_ids)
    by_id = run.inputs.by_id
    for e in examples:
        assert e.present is not None
        for modality, has in (("speech", lambda u: bool(u.features)), ("text", lambda u: bool(u.text))):
            assert e.present[modality].tolist() == [has(by_id[i]) for i in e.ids]
            assert [bool(row.any()) for row in e.inputs[modality]] == e.present[modality].tolist()
    done = run.train("clstm-ef")
    assert np.isfinite(run.test("clstm-ef", done).y_prob).all()


def test_projections_are_fitted_on_what_is_there(tmp_path: Path) -> None:
    run = fold_run(partly_missing(), tmp_path, 1)
    rows = [run.inputs.raw("speech", run.recipe.features["speech"]).arrays.get(i) for i in run.train_ids]
    heard = np.stack([row for row in rows if row is not None])
    assert len(heard) < len(rows)
    projection = run.features("clstm-ef")["speech"].projection
    assert projection is not None
    np.testing.assert_allclose(projection.mean, heard.mean(axis=0), atol=1e-6)


def test_a_system_of_one_modality_refuses_what_lacks_it(tmp_path: Path) -> None:
    run = fold_run(partly_missing(), tmp_path, 1)
    with pytest.raises(DataError, match=r"^manifest: utterance d\d-\d has no stored speech feature$"):
        run.examples("clstm-speech", run.train_ids)


def test_an_utterance_with_nothing_is_refused(tmp_path: Path) -> None:
    corpus = dialogues()
    bare = tuple(replace(u, text=None, features={}) if u.id == "d1-2" else u for u in corpus.utterances)
    run = fold_run(replace(corpus, utterances=bare), tmp_path, 1)
    message = "manifest: utterance d1-2 has no stored speech feature and has no text, need a transcript"
    with pytest.raises(DataError, match=message):
        run.examples("clstm-ef", run.train_ids)


def test_a_modality_that_nothing_has_is_refused(tmp_path: Path) -> None:
    corpus = dialogues()
    deaf = replace(corpus, utterances=tuple(replace(u, features={}) for u in corpus.utterances))
    with pytest.raises(DataError, match="utterance d0-0 has no stored speech feature, nor has any other of 32"):
        fold_run(deaf, tmp_path, 1).examples("clstm-ef", ("d0-0",))
    tested = tuple(u if u.split == "test" else replace(u, features={}) for u in corpus.utterances)
    with pytest.raises(DataError, match="manifest: nothing in the training part of test has speech"):
        fold_run(replace(corpus, utterances=tested), tmp_path, 1).examples("clstm-ef", ("d3-0",))


@pytest.mark.parametrize(
    ("config", "shape"),
    [
        ({"kind": "waveform"}, (0,)),
        ({"kind": "words"}, (0, 3)),
        ({"kind": "spectrogram"}, (0, 257)),
        ({"kind": "stored"}, (257,)),
    ],
)
def test_what_stands_for_a_missing_input(tmp_path: Path, config: dict[str, str], shape: tuple[int, ...]) -> None:
    words = FeatureConfig(kind="words", word_vectors=str(write_vectors(tmp_path)))
    ready = FittedFeature(
        FeatureConfig(**config),
        fit_projection(np.random.default_rng(0).normal(size=(9, 257))) if shape[-1] == 257 else None,
        load_vectors(words, ["so"]) if config["kind"] == "words" else None,
    )
    assert ready.absent.shape == shape
    assert not ready.absent.any()
