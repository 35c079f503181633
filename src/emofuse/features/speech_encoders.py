"""Pretrained speech encoders: wav2vec 2.0 and its kind, and Whisper's."""

import math
import os
import sys
from functools import cache, partial
from itertools import accumulate
from operator import mul
from pathlib import Path
from typing import Any

import numpy as np

from emofuse.errors import ConfigError, DataError
from emofuse.features import hub
from emofuse.features.acoustic import check_waveform
from emofuse.features.extractor import Extractor
from emofuse.features.windows import windows
from emofuse.media.audio import SAMPLE_RATE

WINDOW_S, CONTEXT_S = 30, 1
"""Longer utterances are seen in windows of 30 s; rows within 1 s of a window's inner border come from the next."""

WHISPER_SAMPLES_PER_ROW = 320
WHISPER_ROWS = WINDOW_S * SAMPLE_RATE // WHISPER_SAMPLES_PER_ROW


def wav2vec2(encoder: str | Path | None = None, layer: int = -1, device: str = "cpu") -> Extractor:
    """Hidden states of a wav2vec 2.0, HuBERT, WavLM or like model that transformers loads.

    Such a model has strided convolutions over the waveform, then transformer layers; with the usual
    strides a row comes every 20 ms and the first is of samples 0 to 400. One utterance is computed at
    a time, so no padding can leak into it; the waveform is normalised if the model's
    ``preprocessor_config.json`` says so. Longer than 30 s: overlapping windows of 30 s.

    Args:
        encoder: Folder or name on the hub, see `hub.fetch`.
        layer: 0 is the input of the first transformer layer, k the output of layer k, -1 the last (after
            the model's final normalisation, if it has one).
        device: As torch names it; not part of the settings.

    Raises:
        ConfigError: No encoder is named, it cannot be had or is of another kind, there is no such layer
            or device, or transformers is not installed.
        DataError: The encoder's files are damaged or hold no safetensors.
    """
    if encoder is None:
        raise ConfigError("wav2vec2: which encoder? A folder or a hub name such as facebook/wav2vec2-base-960h")
    folder = hub.fetch(encoder)
    config = hub.load_config(folder)
    if not hasattr(config, "conv_stride") or getattr(config, "add_adapter", False):
        raise ConfigError(f"{encoder}: a {config.model_type} model, need one of the wav2vec2, HuBERT or WavLM kind")
    rate = hub.load_waveform_scaler(folder).sampling_rate
    if rate != SAMPLE_RATE:
        raise ConfigError(f"{encoder}: takes {rate} samples a second, need {SAMPLE_RATE}")
    n_layers = config.num_hidden_layers
    if not -n_layers - 1 <= layer <= n_layers:
        raise ConfigError(f"{encoder}: no layer {layer}, need 0 to {n_layers}, or -1 for the last")
    layer %= n_layers + 1
    return Extractor(
        name="wav2vec2",
        modality="speech",
        dimensions=tuple(f"h{i}" for i in range(config.hidden_size)),
        rate_hz=SAMPLE_RATE / math.prod(config.conv_stride),
        unit=f"hidden state of layer {layer} of {n_layers}",
        compute=partial(_wav2vec2_rows, folder, layer, device),
        settings={
            "model_type": config.model_type,
            "sha256": hub.fingerprint(folder, "preprocessor_config.json"),
            "layer": layer,
            "window_s": WINDOW_S,
            "context_s": CONTEXT_S,
        },
    )


