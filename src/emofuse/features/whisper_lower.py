"""The lower layers of Whisper's encoder (Radford et al. 2022), which ship with emofuse: how something is said.

Whisper has learnt to recognise words in recordings of every kind. Its upper layers forget how a word was said;
the output of the second layer of ``tiny.en`` still knows, and knows it of voices, rooms and microphones that no corpus
of emotions has. These two layers, 4 M weights in 8 bits a value, are read from the package and run by onnxruntime: in
integers where the processor multiplies them exactly, which is quicker, else in float32.
"""

from collections.abc import Mapping
from functools import cache
from pathlib import Path

import numpy as np
import scipy.fft
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from onnxruntime import InferenceSession
from safetensors.numpy import load_file

from emofuse.errors import DataError
from emofuse.features.acoustic import check_waveform, hann, mel_filters
from emofuse.features.extractor import Extractor
from emofuse.features.windows import windows
from emofuse.graph import multiplies_integers, open_graph
from emofuse.media.audio import SAMPLE_RATE, root_mean_square
from emofuse.quantised import SCALE, unpack

FOLDER = Path(__file__).parents[1] / "assets" / "whisper-tiny.en-lower"
GRAPH, INTEGER_GRAPH, WEIGHTS = FOLDER / "model.onnx", FOLDER / "model-int8.onnx", FOLDER / "model.safetensors"
WEIGHTS_SHA256 = "f0b558cb91dcaf8d31a13c2e8f95d9380a1b197df825050874f48213cf0a2d0a"

N_MELS, N_FFT, SHIFT = 80, 400, 160
SAMPLES_PER_ROW = 2 * SHIFT
WINDOW_ROWS, CONTEXT_ROWS = 1500, 50
"""Longer utterances are seen in windows of 30 s; rows within 1 s of a window's inner border come from the next."""

QUIET_DB = 30.0
"""A clip begins and ends where it comes within so much of its loud parts: a studio's silence is no voice."""

FLOOR = 5.0
"""Powers of ten that a band is held below the loudest one at most. Whisper's own 8 tell a studio from an office."""

ROOT_MEAN_SQUARE = 0.05
"""Level that every clip is brought to."""

MIN_SAMPLES = 4 * SAMPLES_PER_ROW


def loud_span(waveform: np.ndarray) -> tuple[int, int]:
    """First and past-the-last sample of what is loud, (n_samples,) at 16 kHz; all of it where it is too short to tell.

    Steps of 20 ms; loud is what comes within `QUIET_DB` of the 95th percentile of their levels.
    """
    n_steps = len(waveform) // SAMPLES_PER_ROW
    if n_steps < 5:
        return 0, len(waveform)
    steps = waveform[: n_steps * SAMPLES_PER_ROW].reshape(n_steps, SAMPLES_PER_ROW).astype(np.float64)
    level = 10 * np.log10(np.mean(steps**2, axis=1) + 1e-10)
    loud = np.flatnonzero(level > np.percentile(level, 95) - QUIET_DB)
    start, end = int(loud[0]) * SAMPLES_PER_ROW, int(loud[-1] + 1) * SAMPLES_PER_ROW
    if loud[-1] == n_steps - 1:
        end = len(waveform)  # the rest is too short for a step of its own
    if end - start < MIN_SAMPLES:
        return 0, len(waveform)
    return start, end


