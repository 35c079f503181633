"""openSMILE's feature sets. The one file that imports opensmile, which is free for research only."""

from functools import cache, partial
from typing import Any, Literal, get_args

import numpy as np

from emofuse.errors import ConfigError
from emofuse.features.acoustic import check_waveform
from emofuse.features.extractor import Extractor
from emofuse.media.audio import SAMPLE_RATE

Level = Literal["functionals", "lld"]

LICENCE = (
    "openSMILE: audEERING Research License, free for research, teaching and personal use; "
    "commercial use needs a licence of audEERING GmbH, https://www.audeering.com"
)

MIN_SAMPLES = 960
"""60 ms, the longest analysis window: with one sample less, every value of every set is NaN (opensmile 2.6)."""

LLD_RATE_HZ = 100.0
FULL_SCALE = 32767 / 32768  # openSMILE converts to int16 by 32768 x, where +1.0 would wrap to -1.0


def is13(level: Level = "functionals") -> Extractor:
    """INTERSPEECH 2013 ComParE set (Schuller et al. 2013): 6,373 functionals, or its 65 descriptors.

    Not `compare_2016`: the names are the same, many values are not.

    Args:
        level: ``functionals``: statistics over the utterance, (6373,). ``lld``: the low-level
            descriptors behind them, (n_rows, 65), 100 rows a second, row i from 10 i ms.

    Raises:
        ConfigError: opensmile is not installed, or there is no such level.
    """
    return _extractor("is13", "IS13", level)


def compare_2016(level: Level = "functionals") -> Extractor:
    """ComParE 2016 (Schuller et al. 2016): 6,373 functionals, or its 65 descriptors. As `is13` otherwise."""
    return _extractor("compare-2016", "ComParE_2016", level)


def egemaps(level: Level = "functionals") -> Extractor:
    """eGeMAPS v02 (Eyben et al. 2016): 88 functionals, or its 25 descriptors. As `is13` otherwise."""
    return _extractor("egemaps", "eGeMAPSv02", level)


def _extractor(name: str, feature_set: str, level: Level) -> Extractor:
    if level not in get_args(Level):
        raise ConfigError(f"{name}: no level {level!r}, one of {', '.join(get_args(Level))}")
    return Extractor(
        name=name,
        modality="speech",
        dimensions=tuple(_smile(feature_set, level).feature_names),
        rate_hz=LLD_RATE_HZ if level == "lld" else None,
        unit="of the descriptor that the name names, as openSMILE gives it",
        compute=partial(_compute, feature_set, level),
        settings={"feature_set": feature_set, "level": level, "opensmile": _opensmile().__version__},
        licence=LICENCE,
    )


def _compute(feature_set: str, level: Level, waveform: np.ndarray) -> np.ndarray:
    """(n_samples,) -> (n_values,), or (n_rows, n_values) of low-level descriptors."""
    samples = np.clip(check_waveform(waveform, MIN_SAMPLES), -1.0, FULL_SCALE)
    rows = _smile(feature_set, level).process_signal(samples, SAMPLE_RATE).to_numpy()
    return rows if level == "lld" else rows[0]


@cache  # made once a process; an Extractor that is sent to a worker carries the two names only
def _smile(feature_set: str, level: Level) -> Any:
    opensmile = _opensmile()
    levels = opensmile.FeatureLevel
    return opensmile.Smile(
        opensmile.FeatureSet[feature_set], levels.LowLevelDescriptors if level == "lld" else levels.Functionals
    )


def _opensmile() -> Any:
    try:
        import opensmile
    except ImportError:
        raise ConfigError('opensmile is not installed: pip install "emofuse[opensmile]"') from None
    return opensmile