def _wav2vec2_rows(folder: Path, layer: int, device: str, waveform: np.ndarray) -> np.ndarray:
    """(n_samples,) -> (n_rows, hidden_size)."""
    model, scale = _load_wav2vec2(folder, device, os.getpid())
    config = model.config
    strides = list(accumulate(config.conv_stride, mul, initial=1))
    stride = strides[-1]
    reach = 1 + sum((kernel - 1) * s for kernel, s in zip(config.conv_kernel, strides, strict=False))
    samples = check_waveform(waveform, reach)
    scaled = scale(samples, sampling_rate=SAMPLE_RATE, return_tensors="np").input_values[0].astype(np.float32)
    n_rows = 1 + (len(samples) - reach) // stride
    parts = []
    for window in windows(n_rows, WINDOW_S * SAMPLE_RATE // stride, CONTEXT_S * SAMPLE_RATE // stride):
        # To the very end in the last window: its remaining samples give no row, but a group norm sees them.
        end = None if window.end == n_rows else (window.end - 1) * stride + reach
        part = scaled[window.start * stride : end]
        hidden = _hidden_states(model, part, device, layer)
        if len(hidden) != window.end - window.start:
            raise DataError(f"{folder}: gave {len(hidden)} rows, need {window.end - window.start}")
        parts.append(hidden[window.keep_start - window.start : window.keep_end - window.start])
    return np.concatenate(parts)


def _hidden_states(model: Any, waveform: np.ndarray, device: str, layer: int) -> np.ndarray:
    """(n_samples,) -> (n_rows, hidden_size)."""
    import torch

    last = layer == model.config.num_hidden_layers
    with torch.inference_mode():
        output = model(torch.from_numpy(waveform)[None].to(device), output_hidden_states=not last)
    return (output.last_hidden_state if last else output.hidden_states[layer])[0].cpu().numpy()


@cache  # one model a process; the process is part of the key because threads do not survive a fork
def _load_wav2vec2(folder: Path, device: str, process: int) -> tuple[Any, Any]:
    return hub.load_model(folder, device), hub.load_waveform_scaler(folder)


def whisper(encoder: str | Path | None = None) -> Extractor:
    """Output of the encoder of a Whisper model that faster-whisper loads, in float32 on the CPU.

    The encoder always sees 30 s, what is missing filled with silence as in its training; of its 1,500
    rows those of the utterance are kept, ``ceil(n_samples / 320)``, 50 a second, row i centred at
    20 i ms. Longer than 30 s: overlapping windows of 30 s. It uses as many threads as torch, where that is loaded.

    Args:
        encoder: Folder of a CTranslate2 Whisper model (``model.bin``, ``config.json``,
            ``tokenizer.json``), or what faster-whisper can download: a size such as ``tiny.en``, or
            ``owner/name`` of the hub.

    Raises:
        ConfigError: faster-whisper is not installed, no encoder is named or it cannot be had.
        DataError: The folder lacks a file or holds something else.
    """
    if encoder is None:
        raise ConfigError("whisper: which encoder? A folder of a CTranslate2 model, or a size such as tiny.en")
    folder = _whisper_folder(encoder)
    model = _load_whisper(folder, os.getpid())
    n_mels = model.model.n_mels
    hidden_size = np.asarray(model.encode(np.zeros((n_mels, 2), np.float32))).shape[-1]
    files = [folder / "model.bin", folder / "preprocessor_config.json"]
    return Extractor(
        name="whisper",
        modality="speech",
        dimensions=tuple(f"h{i}" for i in range(hidden_size)),
        rate_hz=SAMPLE_RATE / WHISPER_SAMPLES_PER_ROW,
        unit="output of the encoder",
        compute=partial(_whisper_rows, folder),
        settings={
            "sha256": {path.name: hub.sha256(path) for path in files if path.is_file()},
            "compute_type": "float32",
            "window_s": WINDOW_S,
            "context_s": CONTEXT_S,
        },
    )


def _whisper_rows(folder: Path, waveform: np.ndarray) -> np.ndarray:
    """(n_samples,) -> (n_rows, hidden_size)."""
    model = _load_whisper(folder, os.getpid())
    samples = check_waveform(waveform)
    n_rows = math.ceil(len(samples) / WHISPER_SAMPLES_PER_ROW)
    parts = []
    for window in windows(n_rows, WHISPER_ROWS, CONTEXT_S * SAMPLE_RATE // WHISPER_SAMPLES_PER_ROW):
        first = window.start * WHISPER_SAMPLES_PER_ROW
        part = samples[first : first + WINDOW_S * SAMPLE_RATE]
        log_mel = model.feature_extractor(np.pad(part, (0, WINDOW_S * SAMPLE_RATE - len(part))), padding=0)
        hidden = np.asarray(model.encode(log_mel))[0]
        parts.append(hidden[window.keep_start - window.start : window.keep_end - window.start])
    return np.concatenate(parts)


def _whisper_folder(encoder: str | Path) -> Path:
    faster_whisper = _faster_whisper()
    folder = Path(encoder).expanduser()
    if not folder.is_dir():
        try:
            folder = Path(faster_whisper.download_model(str(encoder)))
        except (OSError, ValueError) as error:  # ValueError: not a size, or not the form of a name
            raise ConfigError(
                f"{encoder}: no such folder, nor a Whisper model that could be had "
                f"({str(error).splitlines()[0].removeprefix('Got: ')}); give a folder of a CTranslate2 model, "
                "or a size such as tiny.en while there is a network"
            ) from None
    for name in ("model.bin", "config.json", "tokenizer.json"):
        if not (folder / name).is_file():
            raise DataError(f"{encoder}: no {name}, so not a folder of a CTranslate2 Whisper model")
    return folder


@cache  # never evicted: the parent's copy must not be torn down in a forked child, which lacks its threads
def _load_whisper(folder: Path, process: int) -> Any:
    torch = sys.modules.get("torch")  # no need of it here; 0 is as OMP_NUM_THREADS says
    n_threads = torch.get_num_threads() if torch else 0
    try:
        return _faster_whisper().WhisperModel(str(folder), device="cpu", compute_type="float32", cpu_threads=n_threads)
    except (RuntimeError, ValueError) as error:
        raise DataError(f"{folder}: not a Whisper model that CTranslate2 reads: {error}") from None


def _faster_whisper() -> Any:
    try:
        import faster_whisper
    except ImportError:
        raise ConfigError('faster-whisper is not installed: pip install "emofuse[asr]"') from None
    return faster_whisper