def whisper_log_mel(waveform: np.ndarray) -> np.ndarray:
    """Whisper's input, but held above `FLOOR`: log10 power in 80 bands, plus 4, over 4.

    (n_samples,) -> float32 (2 * ceil(n_samples / 320), 80); row i is centred at sample 160 i, and silence stands behind
    the end.
    """
    n_frames = 2 * -(-len(waveform) // SAMPLES_PER_ROW)
    half = N_FFT // 2
    padded = np.pad(waveform, (half, n_frames * SHIFT + half - len(waveform)))
    frames = sliding_window_view(padded, N_FFT)[::SHIFT][:n_frames]
    window = hann(N_FFT)
    spectrum: NDArray[np.complex64] = np.asarray(scipy.fft.rfft(frames * window, axis=1, workers=1))
    power = (spectrum.real**2 + spectrum.imag**2) @ mel_filters(N_MELS, N_FFT).T
    log_power = np.log10(np.maximum(power, 1e-10))
    return ((np.maximum(log_power, log_power.max() - FLOOR) + 4) / 4).astype(np.float32)


@cache
def network(integers: bool) -> InferenceSession:
    """The graph of `emofuse.models.whisper_lower` with its weights; in `integers` or in float32."""
    packed = load_file(WEIGHTS)
    graph, weights = (INTEGER_GRAPH, integer_weights(packed)) if integers else (GRAPH, unpack(packed))
    return open_graph(graph.read_bytes(), str(graph), {f"model.{name}": array for name, array in weights.items()})


def integer_weights(packed: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Packed weights as the graph in integers takes them: a matrix from rows to filters, their scales, the rest floats.

    (filters, channels[, taps]) of int8 -> ([taps *] channels, filters).
    """
    matrices = {n: np.ascontiguousarray(w.T).reshape(-1, len(w)) for n, w in packed.items() if n + SCALE in packed}
    return {n: w.astype(np.float32) for n, w in packed.items() if n not in matrices} | matrices


def encode(log_mel: np.ndarray) -> np.ndarray:
    """Output of the second layer: (n_frames, 80), n_frames even and at most 3,000 -> (n_frames / 2, 384)."""
    # One clip at a time: several are no quicker, and in integers they share one scale.
    (found,) = network(multiplies_integers()).run(None, {"log_mel": log_mel[None]})
    return np.asarray(found)[0]


def whisper_lower_rows(waveform: np.ndarray) -> np.ndarray:
    """Rows of what is loud of a clip; see `loud_span` for where the first one lies.

    Args:
        waveform: ``(n_samples,)`` in [-1, 1] at 16 kHz, at least 80 ms.

    Returns:
        float32 ``(n_rows, 384)``, a row for each 20 ms.

    Raises:
        DataError: The waveform is too short, or not one of finite floats.
    """
    log_mel = _network_input(waveform)
    parts = []
    for window in windows(len(log_mel) // 2, WINDOW_ROWS, CONTEXT_ROWS):
        rows = encode(log_mel[2 * window.start : 2 * window.end])
        parts.append(rows[window.keep_start - window.start : window.keep_end - window.start])
    return np.concatenate(parts)


def _network_input(waveform: np.ndarray) -> np.ndarray:
    """What is loud of a clip, at one level, as log-mel bands: (n_frames, 80)."""
    start, end = loud_span(check_waveform(waveform, MIN_SAMPLES))
    clip = waveform[start:end].astype(np.float32)
    clip = clip * np.float32(ROOT_MEAN_SQUARE / max(root_mean_square(clip), 1e-5))
    return whisper_log_mel(clip)


def whisper_lower() -> Extractor:
    """`whisper_lower_rows`: 50 rows a second, the speech input of the model that ships.

    Raises:
        DataError: The weights that belong to the package are not there.
    """
    for file in (GRAPH, INTEGER_GRAPH, WEIGHTS):
        if not file.is_file():
            raise DataError(f"{file}: not there, though it belongs to emofuse: install it anew")
    return Extractor(
        name="whisper-lower",
        modality="speech",
        dimensions=tuple(f"h{i}" for i in range(384)),
        rate_hz=SAMPLE_RATE / SAMPLES_PER_ROW,
        unit="hidden state of layer 2 of 4 of Whisper tiny.en",
        compute=whisper_lower_rows,
        settings={"sha256": WEIGHTS_SHA256, "quiet_db": QUIET_DB, "floor": FLOOR, "level": ROOT_MEAN_SQUARE},
        span=loud_span,
    )
