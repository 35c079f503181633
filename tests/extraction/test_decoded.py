import multiprocessing
import os
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from safetensors.numpy import load_file

from emofuse.batching import Example, crop, training_batches
from emofuse.errors import DataError
from emofuse.extraction import decoded as module
from emofuse.extraction.decoded import Clip, decoded, quantised
from emofuse.media.audio import read_audio, root_mean_square


def recordings(folder: Path, n: int = 4, rate: int = 44_100, seconds: float = 0.5) -> list[Clip]:
    """Stereo files of noise, each louder than the one before."""
    rng = np.random.default_rng(0)
    clips = []
    for i in range(n):
        samples = (0.02 * (i + 1) * rng.standard_normal((round((seconds + 0.1 * i) * rate), 2))).astype(np.float32)
        soundfile.write(folder / f"{i}.wav", samples, rate, subtype="FLOAT")
        clips.append(Clip(folder / f"{i}.wav"))
    return clips


def refuse(*_: object) -> np.ndarray:
    raise AssertionError("decoded again")


class TestQuantised:
    def test_16_bits_are_kept_as_they_are(self) -> None:
        samples = np.array([0, 1, -1, 32_767, -32_768], np.int16)
        found, scale = quantised((samples / 32_768).astype(np.float32))
        np.testing.assert_array_equal(found, samples)
        assert scale == 2**-15

    @pytest.mark.parametrize("peak", [1e-6, 0.3, 1.0, 40.0])
    def test_others_are_wrong_by_a_65000th_of_their_peak(self, peak: float) -> None:
        waveform = np.random.default_rng(1).uniform(-1, 1, 5000).astype(np.float32)
        waveform = (waveform * np.float32(peak / np.abs(waveform).max())).astype(np.float32)
        found, scale = quantised(waveform)
        assert np.abs(found).max() == 32_767
        assert np.abs(found * scale - waveform).max() <= peak * 2**-16 * 1.01  # of which float32 has its share

    def test_silence_stays_silence(self) -> None:
        found, scale = quantised(np.zeros(3, np.float32))
        np.testing.assert_array_equal(found * scale, np.zeros(3))


def test_clips_are_what_is_read_but_for_rounding(tmp_path: Path) -> None:
    clips = [*recordings(tmp_path), Clip(tmp_path / "3.wav", 0.25, 0.5)]
    for clip, stored in zip(clips, decoded(clips, tmp_path / "cache", "noise", 0.6), strict=True):
        expected = read_audio(*clip)[:9600]
        found = np.asarray(stored)
        assert (stored.shape, found.dtype, len(stored)) == (expected.shape, np.float32, len(expected))
        assert np.abs(found - expected).max() <= 2**-15 * np.abs(expected).max()
        assert stored.rms == root_mean_square(expected)
        np.testing.assert_array_equal(np.asarray(stored[100:200]), found[100:200])
        np.testing.assert_allclose(np.asarray(stored.times(3.0)), 3 * found, rtol=1e-6)


def test_the_file_is_plain_safetensors(tmp_path: Path) -> None:
    clips = recordings(tmp_path)
    stored = decoded(clips, tmp_path / "cache", "noise", 10.0)
    (file,) = (tmp_path / "cache").iterdir()
    assert file.name.startswith("noise-")
    tensors = load_file(file)
    last = tensors["samples"][tensors["first"][3] :] * tensors["scale"][3]
    np.testing.assert_array_equal(last, np.asarray(stored[3]))
    assert isinstance(stored[0].samples.base, np.ndarray)
    assert not stored[0].samples.flags.writeable


def test_the_second_time_nothing_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clips, counted = recordings(tmp_path), []
    first = decoded(clips, tmp_path / "cache", "noise", 10.0, lambda: counted.append(1))
    assert len(counted) == 4
    monkeypatch.setattr(module, "read_audio", refuse)
    again = decoded(clips, tmp_path / "cache", "noise", 10.0, lambda: counted.append(1))
    assert len(counted) == 4
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


