import re
import tracemalloc
import wave
from collections.abc import Sequence
from fractions import Fraction
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import av
import numpy as np
import pytest
import soundfile as sf

from emofuse.errors import DataError
from emofuse.media import audio
from emofuse.media.audio import SAMPLE_RATE, AudioSpool, audio_duration_s, read_audio, stream_audio


def load_fuzz_media() -> ModuleType:
    spec = spec_from_file_location("fuzz_media", Path(__file__).parents[2] / "benchmarks" / "fuzz_media.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


fuzz_media = load_fuzz_media()


def sine(seconds: float, rate: int = SAMPLE_RATE, hertz: float = 440.0) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def write_mp4(path: Path, waveform: np.ndarray, rate: int, codecs: Sequence[str] = ("aac",)) -> Path:
    """A video file with one audio stream (aac), or one without (only mpeg4)."""
    with av.open(str(path), "w") as container:
        if "mpeg4" in codecs:
            video = container.add_stream("mpeg4", rate=25, width=32, height=32)
            container.mux(video.encode(av.VideoFrame(32, 32, "yuv420p")))
            container.mux(video.encode(None))
        if "aac" in codecs:
            audio = container.add_stream("aac", rate=rate, layout="mono")
            frame = av.AudioFrame.from_ndarray(waveform[None], format="fltp", layout="mono")
            frame.sample_rate = rate
            container.mux(audio.encode(frame))
            container.mux(audio.encode(None))
    return path


def test_16_khz_mono_is_returned_as_written(tmp_path):
    path = tmp_path / "a.wav"
    sf.write(path, sine(0.5), SAMPLE_RATE, subtype="FLOAT")
    waveform = read_audio(path)
    assert waveform.dtype == np.float32
    np.testing.assert_array_equal(waveform, sine(0.5))
    assert audio_duration_s(path) == 0.5


def test_channels_are_averaged(tmp_path):
    path = tmp_path / "a.wav"
    sf.write(path, np.tile(np.float32([[0.75, -0.25]]), (SAMPLE_RATE, 1)), SAMPLE_RATE, subtype="FLOAT")
    np.testing.assert_array_equal(read_audio(path), np.full(SAMPLE_RATE, 0.25, np.float32))


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 48_000])
def test_resampling_keeps_a_sine(tmp_path, rate):
    path = tmp_path / "a.flac"
    sf.write(path, sine(1.0, rate), rate)
    waveform = read_audio(path)
    assert len(waveform) == SAMPLE_RATE
    inner = slice(1000, -1000)  # the filter rings at the two ends
    np.testing.assert_allclose(waveform[inner], sine(1.0)[inner], atol=2e-3)


def test_another_sample_rate_can_be_asked_for(tmp_path):
    path = tmp_path / "a.wav"
    sf.write(path, sine(0.5), SAMPLE_RATE)
    assert len(read_audio(path, sample_rate=8_000)) == 4_000


def test_a_part_equals_the_slice_of_the_whole(tmp_path):
    path = tmp_path / "a.wav"
    sf.write(path, sine(2.0), SAMPLE_RATE)
    whole = read_audio(path)
    np.testing.assert_array_equal(read_audio(path, 0.5, 1.25), whole[8_000:20_000])
    np.testing.assert_array_equal(read_audio(path, 1.5), whole[24_000:])
    np.testing.assert_array_equal(read_audio(path, None, 0.2), whole[:3_200])
    # annotated ends overshoot a little
    np.testing.assert_array_equal(read_audio(path, 1.5, 2.4), whole[24_000:])


def test_samples_beyond_full_scale_are_clipped(tmp_path):
    path = tmp_path / "a.wav"
    sf.write(path, 4 * sine(0.5), SAMPLE_RATE, subtype="FLOAT")
    assert np.abs(read_audio(path)).max() == 1.0


