import io
from collections.abc import Sequence
from fractions import Fraction
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import av
import cv2
import numpy as np
import pytest
import soundfile as sf

from emofuse.errors import ConfigError, DataError
from emofuse.media import video
from emofuse.media.audio import AudioSpool, read_audio
from emofuse.media.video import Frame, MediaInfo, probe, read_frames


def load_fuzz_media() -> ModuleType:
    spec = spec_from_file_location("fuzz_media", Path(__file__).parents[2] / "benchmarks" / "fuzz_media.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


fuzz_media = load_fuzz_media()
VIDEO_SUFFIXES = [suffix for suffix, codecs in fuzz_media.CONTAINERS.items() if codecs[1]]
AUDIO_SUFFIXES = [suffix for suffix, codecs in fuzz_media.CONTAINERS.items() if not codecs[1]]
N_STEPS = 25


def numbered(n: int) -> np.ndarray:
    """Pictures whose grey tells their number modulo 25: (n, 48, 64, 3)."""
    grey = (10 * (np.arange(n) % N_STEPS)).astype(np.uint8)
    return np.broadcast_to(grey[:, None, None, None], (n, 48, 64, 3)).copy()


def numbers(frames: Sequence[Frame]) -> list[int]:
    """Inverse of `numbered`."""
    return [round(float(frame.image.mean()) / 10) for frame in frames]


def write_numbered(path: Path, n: int = 75, times_s: tuple[float, ...] = (), turn: int = 0) -> Path:
    return fuzz_media.write_media(path, fuzz_media.Clip(None, pictures=numbered(n), times_s=times_s, turn=turn))


@pytest.mark.parametrize("suffix", VIDEO_SUFFIXES)
def test_every_container_on_its_own_grid(tmp_path, suffix):
    path = write_numbered(tmp_path / f"a.{suffix}")
    frames = list(read_frames(path, 25.0))
    assert [frame.time_s for frame in frames] == pytest.approx([k / 25 for k in range(75)])
    off = np.abs(np.subtract(numbers(frames), [k % N_STEPS for k in range(75)]))
    # FFmpeg puts small pictures that share a packet of an .mpg one place late
    assert np.minimum(off, N_STEPS - off).max() <= (1 if suffix == "mpg" else 0)
    assert all(frame.image.shape == (48, 64, 3) and frame.image.dtype == np.uint8 for frame in frames)


@pytest.mark.parametrize("rate", [10.0, 7.3, 60.0])
def test_another_rate_takes_the_last_picture_that_began(tmp_path, rate):
    path = write_numbered(tmp_path / "a.mkv")
    frames = list(read_frames(path, rate))
    times = [k / rate for k in range(round(3 * rate))]
    assert [frame.time_s for frame in frames] == pytest.approx(times)
    assert numbers(frames) == [int(time * 25 + 0.02) % N_STEPS for time in times]


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_a_varying_frame_rate(tmp_path, suffix):
    path = write_numbered(tmp_path / f"a.{suffix}", 5, times_s=(0.0, 0.1, 0.5, 0.52, 1.25))
    frames = [frame for frame in read_frames(path, 10.0) if frame.time_s < 1.3]
    assert numbers(frames) == [0, 1, 1, 1, 1, 2, 3, 3, 3, 3, 3, 3, 3]
    assert frames[7].image is frames[8].image


@pytest.mark.parametrize("suffix", VIDEO_SUFFIXES)
@pytest.mark.parametrize("seek", [False, True])
def test_a_part_equals_the_slice_of_the_whole(tmp_path, monkeypatch, suffix, seek):
    path = write_numbered(tmp_path / f"a.{suffix}")
    whole = list(read_frames(path, 25.0))
    if seek:
        monkeypatch.setattr(video, "_SEEK_FROM_S", 0.0)
    for first, last in ((30, 41), (1, 2), (70, 75)):
        part = list(read_frames(path, 25.0, first / 25, last / 25))
        assert [frame.time_s for frame in part] == pytest.approx([k / 25 for k in range(first, last)])
        for frame, expected in zip(part, whole[first:last], strict=True):
            np.testing.assert_array_equal(frame.image, expected.image)
    assert list(read_frames(path, 25.0, 60.0)) == []


def test_a_late_part_is_sought_not_decoded_from_the_beginning(tmp_path, monkeypatch):
    path = write_numbered(tmp_path / "a.mp4")
    monkeypatch.setattr(video, "_SEEK_FROM_S", 0.0)
    times = []
    decode = video.decoded

    def watched(*arguments):
        for frame in decode(*arguments):
            times.append(frame.time)
            yield frame

    monkeypatch.setattr(video, "decoded", watched)
    assert len(list(read_frames(path, 25.0, 2.5, 2.6))) == 3
    assert min(times) > 1.5


@pytest.mark.parametrize("suffix", [suffix for suffix in VIDEO_SUFFIXES if suffix != "avi"])
def test_pictures_and_late_sound_share_a_timeline(tmp_path, suffix):
    pictures = np.zeros((75, 48, 64, 3), np.uint8)
    pictures[50] = 255
    click = np.zeros((1, 96_000), np.float32)
    click[0, 48_000:48_480] = 0.9
    path = fuzz_media.write_media(
        tmp_path / f"a.{suffix}", fuzz_media.Clip(click, pictures=pictures, audio_start_s=1.0)
    )
    assert [frame.time_s for frame in read_frames(path, 25.0) if frame.image.mean() > 100] == [2.0]
    heard = np.flatnonzero(np.abs(read_audio(path)) > 0.4) / 16_000
    assert heard[0] == pytest.approx(2.0, abs=0.005)
    assert heard[-1] == pytest.approx(2.01, abs=0.005)


def test_pictures_that_begin_late_leave_the_grid_empty_before(tmp_path):
    clip = fuzz_media.Clip(np.zeros((1, 96_000)), pictures=numbered(2), times_s=(1.0, 1.5))
    path = fuzz_media.write_media(tmp_path / "a.mkv", clip)
    frames = list(read_frames(path, 4.0))
    assert [frame.time_s for frame in frames][:3] == [1.0, 1.25, 1.5]
    assert numbers(frames)[:3] == [0, 0, 1]


def corner_picture() -> np.ndarray:
    """Bright in its upper left: (1, 48, 64, 3)."""
    picture = np.full((1, 48, 64, 3), 20, np.uint8)
    picture[0, :24, :32] = 230
    return picture


@pytest.mark.parametrize("turn", [90, 180, -90])
def test_phones_store_how_to_turn(tmp_path, turn):
    clip = fuzz_media.Clip(None, pictures=np.repeat(corner_picture(), 5, axis=0), turn=turn)
    path = fuzz_media.write_media(tmp_path / "a.mp4", clip)
    expected = np.rot90(corner_picture()[0], turn // 90)  # anticlockwise
    frame = next(read_frames(path, 25.0))
    np.testing.assert_allclose(frame.image, expected, atol=40)
    assert np.abs(frame.image.astype(float) - expected).mean() < 6
    info = probe(path)
    assert (info.height, info.width) == expected.shape[:2]
    assert info.rotation == -turn % 360


def test_mirrored_and_wide_pixels(tmp_path):
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25, width=64, height=48)
        stream.codec_context.sample_aspect_ratio = Fraction(2, 1)
        stream.set_display_rotation(0, hflip=True)
        container.mux(stream.encode(av.VideoFrame.from_ndarray(corner_picture()[0], format="rgb24")))
        container.mux(stream.encode(None))
    frame = next(read_frames(path, 25.0))
    assert frame.image.shape == (48, 128, 3)
    bright = frame.image.mean(axis=2) > 125
    assert bright[:22, 66:].all()
    assert not bright[:, :62].any()
    info = probe(path)
    assert (info.width, info.height) == (128, 48)


def test_a_longest_side_can_be_set(tmp_path):
    path = fuzz_media.write_media(tmp_path / "a.mp4", fuzz_media.Clip(None, pictures=corner_picture()))
    whole = next(read_frames(path, 25.0)).image
    small = next(read_frames(path, 25.0, max_side=32)).image
    np.testing.assert_array_equal(small, cv2.resize(whole, (32, 24), interpolation=cv2.INTER_AREA))
    np.testing.assert_array_equal(next(read_frames(path, 25.0, max_side=64)).image, whole)
    assert next(read_frames(path, 25.0, max_side=1)).image.shape == (1, 1, 3)


def test_damaged_pictures_are_skipped(tmp_path):
    path = write_numbered(tmp_path / "a.mp4")
    data = bytearray(path.read_bytes())
    middle = data.index(b"mdat") + 1_200
    data[middle : middle + 400] = np.random.default_rng(0).bytes(400)
    path.write_bytes(data)
    frames = list(read_frames(path, 25.0))
    assert [frame.time_s for frame in frames] == pytest.approx([k / 25 for k in range(len(frames))])
    assert len(frames) >= 70


def refusal(path: Path) -> str:
    with pytest.raises(DataError) as error:
        list(read_frames(path, 5.0))
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)
    return str(error.value).removeprefix(f"{path}: ")


