"""From an upload to utterances: what runs in the sandbox, and what the server reads of its result."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from emofuse.errors import ConfigError
from emofuse.media.segment import Segment, Word
from emofuse.media.sound import ArraySound
from emofuse.media.video import probe
from emofuse.recording import FaceFinder, Pictures, Recording, Sources, open_recording
from emofuse.server.sandbox import LimitError, Tell

SOUND = "sound.f32"
"""The decoded sound in the request's folder: float32, mono at 16 kHz."""


def decode(given: dict[str, Any], tell: Tell) -> dict[str, Any]:
    """Find the utterances of a file in the working folder and write their sound and faces there.

    Args:
        given: ``media``, ``segments``, ``transcript``: file names or None; ``text``; ``whole``; ``needs``: the
            model's modalities; ``max_s``, ``max_pixels``: limits.
        tell: Called now and then.

    Returns:
        What `read_recording` takes.

    Raises:
        DataError: As `open_recording`.
        LimitError: The recording is too long, or its pictures too large.
    """
    path = Path(given["media"])
    info = probe(path)
    _check_length(path, info.duration_s or 0.0, given["max_s"])
    sees = "visual" in given["needs"] and info.has_video
    if sees and info.width and info.height and info.width * info.height > given["max_pixels"]:
        raise LimitError(
            f"{path}: pictures of {info.width} x {info.height}; this server takes up to {given['max_pixels']:,} pixels"
        )
    sources = Sources(given["segments"], given["transcript"], given["text"], given["whole"])
    finder = FaceFinder() if sees else None
    with open_recording(path, sources, finder, given["needs"], tell) as recording:
        _check_length(path, recording.duration_s, given["max_s"])
        if recording.sound is not None:
            with Path(SOUND).open("wb") as file:
                for block in recording.sound.blocks():
                    file.write(block.astype(np.float32, copy=False).tobytes())
        faces: list[int] = []
        for i, u in enumerate(recording.utterances() if sees else ()):
            if u.faces is not None:
                np.save(f"faces-{i}.npy", u.faces)
                faces.append(i)
            tell("looking", (i + 1) / len(recording.segments))
        return {
            "source": recording.source,
            "duration_s": recording.duration_s,
            "segments": [asdict(segment) for segment in recording.segments],
            "has_sound": recording.sound is not None,
            "voiced": recording.voiced,
            "problems": recording.problems,
            "faces": faces,
        }


def nothing(_given: dict[str, Any], _tell: Tell) -> dict[str, Any]:
    """What a server runs at its start: it shows that the sandbox works."""
    return {}


def read_recording(folder: Path, found: dict[str, Any]) -> Recording:
    """The recording that `decode` wrote to a folder; its sound is read from the disk as it is needed."""
    segments = [Segment(**(s | {"words": tuple(Word(**w) for w in s["words"])})) for s in found["segments"]]
    sound = ArraySound(np.memmap(folder / SOUND, np.float32, "r")) if found["has_sound"] else None
    seen = {_place(segments[i]): folder / f"faces-{i}.npy" for i in found["faces"]}

    def look(segment: Segment, _waveform: np.ndarray | None) -> Pictures:
        file = seen.get(_place(segment))
        return None if file is None else np.load(file, allow_pickle=False), None

    known = {key: found[key] for key in ("source", "duration_s", "voiced", "problems")}
    return Recording(segments=segments, sound=sound, look=look if seen else None, **known)


def refuse_pictures(extractors: list[str]) -> None:
    """Raise ConfigError where a model needs features of whole pictures, which do not leave the sandbox."""
    if extractors:
        raise ConfigError(
            f"{extractors[0]} needs whole pictures: a model on it cannot be served, use `emofuse predict`"
        )


def _place(segment: Segment) -> tuple[float, float, str | None]:
    return segment.start_s, segment.end_s, segment.speaker


def _check_length(path: Path, duration_s: float, max_s: float) -> None:
    if duration_s > max_s:
        raise LimitError(f"{path}: {duration_s:.0f} s long; this server takes up to {max_s:g} s here")