def test_ffmpeg_reads_what_libsndfile_does_not(tmp_path):
    path = write_mp4(tmp_path / "a.mp4", sine(1.0), SAMPLE_RATE)
    waveform = read_audio(path)
    assert len(waveform) == pytest.approx(SAMPLE_RATE, abs=2048)
    assert audio_duration_s(path) == pytest.approx(1.0, abs=0.1)
    spectrum = np.abs(np.fft.rfft(waveform[4_000:12_000]))
    assert spectrum.argmax() * 2 == 440
    # no sample lost or shifted by reading a part
    np.testing.assert_array_equal(read_audio(path, 0.25, 0.75), waveform[4_000:12_000])


def test_a_stream_whose_header_holds_no_length_is_read(tmp_path):
    path = tmp_path / "a.flac"
    sf.write(path, sine(1.0), SAMPLE_RATE)
    data = bytearray(path.read_bytes())
    # STREAMINFO begins at byte 8; its 36-bit number of samples is the low 4 bits of byte 21 and bytes 22-25
    data[21] &= 0xF0
    data[22:26] = bytes(4)
    path.write_bytes(data)
    np.testing.assert_allclose(read_audio(path), sine(1.0), atol=1e-4)
    assert audio_duration_s(path) == pytest.approx(1.0)


def message(path: Path, *part: float) -> str:
    with pytest.raises(DataError) as error:
        read_audio(path, *part)
    text = str(error.value)
    assert "\n" not in text
    assert text.startswith(f"{path}: ")
    return text.removeprefix(f"{path}: ")


def test_missing_folder_and_empty(tmp_path):
    assert message(tmp_path / "none.wav") == "no such file"
    assert message(tmp_path) == "a folder, not a media file"
    (tmp_path / "a.wav").touch()
    assert message(tmp_path / "a.wav") == "empty file"


@pytest.mark.parametrize("suffix", [".wav", ".mp4", ""])
def test_not_a_media_file(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(b"\x01\xfe no sound here " * 200)
    assert message(path) == "not a media file that can be decoded"
    with pytest.raises(DataError, match="not a media file that can be decoded"):
        audio_duration_s(path)


def test_headerless_raw_file(tmp_path):
    path = tmp_path / "a.raw"
    path.write_bytes(bytes(4_000))
    assert message(path) == "not a media file that can be decoded"  # nothing says what it holds


def test_no_audio_stream(tmp_path):
    path = write_mp4(tmp_path / "a.mp4", sine(0.1), SAMPLE_RATE, codecs=["mpeg4"])
    assert message(path) == "no audio stream"


def test_too_short(tmp_path):
    path = tmp_path / "a.wav"
    sf.write(path, sine(0.02), SAMPLE_RATE)
    assert message(path) == "0.02 s of audio, need at least 0.1 s"
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, SAMPLE_RATE, 0, "NONE", ""))
    assert message(path) == "0 s of audio, need at least 0.1 s"


def test_part_not_within_the_file(tmp_path):
    path = tmp_path / "a.wav"
    sf.write(path, sine(2.0), SAMPLE_RATE)
    assert message(path, 3.0, 4.0) == "part from 3 s to 4 s lies beyond the end at 2.00 s"
    assert message(path, 1.0, 9.0) == "part from 1 s to 9 s lies beyond the end at 2.00 s"
    assert message(path, 2.0) == "part from 2 s to its end lies beyond the end at 2.00 s"
    assert message(path, 1.0, 1.05) == "0.05 s of audio, need at least 0.1 s"
    assert message(path, -1.0, 1.0).endswith("need 0 <= start < end")
    assert message(path, 1.0, 1.0).endswith("need 0 <= start < end")
    assert message(path, float("nan"), 1.0).endswith("need 0 <= start < end")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_and_infinite_samples(tmp_path, value):
    path, waveform = tmp_path / "a.wav", sine(0.5)
    waveform[100] = value
    sf.write(path, waveform, SAMPLE_RATE, subtype="FLOAT")
    assert message(path) == "holds NaN or infinite samples"


def test_a_playlist_fetches_nothing(tmp_path):
    path = tmp_path / "a.m3u8"
    path.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:9,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n")
    assert message(path) in ("not a media file that can be decoded", "no audio stream")


