"""Training clips as an epoch hears them: in other voices, rooms, microphones and lines, or a moment of them only."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from emofuse.example import Example
from emofuse.features.augment import DEFAULT, augment
from emofuse.media.audio import SAMPLE_RATE, root_mean_square
from emofuse.protocol.feature import FeatureConfig, pool_rows, speech_steps
from emofuse.protocol.fitted import FittedFeature

SHORT_S = (0.4, 2.0)
"""Seconds that are left of a shortened clip: what voice activity finds of an answer or a call."""


def waveform_config(config: FeatureConfig) -> FeatureConfig:
    """The recording that a speech feature is made of, at the feature's level."""
    return FeatureConfig.model_validate({"kind": "waveform", "level": config.level, "max_s": config.max_s})


@dataclass(frozen=True)
class Augmenter:
    """Puts a changed recording in the place of a share of the training examples: a `Vary` of training.

    The feature is computed after the effects, of a stretch a little longer than what training crops: drawn
    anew in every epoch, it costs less than the training step and no memory for copies. Dev and test do not
    pass through here.

    Attributes:
        waveforms: Training utterance to its recording, as `waveform_config` reads it; babble is made of them.
        feature: Of speech, fitted on the clips as they are.
        share: Of the examples that get effects.
        crop_s: As `TrainingConfig.crop_s`; 0: whole clips.
        shorten: Share of the examples of which a random stretch of `SHORT_S` is heard, with effects or without.
    """

    waveforms: Mapping[str, np.ndarray]
    feature: FittedFeature
    share: float
    crop_s: float = 0.0
    shorten: float = 0.0

    @cached_property
    def _clips(self) -> list[np.ndarray]:
        return list(self.waveforms.values())

    def __call__(self, example: Example, rng: np.random.Generator) -> Example:
        """The example itself, or one of the same utterance as it might have been recorded elsewhere."""
        has_effects = rng.random() < self.share
        is_short = self.shorten > 0 and rng.random() < self.shorten
        if not (has_effects or is_short):
            return example
        (utterance,) = example.ids
        whole = self.waveforms[utterance]
        heard = np.asarray(self._shortened(whole, rng) if is_short else self._cut(whole, rng))
        changed = augment(heard, rng, self._clips) if has_effects else heard
        if self.feature.config.level == "rms":
            # The clip was brought to its level as a whole; the stretch keeps the share that it had of it.
            changed = changed * np.float32(root_mean_square(heard) / max(root_mean_square(changed), 1e-9))
        (speech,) = self.feature.transform([self._raw(changed)])
        return replace(example, inputs={**example.inputs, "speech": speech})

    def _cut(self, waveform: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """A random stretch that holds `crop_s` even when played at the highest speed."""
        n_samples = round(self.crop_s * DEFAULT.speed[1] * SAMPLE_RATE)
        if not n_samples or len(waveform) <= n_samples:
            return waveform
        start = int(rng.integers(len(waveform) - n_samples + 1))
        return waveform[start : start + n_samples]

    def _shortened(self, waveform: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """A random stretch of `SHORT_S`, within what the feature takes for the clip; all of a shorter one."""
        extractor = self.feature.extractor
        if extractor is not None and extractor.span is not None:
            start, end = extractor.span(np.asarray(waveform))
            waveform = waveform[start:end]
        n_samples = round(rng.uniform(*SHORT_S) * SAMPLE_RATE)
        start = int(rng.integers(max(len(waveform) - n_samples, 0) + 1))
        return waveform[start : start + n_samples]

    def _raw(self, waveform: np.ndarray) -> np.ndarray:
        """What is projected: samples, spectra, or a feature of `EXTRACTORS` computed anew."""
        config, extractor = self.feature.config, self.feature.extractor
        return speech_steps(waveform, config) if extractor is None else pool_rows(extractor(waveform), config)
