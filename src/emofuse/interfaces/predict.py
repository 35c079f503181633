"""``emofuse predict``: files, folders, globs and lists in; what was felt, when, by whom, out."""

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from emofuse.errors import ConfigError, DataError
from emofuse.interfaces.formats import FORMATS, write_csv, write_eaf
from emofuse.interfaces.table import text_table
from emofuse.interfaces.worker import Failed, FilePredictor, Setup, in_processes
from emofuse.media.files import MEDIA_SUFFIXES, media_files
from emofuse.progress import progress

if TYPE_CHECKING:
    from emofuse.predictor import Timeline

ONE_STREAM = ("text", "json", "csv")
"""Formats of which several recordings go into one output."""


def expand(arguments: Sequence[str]) -> list[Path]:
    """Media files that the arguments name, in order.

    An argument is a file, a folder (its media files, at any depth), a pattern such as ``talks/*.mp4``
    (for shells that do not expand it), or ``@FILE``, a text file with an argument a line.

    Raises:
        DataError: A folder or pattern holds no media, or a list cannot be read.
    """
    found: list[Path] = []
    for argument in arguments:
        path = Path(argument)
        if argument.startswith("@") and not path.exists():
            found += expand(_lines(Path(argument[1:])))
        elif path.is_dir():
            inside = media_files(path)
            if not inside:
                raise DataError(f"{path}: no media file in this folder; known: {' '.join(MEDIA_SUFFIXES)}")
            found += inside
        elif any(c in argument for c in "*?[") and not path.exists():
            root = Path(path.anchor) if path.is_absolute() else Path()
            matches = sorted(p for p in root.glob(str(path.relative_to(path.anchor))) if p.is_file())
            if not matches:
                raise DataError(f"{argument}: no file is named so")
            found += matches
        else:
            found.append(path)
    return found


def _lines(path: Path) -> list[str]:
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: the list of files cannot be read ({error})") from None
    if not any(lines):
        raise DataError(f"{path}: an empty list, need a file name a line")
    return [line for line in lines if line]


@dataclass(frozen=True)
class Job:
    """What to do with each file.

    Attributes:
        setup: What predicts.
        format: Name of the output's format.
        out: File or folder to write to; None: standard output.
        resume: Leave alone what is in the folder `out` already.
        report: Page to write; None: none.
        n_threads: Processor threads, where one process predicts.
    """

    setup: Setup
    format: str
    out: Path | None = None
    resume: bool = False
    report: Path | None = None
    n_threads: int = 1

    @cached_property
    def predictor(self) -> FilePredictor:
        """The model, loaded at its first use."""
        return FilePredictor(self.setup, self.n_threads)

    def predict(self, path: Path, title: str) -> "Timeline":
        """Predict one file, with progress on stderr."""
        with progress(transient=True) as bar:
            task = bar.add_task(title, total=100)

            def on_progress(what: str, share: float) -> None:
                bar.update(task, completed=round(100 * share), description=f"{title}: {what}")

            return self.predictor.predict(path, on_progress)

    def one_by_one(self, files: Sequence[Path]) -> "Iterator[Timeline | Failed]":
        """Predict files in this process."""
        for n, path in enumerate(files, 1):
            try:
                yield self.predict(path, path.name if len(files) == 1 else f"{n}/{len(files)} {path.name}")
            except (DataError, OSError) as error:
                yield Failed.of(path, error)

    def in_processes(self, files: Sequence[Path], jobs: int) -> "Iterator[Timeline | Failed]":
        """Predict files in several processes, with one bar for all."""
        with progress(transient=True) as bar:
            task = bar.add_task("predicting", total=len(files))
            yield from in_processes(self.setup, files, jobs, lambda: bar.advance(task))


def _names(files: Sequence[Path]) -> list[str]:
    """A name for each file, as short as tells them apart: stem; with its folders; with its ending; the whole path."""
    steps: tuple[Callable[[Path], str], ...] = (
        lambda path: path.stem,
        lambda path: "_".join(path.with_suffix("").parts[-3:]),
        lambda path: "_".join(path.parts[-3:]),
        lambda path: "_".join(part.strip("/\\:") for part in path.absolute().parts).strip("_"),
    )
    names = [steps[0](path) for path in files]
    for step in steps[1:]:
        counts = Counter(names)
        names = [name if counts[name] == 1 else step(path) for path, name in zip(files, names, strict=True)]
    return names


def targets(files: Sequence[Path], out: Path | None, format: str, suffix: str) -> dict[Path, Path]:
    """Media file to the file that its result is written to; empty when all results go into one output.

    `out` is a folder if there is one of that name, or if the name has no ending.

    Raises:
        ConfigError: The format holds one recording, there are several, and `out` is no folder; or names collide.
    """
    if out is not None and (out.is_dir() or not (out.suffix or out.exists())):
        unique = list(dict.fromkeys(files))
        names = _names(unique)
        if len(set(names)) < len(names):
            raise ConfigError(f"--out {out}: two files would be written under one name; predict them apart")
        return {path: out / f"{name}{suffix}" for path, name in zip(unique, names, strict=True)}
    if format in ONE_STREAM:
        return {}
    if len(files) > 1:
        raise ConfigError(f"--format {format} of {len(files)} recordings needs a folder to write them to: --out FOLDER")
    return {} if out is None else {files[0]: out}