def concatenated(path: Path, block_s: float) -> np.ndarray:
    blocks = list(stream_audio(path, block_s))
    assert {len(block) for block in blocks[:-1]} <= {round(block_s * SAMPLE_RATE)}
    assert 0 < len(blocks[-1]) <= round(block_s * SAMPLE_RATE)
    assert all(block.dtype == np.float32 for block in blocks)
    return np.concatenate(blocks)


@pytest.mark.parametrize(("rate", "n_channels"), [(8_000, 1), (16_000, 2), (44_100, 1), (48_000, 7), (192_000, 1)])
def test_blocks_make_up_the_whole(tmp_path, rate, n_channels):
    path = tmp_path / "a.wav"
    sf.write(path, np.tile(sine(2.3, rate)[:, None], (1, n_channels)), rate)
    waveform = read_audio(path)
    assert len(waveform) == round(2.3 * SAMPLE_RATE)
    np.testing.assert_allclose(waveform[1000:-1000], sine(2.3)[1000:-1000], atol=2e-3)
    for block_s in (0.02, 0.7, 30.0):
        np.testing.assert_allclose(concatenated(path, block_s), waveform, atol=1e-4)


@pytest.mark.parametrize("suffix", fuzz_media.CONTAINERS)
def test_every_container(tmp_path, suffix):
    clip = fuzz_media.Clip(sine(2.0, 48_000)[None], pictures=fuzz_media.example_clip().pictures)
    path = fuzz_media.write_media(tmp_path / f"a.{suffix}", clip)
    waveform = read_audio(path)
    assert len(waveform) / SAMPLE_RATE == pytest.approx(2.0, abs=0.1)
    assert np.abs(np.fft.rfft(waveform[8_000:24_000])).argmax() == 440
    assert audio_duration_s(path) == pytest.approx(2.0, abs=0.1)
    np.testing.assert_allclose(concatenated(path, 0.5), waveform, atol=1e-4)
    with AudioSpool(path) as spool:
        assert spool.problem is None
        np.testing.assert_array_equal(np.concatenate(list(spool.blocks(0.3))), waveform)
    # what counts is the content
    for name in ("b.mp4", "b.wav", "b.raw", "b"):
        np.testing.assert_allclose(read_audio(path.rename(tmp_path / name)), waveform, atol=1e-5)
        path = tmp_path / name


@pytest.mark.parametrize("codec", ["pcm_s16le", "flac", "aac"])
@pytest.mark.parametrize("n_channels", [2, 7, 8])
def test_many_channels_of_ffmpeg(tmp_path, codec, n_channels):
    clip = fuzz_media.Clip(np.tile(sine(1.0, 48_000), (n_channels, 1)))
    path = fuzz_media.write_media(tmp_path / "a.mkv", clip, codecs=(codec, None))
    waveform = read_audio(path)
    # AAC keeps little of the channel for low effects; the others are exact
    loudness = np.sqrt(2 * np.mean(waveform[1000:15_000] ** 2))
    assert loudness == pytest.approx(0.5, rel=0.2 if codec == "aac" else 0.01)
    assert np.abs(np.fft.rfft(waveform[:16_000])).argmax() == 440


def test_a_stream_that_appears_midway_is_left_out(tmp_path):
    first = fuzz_media.write_media(tmp_path / "a.ts", fuzz_media.example_clip(), codecs=("mp2", None))
    second = fuzz_media.write_media(tmp_path / "b.ts", fuzz_media.example_clip())
    path = tmp_path / "c.ts"
    path.write_bytes(first.read_bytes() * 40 + second.read_bytes() * 2)
    with AudioSpool(path) as spool:
        assert spool.duration_s > 79.0


