"""Training clips as an epoch hears them: a share of them through other voices, rooms, microphones and lines."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from emofuse.example import Example
from emofuse.features.augment import DEFAULT, augment
from emofuse.media.audio import SAMPLE_RATE, root_mean_square
from emofuse.protocol.feature import FeatureConfig, pool_rows, speech_steps
from emofuse.protocol.fitted import FittedFeature


def waveform_config(config: FeatureConfig) -> FeatureConfig:
    """The recording that a speech feature is made of, at the feature's level."""
    return FeatureConfig.model_validate({"kind": "waveform", "level": config.level, "max_s": config.max_s})


@dataclass(frozen=True)
class Augmenter:
    """Puts an augmented recording in the place of a share of the training examples: a `Vary` of training.

    The feature is computed after the effects, of a stretch a little longer than what training crops: drawn
    anew in every epoch, it costs less than the training step and no memory for copies. Dev and test do not
    pass through here.

    Attributes:
        waveforms: Training utterance to its recording, as `waveform_config` reads it; babble is made of them.
        feature: Of speech, fitted on the clips as they are.
        share: Of the examples.
        crop_s: As `TrainingConfig.crop_s`; 0: whole clips.
    """

    waveforms: Mapping[str, np.ndarray]
    feature: FittedFeature
    share: float
    crop_s: float = 0.0

    @cached_property
    def _clips(self) -> list[np.ndarray]:
        return list(self.waveforms.values())

    def __call__(self, example: Example, rng: np.random.Generator) -> Example:
        """The example itself, or one of the same utterance as it might have been recorded elsewhere."""
        if rng.random() >= self.share:
            return example
        (utterance,) = example.ids
        heard = np.asarray(self._cut(self.waveforms[utterance], rng))
        changed = augment(heard, rng, self._clips)
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

    def _raw(self, waveform: np.ndarray) -> np.ndarray:
        """What is projected: samples, spectra, or a feature of `EXTRACTORS` computed anew."""
        config, extractor = self.feature.config, self.feature.extractor
        return speech_steps(waveform, config) if extractor is None else pool_rows(extractor(waveform), config)
