from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import torch

from emofuse.corpora.utterance import Corpus, Utterance
from emofuse.example import Example
from emofuse.extractors import make_extractor
from emofuse.features.acoustic import log_mel_spectrogram
from emofuse.features.projection import Projection
from emofuse.protocol import augmentation as augmentation_module
from emofuse.protocol.augmentation import Augmenter, waveform_config
from emofuse.protocol.feature import FeatureConfig, speech_array
from emofuse.protocol.fitted import FittedFeature
from emofuse.protocol.recipe import Recipe
from emofuse.protocol.run import FoldRun, Inputs
from emofuse.protocol.splits import make_folds

RATE = 16_000
WAVEFORM = FeatureConfig(kind="waveform", level="rms")
LABELS = ("angry", "happy", "neutral", "sad")
SMALL = {"filters": (4, 4, 4), "d_model": 4, "n_heads": 2, "n_blocks": 1}


def clip(seed: int = 0, seconds: float = 1.0) -> np.ndarray:
    return 0.1 * np.random.default_rng(seed).standard_normal(round(seconds * RATE), dtype=np.float32)


def example(name: str, array: np.ndarray) -> Example:
    return Example((name,), np.array([0]), {"speech": array})


def heard(augmenter: Augmenter, n: int = 40) -> list[np.ndarray]:
    given = example("a", augmenter.waveforms["a"])
    return [augmenter(given, np.random.default_rng(seed)).inputs["speech"] for seed in range(n)]


class TestAugmenter:
    def test_a_share_of_zero_gives_the_example_itself(self) -> None:
        given = example("a", clip())
        augmenter = Augmenter({"a": clip()}, FittedFeature(WAVEFORM), share=0.0)
        assert all(augmenter(given, np.random.default_rng(s)) is given for s in range(20))

    def test_the_share_is_kept_on_average(self) -> None:
        given = example("a", clip(seconds=0.2))
        augmenter = Augmenter({"a": clip(seconds=0.2)}, FittedFeature(WAVEFORM), share=0.3)
        rng = np.random.default_rng(0)
        assert 0.2 < np.mean([augmenter(given, rng) is not given for _ in range(300)]) < 0.4

    def test_the_level_is_the_one_from_before_the_effects(self) -> None:
        x = speech_array(clip(), WAVEFORM)
        changed = heard(Augmenter({"a": x}, FittedFeature(WAVEFORM), 1.0))
        assert any(len(y) != len(x) or np.abs(y - x).max() > 0.01 for y in changed)
        for y in changed:
            assert np.sqrt(np.mean(y.astype(np.float64) ** 2)) == pytest.approx(0.1, rel=1e-3)

    def test_without_a_fixed_level_the_gain_is_kept(self) -> None:
        config = FeatureConfig(kind="waveform")
        levels = [np.sqrt(np.mean(y**2)) for y in heard(Augmenter({"a": clip()}, FittedFeature(config), 1.0))]
        assert max(levels) / min(levels) > 4

    def test_a_stretch_holds_what_is_cropped_at_any_speed(self) -> None:
        long = heard(Augmenter({"a": clip(seconds=3)}, FittedFeature(WAVEFORM), 1.0, crop_s=1.0))
        assert all(RATE <= len(y) <= 1.1 / 0.9 * RATE + 1 for y in long)
        short = heard(Augmenter({"a": clip(seconds=0.5)}, FittedFeature(WAVEFORM), 1.0, crop_s=1.0))
        assert all(abs(len(y) / RATE - 0.5) < 0.06 for y in short)

    def test_the_feature_is_computed_after_the_effects_and_projected(self, monkeypatch) -> None:
        monkeypatch.setattr(augmentation_module, "augment", lambda x, rng, others: x[::-1].copy())
        config = FeatureConfig(kind="spectrogram", n_mels=20)
        projection = Projection(np.full(20, -5.0), np.full(20, 2.0))
        augmenter = Augmenter({"a": clip()}, FittedFeature(config, projection), 1.0)
        (found,) = heard(augmenter, 1)
        np.testing.assert_allclose(found, (log_mel_spectrogram(clip()[::-1], 20) + 5) / 2, rtol=1e-5)

    def test_an_extracted_feature_is_computed_anew(self) -> None:
        config = FeatureConfig(kind="extract", extractor="log-mel", pooling="none")
        feature = FittedFeature(config, extractor=make_extractor("log-mel"))
        assert all(y.shape[1] == 80 and np.isfinite(y).all() for y in heard(Augmenter({"a": clip()}, feature, 1.0), 5))

    def test_babble_is_made_of_training_clips(self, monkeypatch) -> None:
        seen: list[Sequence[np.ndarray]] = []
        monkeypatch.setattr(augmentation_module, "augment", lambda x, rng, others: (seen.append(others), x)[1])
        waveforms = {"a": clip(0), "b": clip(1)}
        heard(Augmenter(waveforms, FittedFeature(WAVEFORM), 1.0), 1)
        assert [id(x) for x in seen[0]] == [id(x) for x in waveforms.values()]

    def test_a_share_is_shortened_with_effects_or_without(self, monkeypatch) -> None:
        monkeypatch.setattr(augmentation_module, "augment", lambda x, rng, others: -x)
        x = clip(seconds=3)
        found = heard(Augmenter({"a": x}, FittedFeature(FeatureConfig(kind="waveform")), 0.5, shorten=0.5), 200)
        short = [y for y in found if len(y) < len(x)]
        assert 70 < len(short) < 130
        assert all(0.4 * RATE - 1 <= len(y) <= 2 * RATE + 1 for y in short)
        # The clip's samples are all different: where a stretch lies, and whether effects changed its sign, can be told.
        starts = [int(np.flatnonzero(np.abs(x) == abs(y[0]))[0]) for y in short]
        assert len(set(starts)) > 50
        changed = [y[0] != x[start] for y, start in zip(short, starts, strict=True)]
        assert 0.3 < np.mean(changed) < 0.7
        for y, start, sign in zip(short, starts, changed, strict=True):
            np.testing.assert_array_equal(-y if sign else y, x[start : start + len(y)])

    def test_a_stretch_lies_in_what_the_feature_takes_for_the_clip(self, monkeypatch) -> None:
        x = np.concatenate([np.zeros(2 * RATE, np.float32), clip(seconds=0.5), np.zeros(2 * RATE, np.float32)])
        seen: list[np.ndarray] = []
        extractor = make_extractor("whisper-lower")
        monkeypatch.setattr(
            Augmenter, "_raw", lambda self, waveform: (seen.append(waveform), np.zeros(768, np.float32))[1]
        )
        feature = FittedFeature(FeatureConfig(kind="extract", extractor="whisper-lower"), extractor=extractor)
        heard(Augmenter({"a": x}, feature, 0.0, shorten=1.0), 20)
        assert len(seen) == 20
        assert all(0.4 * RATE - 1 <= len(y) <= 0.52 * RATE and np.any(y) for y in seen)