def write_matroska(path: Path, *parts: tuple[float, np.ndarray]) -> Path:
    """16 kHz parts of a waveform, each with its start in seconds, beside a black picture at 0 s."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("mpeg4", rate=25, width=32, height=32)
        stream = container.add_stream("pcm_s16le", rate=SAMPLE_RATE, layout="mono")
        container.mux(video.encode(av.VideoFrame(32, 32, "yuv420p")))
        container.mux(video.encode(None))
        for start_s, waveform in parts:
            samples = (waveform * 32_767).astype(np.int16)[None]
            frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
            frame.sample_rate, frame.time_base = SAMPLE_RATE, Fraction(1, SAMPLE_RATE)
            frame.pts = round(start_s * SAMPLE_RATE)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def test_a_late_start_and_a_gap_are_silence(tmp_path):
    path = write_matroska(tmp_path / "a.mkv", (0.5, sine(1.0)), (2.5, sine(0.25)), (2.77, sine(1.0)))
    waveform = read_audio(path)
    expected = np.zeros(60_000, np.float32)
    expected[8_000:24_000], expected[40_000:44_000] = sine(1.0), sine(0.25)
    expected[44_000:] = sine(1.0)  # 20 ms are the jitter of a recorder, no gap
    np.testing.assert_allclose(waveform, expected, atol=1e-3)
    assert not waveform[:8_000].any()
    np.testing.assert_array_equal(concatenated(path, 0.4), waveform)
    np.testing.assert_array_equal(read_audio(path, 2.6, 3.0), waveform[41_600:48_000])
    with AudioSpool(path) as spool:
        np.testing.assert_array_equal(spool.read(2.6, 3.0), waveform[41_600:48_000])


def test_a_broken_time_stamp_makes_no_hours_of_silence(tmp_path):
    path = write_matroska(tmp_path / "a.mkv", (0.0, sine(0.5)), (7_200.0, sine(0.5)))
    np.testing.assert_allclose(read_audio(path), np.tile(sine(0.5), 2), atol=1e-3)


def test_a_spool_reads_parts_as_read_audio_does(tmp_path, monkeypatch):
    monkeypatch.setattr(audio, "_SPOOL_BYTES", 10_000)  # so that it moves to the disk
    path = tmp_path / "a.wav"
    sf.write(path, sine(2.0), SAMPLE_RATE)
    done = []
    with AudioSpool(path, on_progress=done.append) as spool:
        assert spool.duration_s == done[-1] == 2.0
        for start_s, end_s in ((1.5, 1.75), (0.0, 2.0), (0.5, 2.4)):
            np.testing.assert_array_equal(spool.read(start_s, end_s), read_audio(path, start_s, end_s))
        spool.read(0.0, 1.0)[:] = 0  # a copy that may be changed
        np.testing.assert_array_equal(spool.read(0.0, 1.0), sine_as_read(path)[:SAMPLE_RATE])
        for part in ((3.0, 4.0), (1.0, 9.0), (1.0, 1.01), (1.0, 1.0), (-1.0, 1.0), (float("nan"), 1.0)):
            with pytest.raises(DataError) as error:
                spool.read(*part)
            assert str(error.value) == f"{path}: {message(path, *part)}"


def sine_as_read(path: Path) -> np.ndarray:
    return sf.read(path, dtype="float32")[0]


def test_a_spool_of_ten_minutes_needs_little_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(audio, "_SPOOL_BYTES", 2**20)
    path = tmp_path / "a.flac"
    sf.write(path, np.zeros(600 * 8_000, np.int16), 8_000)  # 38 MB when decoded
    done = []
    tracemalloc.start()
    with AudioSpool(path, on_progress=done.append) as spool:
        assert sum(len(block) for block in spool.blocks()) == 600 * SAMPLE_RATE
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20e6
    assert done == sorted(done)
    assert len(done) == 20


def spool_or_refusal(path: Path) -> AudioSpool | str:
    try:
        with AudioSpool(path) as spool:
            return spool
    except DataError as error:
        refusal = str(error)
    assert refusal.startswith(f"{path}: ")
    assert "\n" not in refusal
    return refusal.removeprefix(f"{path}: ")


@pytest.mark.parametrize("suffix", fuzz_media.CONTAINERS)
def test_truncated_files_give_what_is_there(tmp_path, suffix):
    options = {"movflags": "faststart"} if suffix in ("mp4", "m4a", "mov") else {}
    whole = fuzz_media.write_media(tmp_path / f"a.{suffix}", fuzz_media.example_clip(4.0), options=options).read_bytes()
    path = tmp_path / f"cut.{suffix}"
    durations = []
    for tenth in range(1, 10):
        path.write_bytes(whole[: len(whole) * tenth // 10])
        found = spool_or_refusal(path)
        durations.append(found.duration_s if isinstance(found, AudioSpool) else 0.0)
    assert durations == sorted(durations)
    assert durations[-1] > 2.5


def test_the_problem_of_a_truncated_file_is_said(tmp_path):
    path = tmp_path / "a.mp4"
    fuzz_media.write_media(path, fuzz_media.example_clip(4.0), options={"movflags": "faststart"})
    path.write_bytes(path.read_bytes()[:-20_000])
    found = spool_or_refusal(path)
    assert isinstance(found, AudioSpool)
    assert found.problem is not None
    assert found.problem.startswith(f"{path}: ")
    assert "\n" not in found.problem


@pytest.mark.parametrize("suffix", ["wav", "aiff", "flac"])
def test_a_cut_file_says_where_its_sound_ends(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    sf.write(path, np.random.default_rng(0).uniform(-0.5, 0.5, 4 * SAMPLE_RATE), SAMPLE_RATE)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    found = spool_or_refusal(path)
    assert isinstance(found, AudioSpool)
    assert found.problem is not None
    assert re.search(r"sound ends at (1\.[789]|2\.0) s of the 4\.0 s in its header", found.problem)


@pytest.mark.parametrize("size", [0, 2**31 - 1, 2**32 - 1])
def test_a_recorder_that_never_wrote_the_length_is_read_to_the_end(tmp_path, size):
    path = tmp_path / "a.wav"
    sf.write(path, sine(2.0), SAMPLE_RATE)
    data = bytearray(path.read_bytes())
    at = data.index(b"data") + 4
    data[at : at + 4] = size.to_bytes(4, "little")
    path.write_bytes(data)
    found = spool_or_refusal(path)
    assert isinstance(found, AudioSpool)
    assert found.duration_s == pytest.approx(2.0, abs=0.05)
    assert found.problem is None


def corrupt(path: Path, n_bytes: int = 3_000) -> Path:
    """Noise in place of a piece in the middle."""
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + n_bytes] = np.random.default_rng(0).bytes(n_bytes)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("suffix", ["flac", "mkv", "ts", "mpg"])
def test_corrupt_files_keep_their_timeline(tmp_path, suffix):
    path = fuzz_media.write_media(tmp_path / f"a.{suffix}", fuzz_media.example_clip(4.0))
    intact = read_audio(path)
    with AudioSpool(corrupt(path)) as spool:
        assert spool.duration_s == pytest.approx(4.0, abs=0.1)
        np.testing.assert_allclose(spool.read(0.2, 1.0), intact[3_200:16_000], atol=2e-3)
        lag = np.correlate(spool.read(3.0, 3.8), intact[49_600:59_200], "valid").argmax() - 1_600
        assert abs(lag) / SAMPLE_RATE <= 0.05


@pytest.mark.parametrize("suffix", ["flac", "mp3"])
def test_damage_is_told_by_a_spool_and_refused_elsewhere(tmp_path, suffix, capfd):
    path = corrupt(fuzz_media.write_media(tmp_path / f"a.{suffix}", fuzz_media.example_clip(4.0)))
    with AudioSpool(path) as spool:
        assert spool.problem is not None
        assert spool.problem.startswith(f"{path}: damaged; ")
        assert spool.duration_s > 3.0
    assert message(path) == spool.problem.removeprefix(f"{path}: ")
    blocks = stream_audio(path, 1.0)
    assert len(next(blocks)) == SAMPLE_RATE
    with pytest.raises(DataError, match="damaged; "):
        list(blocks)
    assert capfd.readouterr() == ("", "")


TEXT = "Dear reader, there is no sound in this letter.\n" * 200


@pytest.mark.parametrize(
    "suffix", ["mp4", "mp3", "wav", "au", "vox", "gsm", "raw", "aac", "ac3", "mpg", "ts", "txt", "h264"]
)
def test_text_by_another_name_is_refused(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    path.write_text(TEXT)
    assert message(path) in ("not a media file that can be decoded", "no audio stream")
    assert spool_or_refusal(path) == message(path)


def test_a_colon_in_the_name_is_no_address(tmp_path):
    path = fuzz_media.write_media(tmp_path / "a.mkv", fuzz_media.example_clip()).rename(tmp_path / "http:a.mkv")
    assert len(read_audio(path)) == pytest.approx(2 * SAMPLE_RATE, abs=1)


def test_a_playlist_of_other_files_is_refused(tmp_path):
    fuzz_media.write_media(tmp_path / "b.ts", fuzz_media.example_clip())
    for name, text in (
        ("a.m3u8", "#EXTM3U\n#EXTINF:2,\nb.ts\n#EXT-X-ENDLIST\n"),
        ("a.ffconcat", "ffconcat version 1.0\nfile b.ts\n"),
    ):
        (tmp_path / name).write_text(text)
        assert message(tmp_path / name) == "not a media file that can be decoded"


def test_nan_zero_length_and_silence_in_a_spool(tmp_path):
    waveform = sine(0.5)
    waveform[4_000] = np.nan
    sf.write(tmp_path / "nan.wav", waveform, SAMPLE_RATE, subtype="FLOAT")
    assert spool_or_refusal(tmp_path / "nan.wav") == "holds NaN or infinite samples"
    (tmp_path / "empty.mp4").touch()
    assert spool_or_refusal(tmp_path / "empty.mp4") == "empty file"
    sf.write(tmp_path / "short.wav", sine(0.02), SAMPLE_RATE)
    assert spool_or_refusal(tmp_path / "short.wav") == "0.02 s of audio, need at least 0.1 s"
    sf.write(tmp_path / "silent.wav", np.zeros(SAMPLE_RATE), SAMPLE_RATE)
    with AudioSpool(tmp_path / "silent.wav") as spool:
        assert not spool.read(0.0, 1.0).any()


def test_huge_samples_do_not_overflow(tmp_path):
    path = tmp_path / "a.wav"
    sf.write(path, np.full((8_000, 2), 3e38, np.float32), 8_000, subtype="FLOAT")
    assert message(path) == "holds NaN or infinite samples"  # the sum of both channels
    sf.write(path, np.full(8_000, 3e38, np.float32), 8_000, subtype="FLOAT")
    assert read_audio(path).max() == 1.0


def test_hostile_rates_and_lengths_are_refused(tmp_path, monkeypatch):
    path = tmp_path / "a.wav"
    sf.write(path, sine(1.0), SAMPLE_RATE)
    data = bytearray(path.read_bytes())
    data[24:28] = (3).to_bytes(4, "little")  # samples per second in a WAV header
    path.write_bytes(data)
    assert message(path) == "3 samples per second; need 1000 to 768000"
    monkeypatch.setattr(audio, "MAX_SECONDS", 0.5)
    sf.write(path, sine(1.0), SAMPLE_RATE)
    assert "h of audio; cut it into shorter files" in message(path)


@pytest.mark.corpora
def test_real_clips(corpora_dir):
    for clip in sorted((corpora_dir / "clips" / "grid").glob("*.mpg")):
        waveform = read_audio(clip)
        assert len(waveform) / SAMPLE_RATE == pytest.approx(3.0, abs=0.1)
        assert audio_duration_s(clip) == pytest.approx(3.0, abs=0.1)
        assert 0.01 < np.abs(waveform).max() <= 1.0
        # resampled after the cut: equal but for the filter's ends
        part = read_audio(clip, 1.0, 2.0)
        np.testing.assert_allclose(part[200:-200], waveform[16_200:31_800], atol=2e-3)
    assert len(read_audio(corpora_dir / "clips" / "jfk.flac")) == 11 * SAMPLE_RATE