@pytest.mark.parametrize("change", ["content", "time", "damage"])
def test_what_has_changed_is_decoded_anew(tmp_path: Path, change: str) -> None:
    clips = recordings(tmp_path)
    decoded(clips, tmp_path / "cache", "noise", 10.0)
    (file,) = (tmp_path / "cache").iterdir()
    counted: list[int] = []
    if change == "content":
        soundfile.write(clips[1].path, np.full(8000, 0.25), 16_000, subtype="FLOAT")
    elif change == "time":
        os.utime(clips[1].path, (1, 1))
    else:
        file.write_bytes(file.read_bytes()[:-100])
    found = decoded(clips, tmp_path / "cache", "noise", 10.0, lambda: counted.append(1))
    assert len(counted) == 4
    np.testing.assert_allclose(np.asarray(found[1]), read_audio(clips[1].path), atol=1e-4)
    assert list((tmp_path / "cache").iterdir()) == [file]  # the stale one is replaced


def test_other_parts_and_lengths_are_other_files(tmp_path: Path) -> None:
    clips = recordings(tmp_path)
    for chosen, max_s in ((clips, 10.0), (clips, 0.3), (clips[:2], 10.0), ([Clip(clips[0].path, 0.1)], 10.0)):
        decoded(chosen, tmp_path / "cache", "noise", max_s)
    assert len(list((tmp_path / "cache").iterdir())) == 4


def test_the_files_used_longest_ago_make_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clips, folder = recordings(tmp_path), tmp_path / "cache"
    for i in range(3):
        decoded(clips[i : i + 1], folder, f"c{i}", 10.0)
        os.utime(next(folder.glob(f"c{i}-*")), (i + 1, i + 1))
    decoded(clips[:1], folder, "c0", 10.0)  # used again: now the youngest
    abandoned = folder / "c1-0123456789abcdef.audio.safetensors.01234567.partial"
    abandoned.touch()
    os.utime(abandoned, (1, 1))
    (folder / "mine.safetensors").touch()
    monkeypatch.setattr(module, "LIMIT_BYTES", 70_000)
    decoded(clips[3:], folder, "c3", 10.0)
    assert sorted(p.name.split("-")[0] for p in folder.iterdir()) == ["c0", "c3", "mine.safetensors"]


def test_a_file_that_cannot_be_read_leaves_nothing(tmp_path: Path) -> None:
    clips = [*recordings(tmp_path), Clip(tmp_path / "none.wav")]
    with pytest.raises(DataError, match="none"):
        decoded(clips, tmp_path / "cache", "noise", 10.0)
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    clips = recordings(tmp_path)
    (tmp_path / "cache").touch()
    with pytest.raises(DataError, match=r"cache: decoded audio cannot be written \(.*\); give another folder by --aud"):
        decoded(clips, tmp_path / "cache", "noise", 10.0)


def build(folder: Path, start: float) -> None:
    """In a process of its own, at the same time as others."""
    time.sleep(max(0.0, start - time.time()))
    clips = [Clip(folder / f"{i}.wav") for i in range(4)]
    for clip, stored in zip(clips, decoded(clips, folder / "cache", "noise", 10.0), strict=True):
        expected = read_audio(*clip)
        assert np.abs(np.asarray(stored) - expected).max() <= 2**-15 * np.abs(expected).max()


def test_processes_that_build_it_at_once_do_not_disturb_each_other(tmp_path: Path) -> None:
    recordings(tmp_path)
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=build, args=(tmp_path, time.time() + 0.2)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_batches_of_stored_waveforms_are_those_of_arrays(tmp_path: Path) -> None:
    stored = decoded(recordings(tmp_path), tmp_path / "cache", "noise", 10.0)
    parts = [
        [Example((str(i),), np.array([i]), {"speech": w}) for i, w in enumerate(ws)]
        for ws in (stored, map(np.asarray, stored))
    ]
    for crop_steps in (None, 7000):
        lazy, held = (list(training_batches(p, "utterance", 2, 3, crop_steps)) for p in parts)
        for a, b in zip(lazy, held, strict=True):
            assert a.ids == b.ids
            np.testing.assert_array_equal(a.inputs["speech"].numpy(), b.inputs["speech"].numpy())
            np.testing.assert_array_equal(a.inputs["speech_lengths"].numpy(), b.inputs["speech_lengths"].numpy())
    cut = crop(parts[0][0], 5000, np.random.default_rng(0)).inputs["speech"]
    assert not isinstance(cut, np.ndarray)  # it is still on disk: an epoch's crops are not held at once
