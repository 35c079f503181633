"""What predicts one file after the other, in this process or in each of many."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from emofuse.errors import DataError
from emofuse.extraction.workers import Died, run_in_processes

if TYPE_CHECKING:
    from emofuse.engine import Engine
    from emofuse.predictor import Predictor, Timeline


@dataclass(frozen=True)
class Setup:
    """What predicts, as the command line describes it; can be sent to another process.

    Attributes:
        model, threshold, engine: See `emofuse.load`.
        text, transcript, segments, whole: See `Sources`; paths may be folders.
        asr, language: See `Recogniser`; None: no recognition.
        face_detector, frame_rate: See `FaceFinder`.
    """

    model: str = "default"
    threshold: float = 0.5
    text: str | None = None
    transcript: Path | None = None
    segments: Path | None = None
    whole: bool = False
    asr: str | None = None
    language: str | None = None
    face_detector: Path | None = None
    frame_rate: float = 5.0
    engine: "Engine" = "auto"

    def absolute(self) -> "Setup":
        """The same, from whatever folder it is used."""
        paths = {n: getattr(self, n) for n in ("transcript", "segments", "face_detector", "model", "asr")}
        there = {n: Path(p).absolute() for n, p in paths.items() if p is not None and Path(p).exists()}
        return replace(self, **{n: str(p) if n in ("model", "asr") else p for n, p in there.items()})

    def annotations(self, path: Path) -> tuple[Path | None, Path | None]:
        """Segments and transcript of a file; errors as `beside`."""
        from emofuse.media.annotations import EXTENSIONS as SEGMENTS
        from emofuse.media.transcript import EXTENSIONS as TRANSCRIPTS

        return beside(self.segments, path, SEGMENTS), beside(self.transcript, path, TRANSCRIPTS)


def beside(given: str | Path | None, media: Path, suffixes: Sequence[str]) -> Path | None:
    """The annotation of a file: `given` itself, or, where that is a folder, the file in it of the same stem.

    Raises:
        DataError: The folder has no such file, or several.
    """
    given = None if given is None else Path(given)
    if given is None or not given.is_dir():
        return given
    found = sorted(p for p in given.iterdir() if p.stem == media.stem and p.suffix.lower() in suffixes)
    if len(found) != 1:
        names = ", ".join(p.name for p in found) or f"none of {media.stem}{{{','.join(suffixes)}}}"
        raise DataError(f"{given}: found {names}, need one file for {media}")
    return found[0]


class FilePredictor:
    """A model, loaded, and what is given beside the files.

    Args:
        setup: What to load.
        n_threads: Processor threads, among which utterances are divided.

    Attributes:
        predictor: The model.

    Raises:
        ConfigError, DataError: As `emofuse.load`, `Recogniser` and `FaceFinder`.
    """

    def __init__(self, setup: Setup, n_threads: int = 1) -> None:
        """Load it."""
        from emofuse.media.recognition import Recogniser
        from emofuse.predictor import FaceFinder, Sources, load

        self.predictor: Predictor = load(setup.model, setup.threshold, setup.engine, n_threads)
        recogniser = None if setup.asr is None else Recogniser(setup.asr, setup.language, n_threads)
        self._setup = setup
        self._sources = Sources(text=setup.text, whole=setup.whole, recogniser=recogniser)
        visual = "visual" in self.predictor.modalities
        self._finder = FaceFinder(setup.face_detector, setup.frame_rate) if visual else None

    def predict(self, path: Path, on_progress: Callable[[str, float], None] | None = None) -> "Timeline":
        """Predict one file; errors as `Predictor.predict`."""
        segments, transcript = self._setup.annotations(path)
        sources = replace(self._sources, segments=segments, transcript=transcript)
        return self.predictor.predict(path, sources=sources, faces=self._finder, on_progress=on_progress)

    def __call__(self, path: Path) -> "Timeline | Failed":
        """Predict one file, or say why not."""
        try:
            return self.predict(path)
        except (DataError, OSError) as error:
            return Failed.of(path, error)

    @property
    def n_unsaved(self) -> int:
        """Nothing is kept here."""
        return 0

    def flush(self) -> None:
        """Nothing is kept here."""


@dataclass(frozen=True)
class Failed:
    """Why a file could not be predicted, in one line that names it."""

    reason: str

    @classmethod
    def of(cls, path: Path, error: DataError | OSError) -> "Failed":
        """From what was raised; an OSError is a disk or network drive that gives out."""
        return cls(str(error) if isinstance(error, DataError) else f"{path}: {error.strerror or error}")


def in_processes(
    setup: Setup, files: Sequence[Path], jobs: int, on_done: Callable[[], None]
) -> "Iterator[Timeline | Failed]":
    """Predict files in several processes of one thread each; results in the files' order.

    A process that dies costs the file that it was at.

    Args:
        setup: What predicts; loaded once a process.
        files: Media files; may repeat.
        jobs: Processes.
        on_done: Called after each file.
    """
    unique = list(dict.fromkeys(files))
    waiting: dict[Path, Timeline | Failed] = {}
    turn = 0
    start = partial(FilePredictor, setup)
    for path, result in run_in_processes(unique, start, min(jobs, len(unique)), lambda _: on_done(), batch_size=1):
        waiting[path] = Failed(f"{path}: {result.reason}") if isinstance(result, Died) else result
        while turn < len(unique) and unique[turn] in waiting:
            yield waiting.pop(unique[turn])
            turn += 1
