"""Speech recognition with the times of words, by faster-whisper (extra ``asr``)."""

import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from emofuse.errors import ConfigError
from emofuse.media.audio import SAMPLE_RATE
from emofuse.media.segment import Segment, Word
from emofuse.media.sound import Sound

CHUNK_S = 28.0
"""Neighbouring utterances are recognised together up to this length: Whisper sees 30 s at once."""


class Recogniser:
    """A Whisper model."""

    def __init__(self, model: str, language: str | None = None, n_threads: int = 2) -> None:
        """Load a model.

        Args:
            model: Folder of a CTranslate2 Whisper model, or a name as faster-whisper knows it
                (``tiny.en``, ``small``, ...), which is fetched once where the hub can be reached.
            language: Code such as ``en``; None: found in each stretch.
            n_threads: Processor threads.

        Raises:
            ConfigError: faster-whisper is not installed, or there is no such model.
        """
        try:
            from faster_whisper import WhisperModel
        except ImportError:
            raise ConfigError('speech recognition needs faster-whisper: pip install "emofuse[asr]"') from None
        torch = sys.modules.get("torch")  # no need of it here
        torch_threads = torch.get_num_threads() if torch else 0
        try:
            self._model = WhisperModel(model, device="auto", compute_type="int8", cpu_threads=n_threads)
        except (OSError, ValueError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:160]
            raise ConfigError(
                f"--asr {model}: no Whisper model there; give the folder of a faster-whisper (CTranslate2) model, "
                f"or a name such as tiny.en or small where huggingface.co can be reached ({reason})"
            ) from None
        finally:
            # CTranslate2 asks OpenMP for its number of threads, and torch, which shares that library, would get it too.
            if torch:
                torch.set_num_threads(torch_threads)
        if language is not None and language not in self._model.supported_languages:
            known = ", ".join(self._model.supported_languages)
            raise ConfigError(f"--language {language}: {model} knows {known}")
        self._language = language

    def words(self, waveform: np.ndarray) -> list[Word]:
        """Words of (n_samples,) at 16 kHz, with seconds from its start."""
        segments, _ = self._model.transcribe(
            waveform.astype(np.float32),
            language=self._language,
            word_timestamps=True,
            condition_on_previous_text=False,  # one mistake must not run through a whole recording
        )
        found: list[Any] = [w for s in segments for w in s.words or ()]
        return [Word(w.word.strip(), float(w.start), float(w.end)) for w in found if w.word.strip()]


def chunks(segments: Sequence[Segment], max_s: float = CHUNK_S) -> list[tuple[float, float]]:
    """Stretches that hold neighbouring segments, each at most `max_s` long unless one segment is longer."""
    spans: list[tuple[float, float]] = []
    for s in sorted(segments, key=lambda s: s.start_s):
        if spans and max(s.end_s, spans[-1][1]) - spans[-1][0] <= max_s:
            spans[-1] = (spans[-1][0], max(s.end_s, spans[-1][1]))
        else:
            spans.append((s.start_s, s.end_s))
    return spans


def recognise(
    sound: Sound,
    segments: Sequence[Segment],
    recogniser: Recogniser,
    on_progress: Callable[[float], None] | None = None,
) -> list[Word]:
    """Words spoken within segments of a recording, in order of time.

    Args:
        sound: The recording.
        segments: Where somebody speaks.
        recogniser: Does it.
        on_progress: Called with the seconds of the recording that are done.
    """
    found: list[Word] = []
    for start_s, end_s in chunks(segments):
        waveform = sound.read(start_s, end_s)
        limit = start_s + len(waveform) / SAMPLE_RATE
        for w in recogniser.words(waveform):
            found.append(Word(w.text, min(start_s + w.start_s, limit), min(start_s + w.end_s, limit)))
        if on_progress is not None:
            on_progress(end_s)
    return sorted(found, key=lambda w: w.start_s)
