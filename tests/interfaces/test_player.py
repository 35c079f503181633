"""What of a recording a page embeds: played back by FFmpeg."""

import io
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile as sf

from emofuse.interfaces import player
from emofuse.interfaces.player import Player, make_players
from emofuse.media.audio import read_audio
from emofuse.prediction import Timeline


def wav(path: Path, seconds: float = 4.0, rate: int = 22_050) -> Path:
    t = np.arange(round(seconds * rate)) / rate
    sf.write(path, 0.3 * np.sin(2 * np.pi * 440 * t), rate)
    return path


def video(
    path: Path, seconds: float = 2.0, picture: str = "libx264", sound: str | None = "aac", late_s: float = 0
) -> Path:
    with av.open(str(path), "w") as out:
        pictures = out.add_stream(picture, rate=25)
        pictures.width, pictures.height, pictures.pix_fmt = 64, 48, "yuv420p"
        sounds = out.add_stream(sound, rate=48_000, layout="mono") if sound else None
        for i in range(round(seconds * 25)):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), i % 256, np.uint8), format="rgb24")
            frame.pts, frame.time_base = i, Fraction(1, 25)
            out.mux(pictures.encode(frame))
        out.mux(pictures.encode(None))
        if sounds is not None:
            noise = (
                np.random.default_rng(0).uniform(-0.1, 0.1, (1, round((seconds - late_s) * 48_000))).astype(np.float32)
            )
            frame = av.AudioFrame.from_ndarray(noise, format="fltp", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = 48_000, round(late_s * 48_000), Fraction(1, 48_000)
            out.mux(sounds.encode(frame))
            out.mux(sounds.encode(None))
    return path


def samples(content: bytes | None, rate: int = 16_000) -> np.ndarray:
    assert content is not None
    with av.open(io.BytesIO(content)) as container:
        frames = [f.to_ndarray().mean(axis=0) for f in container.decode(audio=0)]
        assert container.streams.audio[0].rate == rate
    return np.concatenate(frames)


def only(path: Path) -> Player:
    """The player of one recording."""
    (found,) = make_players([Timeline(str(path), 4.0, ())], {str(path): path}, path.parent)
    assert found is not None
    return found


def test_the_sound_is_embedded_in_full_length(tmp_path: Path) -> None:
    path = wav(tmp_path / "talk.wav", 4.0)
    found = only(path)
    assert (found.kind, found.type, found.href, found.note) == ("audio", "audio/mpeg", None, None)
    decoded, original = samples(found.content), read_audio(path)
    assert len(decoded) == len(original) == 64_000
    inner = slice(1600, -1600)  # in phase too: what is heard is where the timeline says
    assert np.corrcoef(decoded[inner], original[inner])[0, 1] > 0.99


def test_sound_that_begins_late_stays_late(tmp_path: Path) -> None:
    path = video(tmp_path / "late.mpg", 3.0, "mpeg1video", "mp2", late_s=1.0)
    decoded = samples(only(path).content)
    assert len(decoded) == pytest.approx(len(read_audio(path)), abs=1)
    assert np.abs(decoded[:14_000]).max() < 0.01
    assert np.abs(decoded[18_000:]).max() > 0.05


def test_of_a_damaged_recording_what_there_is_is_embedded(tmp_path: Path) -> None:
    path = tmp_path / "cut.flac"
    sf.write(path, np.random.default_rng(0).uniform(-0.5, 0.5, 64_000), 16_000)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert len(samples(only(path).content)) == pytest.approx(32_000, rel=0.15)


def test_no_player_without_media(tmp_path: Path) -> None:
    path = wav(tmp_path / "b.wav")
    lines = [Timeline("a.wav", 4.0, ()), Timeline("b.wav", 4.0, ())]
    none, found = make_players(lines, {"b.wav": path}, tmp_path)
    assert none is None
    assert found is not None
    assert len(samples(found.content)) == 64_000


@pytest.mark.parametrize(
    ("name", "picture", "sound", "mime"),
    [
        ("a.mp4", "libx264", "aac", "video/mp4"),
        ("silent.mp4", "libx264", None, "video/mp4"),
        ("a.webm", "libvpx", "libopus", "video/webm"),
    ],
)
def test_a_video_that_browsers_play_is_embedded_as_it_is(
    tmp_path: Path, name: str, picture: str, sound: str | None, mime: str
) -> None:
    path = video(tmp_path / name, 1.0, picture, sound)
    assert only(path) == Player("video", mime, path.read_bytes())


def test_streams_that_browsers_play_are_put_into_a_container_that_they_read(tmp_path: Path) -> None:
    found = only(video(tmp_path / "a.mkv", 2.0))
    assert (found.kind, found.type, found.note) == ("video", "video/mp4", None)
    assert found.content is not None
    with av.open(io.BytesIO(found.content)) as container:
        assert "mp4" in container.format.name
        assert len(list(container.decode(video=0))) == 50
    assert len(samples(found.content, rate=48_000)) / 48_000 == pytest.approx(2.0, abs=0.05)


@pytest.mark.parametrize(
    ("name", "picture", "sound"),
    [("a.mpg", "mpeg1video", "mp2"), ("a.mkv", "libx264", "flac"), ("a.avi", "mpeg4", "mp3")],
)
def test_of_other_videos_the_sound_is_embedded_and_the_page_says_so(
    tmp_path: Path, name: str, picture: str, sound: str
) -> None:
    found = only(video(tmp_path / name, 2.0, picture, sound))
    assert found.type == "audio/mpeg"
    assert found.note == "Sound only: the picture is left out, as browsers do not play this kind of file."
    assert len(samples(found.content)) / 16_000 == pytest.approx(2.0, abs=0.05)


def test_of_a_large_video_the_sound_is_embedded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = video(tmp_path / "a.mp4", 1.0)
    monkeypatch.setattr(player, "VIDEO_LIMIT", path.stat().st_size - 1)
    found = only(path)
    assert found.kind == "audio"
    assert found.note == "Sound only: the picture is left out, as it is too large to put into the page."


def test_what_does_not_fit_is_linked_beside_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "in").mkdir()
    first, second = wav(tmp_path / "in" / "a.wav", 2.0), wav(tmp_path / "in" / "b c#1.wav", 2.0)
    monkeypatch.setattr(player, "MEDIA_LIMIT", 8_000)  # two seconds at 24 kbit/s are 6 kB
    lines = [Timeline("a", 2.0, ()), Timeline("b", 2.0, ())]
    a, b = make_players(lines, {"a": first, "b": second}, tmp_path / "pages")
    assert a is not None
    assert b is not None
    assert len(samples(a.content)) == 32_000
    assert b.href == "./../in/b%20c%231.wav"
    assert "not inside this page" in (b.note or "")


def test_the_bit_rate_follows_the_length(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = wav(tmp_path / "a.wav", 4.0)
    sizes = []
    for limit in (30_000, 17_000, 14_000):
        monkeypatch.setattr(player, "MEDIA_LIMIT", limit)
        sizes.append(len(only(path).content or b""))
    assert sizes == pytest.approx([24_000, 16_000, 12_000], rel=0.05)


@pytest.mark.parametrize("content", [None, b"", b"not media at all" * 100])
def test_a_recording_that_cannot_be_read_is_linked(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "talk.wav"
    if content is not None:
        path.write_bytes(content)
    assert only(path) == Player("audio", href="./talk.wav", note="The recording could not be put into the page.")


def test_a_cover_picture_is_not_a_video(tmp_path: Path) -> None:
    path = tmp_path / "song.m4a"
    with av.open(str(path), "w", format="mp4") as out:
        cover = out.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 32, 32, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        sounds = out.add_stream("aac", rate=16_000, layout="mono")
        out.mux(cover.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")))
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 16_000), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16_000
        out.mux(sounds.encode(frame))
        out.mux(sounds.encode(None))
    found = only(path)
    assert (found.kind, found.type, found.note) == ("audio", "audio/mpeg", None)