def test_what_has_no_video(tmp_path):
    sf.write(tmp_path / "a.wav", np.zeros(16_000), 16_000)
    assert refusal(tmp_path / "a.wav") == "no video stream"
    (tmp_path / "a.mp4").write_text("no picture here\n" * 100)
    assert refusal(tmp_path / "a.mp4") == "not a media file that can be decoded"
    assert refusal(tmp_path / "none.mp4") == "no such file"
    (tmp_path / "empty.mp4").touch()
    assert refusal(tmp_path / "empty.mp4") == "empty file"


def test_hostile_sizes_are_refused(tmp_path, monkeypatch):
    path = tmp_path / "a.avi"
    fuzz_media.write_media(path, fuzz_media.Clip(None, pictures=numbered(3)), codecs=(None, "rawvideo"))
    data = path.read_bytes()
    size, hostile = ((np.array(sides, "<i4").tobytes()) for sides in ((64, 48), (30_000, 30_000)))
    assert size in data
    path.write_bytes(data.replace(size, hostile))
    assert "\n" not in refusal(path)
    monkeypatch.setattr(video, "MAX_PIXELS", 1_000)
    assert refusal(write_numbered(tmp_path / "b.mp4", 3)) == "pictures of 64 × 48 pixels; need at most 8192 × 4608"


