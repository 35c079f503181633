"""How long after an utterance's end its final prediction is there, over a real connection to a real server.

    python benchmarks/stream_latency.py FILE... [--connections 1]

Starts `emofuse serve`, sends each file in real time in pieces of 100 ms, several times at once if asked, and measures
from the moment at which the utterance's last speech was sent. Voice activity waits 0.3 s for the pause that ends an
utterance; utterances that were cut at their greatest length, or by the end of the file, are not counted.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

import numpy as np
from websockets.sync.client import connect

from emofuse.media.audio import SAMPLE_RATE, read_audio
from emofuse.media.voice_stream import LIVE

PIECE = SAMPLE_RATE // 10


def one(url: str, waveform: np.ndarray, found: list[float]) -> None:
    """Send a recording in real time and note the latency of each final prediction, in seconds."""
    samples = np.round(32767 * waveform).astype("<i2")
    with connect(url) as ws:
        ws.send(json.dumps({"type": "start"}))
        ws.recv()
        began = time.monotonic()
        over = threading.Event()

        def listen() -> None:
            while not over.is_set():
                answer = json.loads(ws.recv())
                if answer["type"] == "done":
                    over.set()
                elif answer["type"] == "final" and not over.is_set():
                    p = answer["prediction"]
                    speech_end_s = p["end_s"] - LIVE.pad_s
                    is_cut = (
                        p["end_s"] - p["start_s"] >= LIVE.max_speech_s or p["end_s"] > len(waveform) / SAMPLE_RATE - 0.5
                    )
                    if not is_cut:
                        found.append(time.monotonic() - began - speech_end_s)

        thread = threading.Thread(target=listen)
        thread.start()
        for i in range(0, len(samples), PIECE):
            # A piece is there when its last sample has been spoken.
            time.sleep(max(0.0, (i + PIECE) / SAMPLE_RATE - (time.monotonic() - began)))
            ws.send(samples[i : i + PIECE].tobytes())
        ws.send(json.dumps({"type": "end"}))
        thread.join()


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--connections", type=int, default=1)
    arguments = parser.parse_args()
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    with tempfile.TemporaryDirectory() as state:
        command = [sys.executable, "-m", "emofuse", "serve", "--port", str(port), "--state", state]
        server = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        try:
            for _ in range(600):
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5)
                    break
                except OSError:
                    time.sleep(0.1)
            found: list[float] = []
            for file in arguments.files:
                waveform = read_audio(file)
                url = f"ws://127.0.0.1:{port}/v1/stream"
                threads = [
                    threading.Thread(target=one, args=(url, waveform, found)) for _ in range(arguments.connections)
                ]
                for thread in threads:
                    thread.start()
                    time.sleep(0.37)  # so that they do not all end at once
                for thread in threads:
                    thread.join()
        finally:
            server.terminate()
            server.wait()
    ms = 1000 * np.array(found)
    p50, p95 = np.percentile(ms, [50, 95])
    print(f"{arguments.connections} connection(s), {os.cpu_count()} cores, {len(ms)} final predictions")
    print(f"after the end of speech: p50 {p50:.0f} ms, p95 {p95:.0f} ms, max {ms.max():.0f} ms")
    print(f"beyond the pause of {1000 * LIVE.min_silence_s:.0f} ms: p50 {p50 - 1000 * LIVE.min_silence_s:.0f} ms")


if __name__ == "__main__":
    main()
