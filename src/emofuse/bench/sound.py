"""Sound to measure on: the same on every machine, and of no corpus."""

from pathlib import Path

import numpy as np
import soundfile
from scipy.signal import lfilter

from emofuse.media.audio import SAMPLE_RATE

VOWELS = np.array([(730, 1090, 2440), (270, 2290, 3010), (300, 870, 2240), (530, 1840, 2480), (570, 840, 2410)])
"""First three formants in Hz of five vowels (Peterson & Barney 1952, means of men)."""

BANDWIDTHS = (80, 110, 160)
SYLLABLE_S, PHRASE_S, PAUSE_S = 0.2, 3.0, 0.9
_FRAME = 80  # samples for which a resonance stays as it is: 5 ms


def noise(n_clips: int, seconds: float, seed: int = 0) -> np.ndarray:
    """float32 (n_clips, n_samples) of white noise at 16 kHz, a tenth of full scale: for what does not listen."""
    rng = np.random.default_rng(seed)
    return (0.1 * rng.standard_normal((n_clips, round(seconds * SAMPLE_RATE)))).astype(np.float32)


def speech_like(seconds: float, seed: int = 0) -> np.ndarray:
    """float32 (n_samples,) at 16 kHz: phrases with pauses between them, in which voice activity finds utterances.

    Pulses of a pitch that falls through each phrase go through resonances that glide from vowel to vowel, with a
    burst of noise before most of them: without the glides nobody is heard to speak.
    """
    rng = np.random.default_rng(seed)
    parts: list[np.ndarray] = []
    n_found, n_wanted = 0, round(seconds * SAMPLE_RATE)
    while n_found < n_wanted:
        pause = 0.001 * rng.standard_normal(round(PAUSE_S * SAMPLE_RATE))
        parts += [_phrase(PHRASE_S * rng.uniform(0.6, 1.4), rng), pause]
        n_found += len(parts[-2]) + len(pause)
    return np.concatenate(parts)[:n_wanted].astype(np.float32)


def _phrase(seconds: float, rng: np.random.Generator) -> np.ndarray:
    n_syllables, size = max(2, round(seconds / SYLLABLE_S)), round(SYLLABLE_S * SAMPLE_RATE)
    n_samples = n_syllables * size
    pitch = np.linspace(1.15, 0.85, n_samples) * rng.uniform(100, 220)
    pulses = np.diff(np.floor(np.cumsum(pitch) / SAMPLE_RATE), prepend=0.0)
    place = np.arange(n_samples) % size / size  # within the syllable
    loudness = np.clip(np.minimum(place / 0.25, (1 - place) / 0.2), 0.05, 1)
    source = loudness * (np.diff(pulses, prepend=0.0) + 0.02 * rng.standard_normal(n_samples))
    voice = _resonate(source, VOWELS[rng.integers(len(VOWELS), size=n_syllables)], size)
    burst = round(0.06 * SAMPLE_RATE)
    for first in range(0, n_samples, size):
        if rng.random() < 0.7:
            voice[first : first + burst] += 0.08 * np.hanning(burst) * np.diff(rng.standard_normal(burst), prepend=0.0)
    return 0.3 * voice / np.abs(voice).max()


def _resonate(source: np.ndarray, vowels: np.ndarray, size: int) -> np.ndarray:
    """(n_samples,) through formants (n_syllables, 3) that each syllable of `size` samples has in its middle."""
    middles = (np.arange(len(vowels)) + 0.5) * size
    found = np.empty_like(source)
    state = [np.zeros(2) for _ in BANDWIDTHS]
    for first in range(0, len(source), _FRAME):
        x = source[first : first + _FRAME]
        for i, width in enumerate(BANDWIDTHS):
            hz = np.interp(first, middles, vowels[:, i])
            radius = np.exp(-np.pi * width / SAMPLE_RATE)
            poles = [1.0, -2 * radius * np.cos(2 * np.pi * hz / SAMPLE_RATE), radius**2]
            x, state[i] = lfilter([sum(poles)], poles, x, zi=state[i])
        found[first : first + _FRAME] = x
    return found / np.abs(found).max()


def write_recording(path: Path, waveform: np.ndarray, sample_rate: int = 44_100, n_channels: int = 2) -> Path:
    """A 16 kHz waveform as recorders leave it, by default 44.1 kHz stereo; the path's ending says which format."""
    n_samples = round(len(waveform) * sample_rate / SAMPLE_RATE)
    places = np.arange(n_samples) * (SAMPLE_RATE / sample_rate)
    samples = np.interp(places, np.arange(len(waveform)), waveform)
    soundfile.write(path, np.repeat(samples[:, None], n_channels, axis=1), sample_rate)
    return path