@pytest.mark.parametrize(
    "arguments", [(0.0,), (-1.0,), (float("nan"),), (5.0, -1.0), (5.0, 2.0, 1.0), (5.0, 0.0, 1.0, 0)]
)
def test_numbers_out_of_range(tmp_path, arguments):
    with pytest.raises(ConfigError):
        read_frames(tmp_path / "a.mp4", *arguments)


@pytest.mark.parametrize("suffix", fuzz_media.CONTAINERS)
def test_probe_of_every_container(tmp_path, suffix):
    info = probe(fuzz_media.write_media(tmp_path / f"a.{suffix}", fuzz_media.example_clip(2.0)))
    assert info.duration_s == pytest.approx(2.0, abs=0.1)
    pictures = (64, 48, 25.0) if suffix in VIDEO_SUFFIXES else (None, None, None)
    seekable = suffix in VIDEO_SUFFIXES and suffix not in ("mpg", "ts")
    expected = MediaInfo(info.duration_s, True, suffix in VIDEO_SUFFIXES, 48_000, 1, *pictures, seekable=seekable)
    assert info == expected


def test_probe_of_pictures_alone_and_of_a_live_recording(tmp_path):
    info = probe(write_numbered(tmp_path / "a.mp4"))
    assert info == MediaInfo(3.0, False, True, width=64, height=48, frame_rate=25.0, seekable=True)
    whole = fuzz_media.write_media(tmp_path / "a.mkv", fuzz_media.example_clip(2.0))
    stream = io.BytesIO()
    stream.seekable = lambda: False
    with av.open(str(whole)) as source, av.open(stream, "w", format="matroska", options={"live": "1"}) as live:
        streams = {old.index: live.add_stream_from_template(old) for old in source.streams}
        for packet in source.demux():
            if packet.dts is not None:
                packet.stream = streams[packet.stream.index]
                live.mux(packet)
    path = tmp_path / "live.mkv"
    path.write_bytes(stream.getvalue())
    with av.open(str(path)) as container:
        assert container.duration is None
    assert probe(path).duration_s == pytest.approx(2.0, abs=0.05)