def test_the_recording_is_read_once_where_it_is_the_input() -> None:
    assert waveform_config(WAVEFORM) == WAVEFORM
    assert waveform_config(replace_kind(WAVEFORM)) == WAVEFORM


def replace_kind(config: FeatureConfig) -> FeatureConfig:
    return config.model_copy(update={"kind": "spectrogram", "n_mels": 64})


def spoken_corpus(folder: Path) -> Corpus:
    utterances = []
    for i in range(24):
        path = folder / f"{i}.wav"
        sf.write(path, clip(i, 0.5), RATE)
        split = ("train", "train", "dev", "test")[i % 4]
        utterances.append(Utterance(f"u{i}", "manifest", LABELS[i // 6], audio=path, speaker=split, split=split))
    return Corpus("manifest", tuple(utterances))


def recipe(features: dict, training: dict, system: str = "cma-speech-spectrogram") -> Recipe:
    return Recipe.model_validate(
        {
            "name": "small",
            "paper": "",
            "command": "",
            "expected": "",
            "corpus": "manifest",
            "protocol": "split",
            "labels": "emotions4",
            "systems": [system],
            "features": features,
            "model": SMALL if system.startswith("cma") else {},
            "training": {"max_epochs": 2, "batch_size": 4, **training},
        }
    )


MEL = {"speech": {"kind": "waveform", "level": "rms", "n_mels": 20}}


def fold_run(tmp_path: Path, **training: object) -> FoldRun:
    corpus = spoken_corpus(tmp_path)
    (fold,) = make_folds(corpus, "split", "emotions4", 0)
    return FoldRun(Inputs(recipe(MEL, training), corpus, corpus.utterances), fold, 0)


class TestRun:
    NAME = "cma-speech-spectrogram"

    def test_dev_and_test_are_heard_as_they_are(self, tmp_path: Path, monkeypatch) -> None:
        seen = set()
        original = Augmenter.__call__

        def spy(self: Augmenter, e: Example, rng: np.random.Generator) -> Example:
            seen.update(e.ids)
            assert set(self.waveforms) == set(run.train_ids)
            return original(self, e, rng)

        monkeypatch.setattr(Augmenter, "__call__", spy)
        run = fold_run(tmp_path, augment=1.0, crop_s=0.3)
        result = run.test(self.NAME, run.train(self.NAME))
        assert seen == set(run.train_ids)
        assert set(result.ids) == set(run.fold.test)

    def test_a_run_is_repeated_exactly_and_differs_from_one_without(self, tmp_path: Path) -> None:
        losses = []
        for augment in (0.5, 0.5, 0.0):
            run = fold_run(tmp_path, augment=augment)
            losses.append([e["loss"] for e in run.train(self.NAME).result.history])
        assert losses[0] == losses[1] != losses[2]

    def test_clips_can_be_shortened_without_effects(self, tmp_path: Path) -> None:
        run = fold_run(tmp_path, shorten=1.0)
        augmenter = run.augmenter(self.NAME, run.train_ids)
        assert augmenter is not None
        assert (augmenter.share, augmenter.shorten) == (0.0, 1.0)

    def test_refit_hears_dev_too(self, tmp_path: Path) -> None:
        run = fold_run(tmp_path, augment=1.0, refit=True)
        run.train(self.NAME)
        augmenter = run.augmenter(self.NAME, run.train_ids + run.select_ids)
        assert augmenter is not None
        assert set(augmenter.waveforms) == {*run.fold.train, *run.fold.dev}

    def test_mel_bands_set_the_size_of_the_network(self, tmp_path: Path) -> None:
        run = fold_run(tmp_path, mask_bands=True)
        done = run.train(self.NAME)
        assert done.model.config.n_bins == 20
        assert run.examples(self.NAME, run.train_ids)[0].inputs["speech"].shape == (48, 20)

    def test_rows_of_an_extracted_feature_are_cropped(self, tmp_path: Path, monkeypatch) -> None:
        features = {"speech": {"kind": "extract", "extractor": "log-mel", "pooling": "none"}}
        corpus = spoken_corpus(tmp_path)
        (fold,) = make_folds(corpus, "split", "emotions4", 0)
        run = FoldRun(Inputs(recipe(features, {"crop_s": 0.2}), corpus, corpus.utterances), fold, 0)
        assert run.features(self.NAME)["speech"].steps_per_s == 100
        lengths = set()
        forward = torch.nn.Module.__call__

        def spy(module: torch.nn.Module, *args: object, **inputs: torch.Tensor) -> object:
            if module.training and "speech_lengths" in inputs:
                lengths.update(inputs["speech_lengths"].tolist())
            return forward(module, *args, **inputs)

        monkeypatch.setattr(torch.nn.Module, "__call__", spy)
        run.train(self.NAME)
        assert lengths == {20}


def test_settings_that_would_do_nothing_are_refused() -> None:
    words = {"text": {"kind": "words"}}
    for features, training, system, message in (
        (words, {"augment": 0.5}, "cma-text", "cma-text hears no recording"),
        ({"speech": {"kind": "stored"}}, {"augment": 0.5}, "clstm-speech", "clstm-speech hears no recording"),
        (MEL, {"mask_bands": True}, "cma-speech", "cma-speech sees no spectrogram"),
        (MEL, {"augment": 1.5}, "cma-speech", "need 0 to 1"),
        (MEL, {"shorten": -0.5}, "cma-speech", "training.shorten is -0.5"),
        (words, {"shorten": 0.5}, "cma-text", "training.shorten: cma-text hears no recording"),
        ({"speech": {"kind": "spectrogram", "n_mels": 500}}, {}, "cma-speech-spectrogram", "500 mel bands"),
    ):
        with pytest.raises(ValueError, match=message):
            recipe(features, training, system)


def test_pooled_vectors_have_no_rate() -> None:
    config = FeatureConfig(kind="extract", extractor="log-mel")
    assert FittedFeature(config, extractor=make_extractor("log-mel")).steps_per_s == 0
    assert FittedFeature(replace_kind(WAVEFORM)).steps_per_s == 100
    assert FittedFeature(WAVEFORM).steps_per_s == RATE
