"""``emofuse listen`` and ``emofuse stream``: predictions while people are talking, from a microphone or a file."""

import json
import os
import queue
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from emofuse.errors import ConfigError, DataError
from emofuse.interfaces.table import LIVE_WIDTH, live_line
from emofuse.media.audio import SAMPLE_RATE, stream_audio
from emofuse.predictor.live import Live, LivePrediction

if TYPE_CHECKING:
    from emofuse.predictor import Predictor

BLOCK_S = 0.1


def microphone(device: str | None = None) -> Iterator[np.ndarray]:
    """Sound of a microphone until the programme is interrupted: float32 (n_samples,) in [-1, 1] at 16 kHz.

    Args:
        device: Its name or number, as ``python -m sounddevice`` lists them; None: the system's.

    Raises:
        ConfigError: sounddevice, PortAudio or a microphone is missing.
    """
    try:
        import sounddevice
    except (ImportError, OSError) as error:  # OSError: without the library that it stands on
        need = 'pip install "emofuse[listen]"' if isinstance(error, ImportError) else "PortAudio (libportaudio2)"
        raise ConfigError(f"a microphone needs {need}") from None
    blocks: queue.Queue[np.ndarray] = queue.Queue()
    chosen = int(device) if device is not None and device.isdigit() else device
    try:
        stream = sounddevice.InputStream(
            SAMPLE_RATE,
            round(BLOCK_S * SAMPLE_RATE),
            chosen,
            1,
            "float32",
            callback=lambda block, _n, _time, _status: blocks.put(block[:, 0].copy()),
        )
    except (sounddevice.PortAudioError, ValueError) as error:
        raise ConfigError(f"no microphone: {' '.join(str(error).split())}") from None
    with stream:
        while True:
            yield blocks.get()


def replay(path: Path, speed: float) -> Iterator[np.ndarray]:
    """Sound of a file, no faster than it would be heard at so many times its speed.

    Raises:
        DataError: As `read_audio`.
    """
    began, given = time.monotonic(), 0
    for block in stream_audio(path, BLOCK_S):
        given += len(block)
        ahead = given / SAMPLE_RATE / speed - (time.monotonic() - began)
        if ahead > 0:
            time.sleep(ahead)
        yield block


def follow(blocks: Iterable[np.ndarray], predictor: "Predictor", source: str, as_json: bool) -> None:
    """Print predictions as they come; on a terminal a provisional one is written over by the next."""
    shows = sys.stdout.isatty() and not as_json
    live = Live(predictor, source, 1.0 if shows else None)
    try:
        for block in blocks:
            for found in live.push(block):
                _show(found, as_json, shows)
    except KeyboardInterrupt:
        pass
    for found in live.end():
        _show(found, as_json, shows)


def follow_server(blocks: Iterable[np.ndarray], url: str, token: str | None, source: str, as_json: bool) -> None:
    """The same, predicted by a server's ``/v1/stream``.

    Raises:
        ConfigError: websockets is not installed, or the server cannot be reached.
        DataError: The server refuses what it is sent.
    """
    try:
        from websockets.exceptions import WebSocketException
        from websockets.sync.client import connect
    except ImportError:
        raise ConfigError('a server\'s stream needs websockets: pip install "emofuse[serve]"') from None
    address = url.replace("http", "ws", 1).rstrip("/") + "/v1/stream"
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    shows = sys.stdout.isatty() and not as_json
    try:
        with connect(address, additional_headers=headers) as socket:
            socket.send(json.dumps({"type": "start", "source": source, "provisional": shows}))
            over = _print_answer(socket.recv(), as_json, shows)
            for block in blocks:
                socket.send((32767 * block).astype("<i2").tobytes())
                while not over and (message := _waiting(socket)) is not None:
                    over = _print_answer(message, as_json, shows)
            socket.send(json.dumps({"type": "end"}))
            while not over:
                over = _print_answer(socket.recv(), as_json, shows)
    except (WebSocketException, OSError) as error:
        raise ConfigError(f"{address}: {' '.join(str(error).split()) or type(error).__name__}") from None


def first_token(file: Path | None) -> str | None:
    """The first line of a file that is no comment; without a file, the environment variable ``EMOFUSE_TOKEN``.

    Raises:
        ConfigError: The file cannot be read, or has none.
    """
    if file is None:
        return os.environ.get("EMOFUSE_TOKEN")
    try:
        lines = [line.strip() for line in file.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: the token cannot be read ({error})") from None
    found = next((line for line in lines if line and not line.startswith("#")), None)
    if found is None:
        raise ConfigError(f"{file}: no token in it")
    return found


def _waiting(socket: Any) -> str | bytes | None:
    """A message that has come; None where none has."""
    try:
        return socket.recv(timeout=0)
    except TimeoutError:
        return None


def _print_answer(message: str | bytes, as_json: bool, shows: bool) -> bool:
    """Print what a server sends; whether it was the last."""
    from emofuse.prediction import Prediction

    answer = json.loads(message)
    if answer["type"] == "error":
        raise DataError(answer["detail"])
    if "prediction" in answer:
        given = answer["prediction"]
        prediction = None if given is None else Prediction.from_dict(given)
        _show(LivePrediction(answer["utterance"], answer["type"], prediction), as_json, shows)
    return answer["type"] == "done"


def _show(found: LivePrediction, as_json: bool, shows: bool) -> None:
    if found.prediction is None:
        return
    if as_json:
        kind = {"type": found.kind, "utterance": found.number}
        print(json.dumps(kind | {"prediction": found.prediction.to_dict()}, ensure_ascii=False), flush=True)
        return
    line = live_line(found.prediction, is_final=found.kind != "provisional")
    if shows:
        print(f"\r{line:{LIVE_WIDTH}}", end="\n" if found.kind != "provisional" else "", flush=True)
    elif found.kind != "provisional":
        print(line, flush=True)