def png() -> bytes:
    return cv2.imencode(".png", corner_picture()[0])[1].tobytes()


def test_the_cover_of_an_album_is_no_video(tmp_path):
    sound = fuzz_media.example_clip(1.0)
    picture = b"\0image/png\0\3\0" + png()
    frame = b"APIC" + len(picture).to_bytes(4, "big") + b"\0\0" + picture
    size = bytes((len(frame) >> shift) & 0x7F for shift in (21, 14, 7, 0))
    tagged = b"ID3\3\0\0" + size + frame
    with_cover = tmp_path / "a.mp3"
    with_cover.write_bytes(tagged + fuzz_media.write_media(tmp_path / "b.mp3", sound).read_bytes())
    with av.open(str(with_cover)) as container:
        assert container.streams.video
    m4a = tmp_path / "a.m4a"
    with (
        av.open(str(fuzz_media.write_media(tmp_path / "b.m4a", sound))) as source,
        av.open(str(m4a), "w", format="mp4") as target,
    ):
        audio = target.add_stream_from_template(source.streams.audio[0])
        cover = target.add_stream("mjpeg", rate=1, width=64, height=48)
        cover.pix_fmt = "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        for packet in cover.encode(av.VideoFrame.from_ndarray(corner_picture()[0], format="rgb24")):
            target.mux(packet)
        for packet in source.demux():
            if packet.dts is not None:
                packet.stream = audio
                target.mux(packet)
    for path in (with_cover, m4a):
        assert probe(path).has_audio
        assert not probe(path).has_video
        assert refusal(path) == "no video stream"
        assert len(read_audio(path)) == pytest.approx(16_000, abs=1_000)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".tiff", ".webp"])
def test_a_still_picture_is_no_media(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    cv2.imwrite(str(path), corner_picture()[0])
    for name in (path.name, "b.mp4"):
        with pytest.raises(DataError, match=r": not a media file that can be decoded$"):
            probe(path.rename(tmp_path / name))
        path = tmp_path / name


def test_silent_and_video_only_files(tmp_path):
    silent = fuzz_media.Clip(np.zeros((1, 48_000)), pictures=numbered(25))
    path = fuzz_media.write_media(tmp_path / "a.mp4", silent)
    with AudioSpool(path) as spool:
        assert not spool.read(0.0, 1.0).any()
    path = write_numbered(tmp_path / "b.mp4")
    with pytest.raises(DataError, match="no audio stream"), AudioSpool(path):
        pass


def test_mutated_files_are_read_or_refused(tmp_path):
    suffixes = list(fuzz_media.CONTAINERS)
    seeds = [fuzz_media.write_media(tmp_path / f"s.{suffix}", fuzz_media.example_clip(1.0)) for suffix in suffixes]
    contents = [seed.read_bytes() for seed in seeds]
    outcomes = set()
    for n in range(60):
        rng = np.random.default_rng([100, n])
        path = tmp_path / f"mutated-{n}.{suffixes[n % len(suffixes)]}"
        path.write_bytes(fuzz_media.mutate(contents[n % len(contents)], contents[rng.integers(len(contents))], rng))
        outcome, words = fuzz_media.check(path)
        assert outcome in ("read", "refused"), f"{path.name}: {words}"
        outcomes.add(outcome)
    assert outcomes == {"read", "refused"}


@pytest.mark.corpora
def test_real_clips(corpora_dir):
    for clip in sorted((corpora_dir / "clips" / "grid").glob("*.mpg")):
        frames = list(read_frames(clip, 25.0))
        assert len(frames) == pytest.approx(75, abs=1)
        info = probe(clip)
        assert frames[0].image.shape == (info.height, info.width, 3)
        assert info.duration_s == pytest.approx(3.0, abs=0.1)
        assert info.has_audio
