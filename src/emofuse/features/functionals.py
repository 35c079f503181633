"""A clip as one vector: what the rows of `emofuse.features.voice` do over time.

In the manner of openSMILE's functionals over low-level descriptors (Eyben et al. 2010), and with the modulation
spectrum of the cepstrum: how fast a voice changes, in which of its features. Nothing depends on a clip's length.
"""

from itertools import pairwise

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from emofuse.errors import DataError
from emofuse.features.voice import N_BANDS

N_CEPSTRA = 13
MODULATION_HZ = (0.5, 1, 2, 3, 4, 6, 8, 12, 16, 24)
"""Edges of the bands in which modulation is summed; syllables come at 3 to 6 Hz."""

ACTIVE_RANGE = 6.0
"""Rows within so much (natural logarithm, 26 dB) of the loud ones count as speech."""

VOICED = 0.5
_N_FFT = 1024
_ROWS_HZ = 100
_LEAST_VOICED = 5


def functionals(rows: np.ndarray) -> np.ndarray:
    """Functionals of a clip.

    Args:
        rows: ``(n_frames, 67)`` as `voice_rows` gives them; at least 3.

    Returns:
        float32 ``(646,)``: of each band the mean, deviation, deviation and mean size of its steps, and within
        speech the mean, deviation, 5th and 95th percentile; 17 of pitch, voicing and level; the logarithm of
        the power of 13 cepstral coefficients' modulation in 9 bands.

    Raises:
        DataError: Another shape.
    """
    if rows.ndim != 2 or rows.shape[1] != N_BANDS + 3 or len(rows) < 3:
        raise DataError(f"rows of voice of shape {rows.shape}, need (n_frames, {N_BANDS + 3}) with n_frames >= 3")
    bands, (pitch, voicing, level) = rows[:, :N_BANDS], rows[:, N_BANDS:].T
    active = level > np.percentile(level, 95) - ACTIVE_RANGE
    steps, speech = np.diff(bands, axis=0), bands[active]
    spectrum = (
        bands.mean(axis=0),
        bands.std(axis=0),
        steps.std(axis=0),
        np.abs(steps).mean(axis=0),
        speech.mean(axis=0),
        speech.std(axis=0),
        *np.percentile(speech, [5, 95], axis=0),
    )
    melody = _melody(pitch, voicing, level, active)
    return np.concatenate([*spectrum, melody, _modulation(bands)]).astype(np.float32)


def _melody(pitch: np.ndarray, voicing: np.ndarray, level: np.ndarray, active: np.ndarray) -> np.ndarray:
    """Seventeen values of pitch, voicing and level; (n_frames,) each."""
    voiced = active & (voicing > VOICED)
    if voiced.sum() < _LEAST_VOICED:  # a whisper: the pitch of its most voiced rows, for want of better
        voiced = voicing >= np.sort(voicing)[-min(_LEAST_VOICED, len(voicing))]
    f0 = pitch[voiced]
    glides = np.diff(pitch)[voiced[1:] & voiced[:-1]]
    glides = glides[np.abs(glides) < 0.3] if (np.abs(glides) < 0.3).any() else np.zeros(1)  # not octave errors
    swells = np.diff(level)[active[1:] & active[:-1]]
    return np.array(
        [
            *np.percentile(f0, [5, 25, 50, 75, 95]),
            f0.mean(),
            f0.std(),
            glides.mean(),
            glides.std(),
            np.abs(glides).mean(),
            voiced.mean(),
            voicing[active].mean(),
            voicing[active].std(),
            level[active].std(),
            swells.std() if len(swells) else 0.0,
            active.mean(),
            np.percentile(level, 10) - level.max(),
        ]
    )


def _modulation(bands: np.ndarray) -> np.ndarray:
    """(n_frames, n_bands) -> (9 * 13,): log power of the cepstrum's changes, by their rate."""
    cepstra = np.asarray(scipy.fft.dct(bands, axis=1, norm="ortho"))[:, :N_CEPSTRA]
    n_fft = max(_N_FFT, len(cepstra))
    spectrum: NDArray[np.complex64] = np.asarray(scipy.fft.rfft(cepstra - cepstra.mean(axis=0), n_fft, axis=0))
    power = (spectrum.real**2 + spectrum.imag**2) / len(cepstra)
    edges = [round(hz / _ROWS_HZ * n_fft) for hz in MODULATION_HZ]
    sums = [power[low:high].mean(axis=0) for low, high in pairwise(edges)]
    return np.log(np.stack(sums) + 1e-3).ravel()
