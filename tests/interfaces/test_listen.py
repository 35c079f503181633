"""Live predictions in the terminal: a file replayed here and through a server, and a microphone that is not there."""

import json
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emofuse.errors import ConfigError, DataError
from emofuse.graph import GraphNetwork
from emofuse.interfaces.cli import main
from emofuse.interfaces.listen import first_token, microphone, replay
from emofuse.interfaces.table import LIVE_WIDTH, live_line
from emofuse.media.audio import read_audio
from emofuse.models.network import TorchNetwork
from emofuse.prediction import Prediction
from emofuse.predictor import Predictor, load


def run(*arguments: str) -> int:
    """The exit code of the command line."""
    before, sys.argv = sys.argv, ["emofuse", *arguments]
    try:
        main()
    except SystemExit as end:
        return int(end.code or 0)
    finally:
        sys.argv = before
    return 0


def test_a_file_is_replayed(example_clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("stream", str(example_clip), "--speed", "100") == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("0:00.")
    assert "%" in line
    assert run("stream", str(example_clip), "--speed", "100", "--format", "json") == 0
    (found,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert found["type"] == "final"
    assert found["prediction"]["source"] == "hello.wav"


def test_it_is_no_faster_than_told(example_clip: Path) -> None:
    import time

    began = time.monotonic()
    blocks = list(replay(example_clip, 10))
    assert time.monotonic() - began > 0.29
    np.testing.assert_array_equal(np.concatenate(blocks), read_audio(example_clip))


def test_what_cannot_be_replayed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("stream", str(tmp_path / "none.wav")) == 2
    assert "none.wav" in capsys.readouterr().err
    assert run("stream", str(tmp_path), "--url", "http://127.0.0.1:9") == 2
    assert "ws://127.0.0.1:9/v1/stream: " in capsys.readouterr().err


class FakeStream:
    """What sounddevice gives, without a device."""

    def __init__(self, rate: int, size: int, device: object, channels: int, kind: str, callback: Any) -> None:
        assert (rate, channels, kind) == (16_000, 1, "float32")
        self.callback, self.size = callback, size

    def __enter__(self) -> None:
        for value in (0.1, 0.2):
            self.callback(np.full((self.size, 1), value, np.float32), self.size, None, None)

    def __exit__(self, *_: object) -> None:
        pass


def test_a_microphone_gives_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = types.SimpleNamespace(InputStream=FakeStream, PortAudioError=RuntimeError)
    monkeypatch.setitem(sys.modules, "sounddevice", fake)
    blocks = microphone()
    assert [next(blocks)[0], next(blocks)[0]] == pytest.approx([0.1, 0.2])


def test_no_microphone_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("Error querying device -1")

    fake = types.SimpleNamespace(InputStream=broken, PortAudioError=RuntimeError)
    monkeypatch.setitem(sys.modules, "sounddevice", fake)
    with pytest.raises(ConfigError, match="no microphone: Error querying device -1"):
        next(microphone())
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(ConfigError, match=r"emofuse\[listen\]"):
        next(microphone())


def test_tokens_for_a_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "token"
    file.write_text("# mine\nabc\n")
    assert first_token(file) == "abc"
    monkeypatch.setenv("EMOFUSE_TOKEN", "def")
    assert first_token(None) == "def"
    file.write_text("\n")
    with pytest.raises(ConfigError, match="no token"):
        first_token(file)
    with pytest.raises(ConfigError, match="cannot be read"):
        first_token(tmp_path / "none")


def test_a_line_fits_and_steers_no_terminal() -> None:
    p = Prediction("x", 1.0, 62.5, "Ann\x1b[2J", "well " * 40, "happy", {"happy": 0.4}, ("speech",), (), 0.4, True)
    line = live_line(p, is_final=True)
    assert line.startswith("0:01.0 - 1:02.5   happy?      40%  Ann")
    assert "\x1b" not in line
    assert len(line) <= LIVE_WIDTH
    assert live_line(p, is_final=False).endswith(" ...")
    assert len(live_line(p, is_final=False)) <= LIVE_WIDTH


def test_a_server_s_error_is_ours() -> None:
    from emofuse.interfaces.listen import _print_answer

    with pytest.raises(DataError, match="too many streams"):
        _print_answer('{"type": "error", "detail": "too many streams"}', False, False)


@pytest.mark.parametrize("engine", ["torch", "onnx"])
def test_the_engine_can_be_chosen(
    engine: str, example_clip: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    loaded: list[Predictor] = []

    def load_and_keep(*given: Any, **more: Any) -> Predictor:
        loaded.append(load(*given, **more))
        return loaded[-1]

    monkeypatch.setattr("emofuse.predictor.load", load_and_keep)
    assert run("stream", str(example_clip), "--speed", "100", "--engine", engine) == 0
    assert capsys.readouterr().out
    assert {type(part.network) for part in loaded[0].parts} == {TorchNetwork if engine == "torch" else GraphNetwork}