def write_text(path: Path, content: str) -> None:
    """Write to a temporary name, then rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(content, encoding="utf-8", newline="")
    partial.replace(path)


class _Output:
    """Takes one recording after the other to where it belongs: a file of its own, one file of all, or the terminal."""

    def __init__(self, job: Job, places: dict[Path, Path]) -> None:
        self.job, self.places = job, places
        self.write = FORMATS[job.format][1]
        self.timelines: list[Timeline] = []  # of a csv, whose columns are known at the end, and of the report
        self.pieces: list[str] = []
        for folder in {place.parent for place in places.values()} or {job.out.parent} if job.out is not None else ():
            folder.mkdir(parents=True, exist_ok=True)  # now, not after hours
        if job.report is not None and not job.report.parent.is_dir():
            raise ConfigError(f"--report {job.report}: there is no folder {job.report.parent}")

    def take(self, path: Path, timeline: "Timeline") -> None:
        """Write or print one recording, or keep it for the end."""
        if self.job.report is not None or (self.job.format == "csv" and path not in self.places):
            self.timelines.append(timeline)
        if path in self.places:
            # ELAN finds the recording by its path from the file's own folder.
            place, elan = self.places[path], self.job.format == "eaf"
            write_text(place, write_eaf(timeline, place.parent) if elan else self.write(timeline))
        elif self.job.format != "csv":
            self.pieces.append("" if self._print(timeline) else self.write(timeline))

    def _print(self, timeline: "Timeline") -> bool:
        """Print a recording, apart from the one before; False where it goes into a file."""
        if self.job.out is not None:
            return False
        if self.job.format == "text" and self.pieces:
            print()
        if self.job.format == "text" and sys.stdout.isatty():
            text_table(timeline, Console())
        else:
            print(self.write(timeline), end="", flush=True)
        return True

    def close(self, failures: Sequence[str]) -> None:
        """Write what is about all recordings."""
        if self.job.format == "csv" and not self.places:
            self.pieces.append(write_csv(self.timelines))
            if self.job.out is None:
                print(self.pieces[0], end="")
        if self.job.out is not None and not self.places:
            write_text(self.job.out, ("\n" if self.job.format == "text" else "").join(self.pieces))
        if self.job.report is not None and self.timelines:
            self._report(self.job.report, failures)

    def _report(self, page: Path, failures: Sequence[str]) -> None:
        from emofuse.interfaces.report import write_report
        from emofuse.predictor import default_model

        card = (default_model() if self.job.setup.model == "default" else Path(self.job.setup.model)) / "README.md"
        about = card.read_text(encoding="utf-8") if card.is_file() else ""
        media = {t.source: Path(t.source) for t in self.timelines}
        write_report(page, self.timelines, media, model=self.job.setup.model, model_card=about, failures=failures)
        print(f"wrote {page}", file=sys.stderr)


def run(job: Job, files: Sequence[Path], jobs: int = 1) -> int:
    """Predict, print or write, and return the exit code: 1 when some of several files failed.

    Args:
        job: What to do.
        files: Media files.
        jobs: Processes that predict; 1: this one alone.

    Raises:
        DataError: The only file fails.
        ConfigError: The format of several recordings needs a folder, or the report's folder is not there.
    """
    places = targets(files, job.out, job.format, FORMATS[job.format][0])
    todo = [path for path in files if not (job.resume and path in places and places[path].exists())]
    if len(todo) < len(files):
        print(f"emofuse: {len(files) - len(todo)} of {len(files)} files are done already", file=sys.stderr)
    output = _Output(job, places)
    several = jobs > 1 and len(todo) > 1
    if several:
        todo = list(dict.fromkeys(todo))
    elif todo:
        job.predictor  # noqa: B018 - a model that cannot be loaded ends the command before its first file
    failures: list[str] = []
    for path, found in zip(todo, job.in_processes(todo, jobs) if several else job.one_by_one(todo), strict=True):
        if isinstance(found, Failed):
            if len(files) == 1:
                raise DataError(found.reason)
            failures.append(found.reason)
            continue
        for problem in found.problems:
            where = "" if str(path) in problem else f"{path}: "
            print(f"emofuse: {where}{problem}", file=sys.stderr)
        output.take(path, found)
    output.close(failures)
    if failures:
        print(f"emofuse: {len(failures)} of {len(todo)} files failed:", *failures, sep="\n  ", file=sys.stderr)
    return 1 if failures else 0
