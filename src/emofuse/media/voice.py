"""Voice activity: where in a recording somebody speaks, by Silero VAD (MIT) through onnxruntime."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import numpy as np
from onnxruntime import InferenceSession

from emofuse.graph import open_graph
from emofuse.media.audio import SAMPLE_RATE
from emofuse.media.segment import Segment

FRAME_SAMPLES = 512
"""Samples of one voice-activity frame: 32 ms."""

BELOW = 0.15
"""Speech ends where its probability is so much below the threshold that it began at, as Silero has it."""

PAUSE_S = 0.1
"""Long speech is divided at pauses of at least so much."""

NETWORK = Path(__file__).parents[1] / "assets" / "silero-vad" / "silero_vad_16k_picture.onnx"

_CONTEXT_SAMPLES = 64  # each frame is given the end of the one before
_MAX_FRAMES = 512  # a call of the network: bounds its memory, not its result


@dataclass(frozen=True)
class VoiceConfig:
    """How speech probabilities become utterances.

    Attributes:
        threshold: Speech begins above this probability, and ends below it less 0.15.
        min_speech_s: Shorter sounds are left out.
        min_silence_s: A pause of at least so much ends an utterance.
        max_speech_s: Longer speech is divided at its longest pause; as much as CMA sees at once.
        pad_s: Kept before and after each utterance, as far as there is no other one.
    """

    threshold: float = 0.5
    min_speech_s: float = 0.25
    min_silence_s: float = 0.4
    max_speech_s: float = 10.0
    pad_s: float = 0.15


@lru_cache(maxsize=1)
def _network() -> InferenceSession:
    # The recurrent network has nothing to share between threads; one leaves the other cores to the caller.
    return open_graph(NETWORK.read_bytes(), str(NETWORK))


class SpeechProbabilities:
    """The probability of speech, frame by frame, of sound that comes piece by piece."""

    def __init__(self) -> None:
        """At the beginning of the sound."""
        self._state = [np.zeros((1, 1, 128), np.float32)] * 2
        self._pending = np.zeros(_CONTEXT_SAMPLES, np.float32)  # the context, then samples that fill no frame yet

    def push(self, block: np.ndarray) -> np.ndarray:
        """float32 (n_frames,) in [0, 1] of the frames that (n_samples,) at 16 kHz in [-1, 1] make whole."""
        self._pending = np.concatenate([self._pending, np.asarray(block, np.float32)])
        found = []
        while (n_frames := (len(self._pending) - _CONTEXT_SAMPLES) // FRAME_SAMPLES) > 0:
            found.append(self._run(min(n_frames, _MAX_FRAMES)))
        return np.concatenate(found) if found else np.zeros(0, np.float32)

    def end(self) -> np.ndarray:
        """The same of what is left, filled up with silence: of no frame or one."""
        left = len(self._pending) - _CONTEXT_SAMPLES
        return self.push(np.zeros(FRAME_SAMPLES - left, np.float32)) if left else np.zeros(0, np.float32)

    def _run(self, n_frames: int) -> np.ndarray:
        used = self._pending[: _CONTEXT_SAMPLES + n_frames * FRAME_SAMPLES]
        frames = np.lib.stride_tricks.sliding_window_view(used, _CONTEXT_SAMPLES + FRAME_SAMPLES)[::FRAME_SAMPLES]
        given = {"input": frames, "h": self._state[0], "c": self._state[1]}
        probabilities, *self._state = _network().run(None, given)
        self._pending = self._pending[n_frames * FRAME_SAMPLES :]
        return np.asarray(probabilities).reshape(-1)


def speech_probabilities(blocks: Iterable[np.ndarray]) -> np.ndarray:
    """Probability of speech in every frame of 32 ms, in bounded memory.

    Args:
        blocks: Consecutive parts (n_samples,) of a 16 kHz waveform in [-1, 1], of any lengths.

    Returns:
        float32 (n_frames,) in [0, 1]; the last frame is filled up with silence.
    """
    stream = SpeechProbabilities()
    return np.concatenate([*(stream.push(block) for block in blocks), stream.end()])


def find_speech(
    probabilities: np.ndarray, duration_s: float | None = None, config: VoiceConfig | None = None
) -> list[Segment]:
    """Stretches of speech, in order and without overlap.

    Args:
        probabilities: As `speech_probabilities` gives them.
        duration_s: Length of the recording in seconds; None: that of the frames.
        config: Settings.
    """
    config = config or VoiceConfig()
    n_samples = len(probabilities) * FRAME_SAMPLES
    total = n_samples if duration_s is None else min(n_samples, round(duration_s * SAMPLE_RATE))
    found = _padded(_stretches(probabilities, total, config), total, round(config.pad_s * SAMPLE_RATE))
    return [Segment(start / SAMPLE_RATE, end / SAMPLE_RATE) for start, end in found]


def _stretches(probabilities: np.ndarray, total: int, config: VoiceConfig) -> list[tuple[int, int]]:
    """First and past-the-last sample of each utterance, without padding; `total` is the recording's length."""
    # What is padded, and the frame in which it is noticed, must fit too.
    longest = (config.max_speech_s - 2 * config.pad_s) * SAMPLE_RATE - FRAME_SAMPLES
    shortest, silence = config.min_speech_s * SAMPLE_RATE, config.min_silence_s * SAMPLE_RATE
    found: list[tuple[int, int]] = []
    start: int | None = None  # of the utterance under way
    quiet: int | None = None  # since when it pauses
    pauses: list[tuple[int, int]] = []  # in it: how long, since when
    for i, p in enumerate(probabilities):
        at = i * FRAME_SAMPLES
        if p >= config.threshold:
            if quiet is not None and at - quiet >= PAUSE_S * SAMPLE_RATE:
                pauses.append((at - quiet, quiet))
            start, quiet = at if start is None else start, None
        if start is None:
            continue
        if at - start > longest and pauses:
            length, end = max(pauses, key=lambda pause: pause[0])
            found.append((start, end))
            start, quiet, pauses = end + length, None, []
        elif at - start > longest:
            found.append((start, at))
            start = quiet = None
            continue
        if p < max(config.threshold - BELOW, 0.01):
            quiet = at if quiet is None else quiet
            if at - quiet >= silence:
                if quiet - start > shortest:
                    found.append((start, quiet))
                start, quiet, pauses = None, None, []
    if start is not None and total - start > shortest:
        found.append((start, total))
    return found


def _padded(stretches: list[tuple[int, int]], total: int, pad: int) -> list[tuple[int, int]]:
    """Each stretch with up to `pad` samples more on both sides; where two are closer they share what is between."""
    if not stretches:
        return []
    between = [min((second[0] - first[1]) // 2, pad) for first, second in pairwise(stretches)]
    before, after = [pad, *between], [*between, pad]
    return [
        (max(0, start - a), min(total, end + b)) for (start, end), a, b in zip(stretches, before, after, strict=True)
    ]
