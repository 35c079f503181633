import wave
from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile as sf

from emofuse.errors import DataError
from emofuse.media.audio import SAMPLE_RATE, audio_duration_s, read_audio


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
    assert message(path) == "no audio stream"  # FFmpeg takes it for raw pictures


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
