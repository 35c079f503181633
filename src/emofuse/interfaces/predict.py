"""``emofuse predict``: files, folders, globs and lists in; what was felt, when, by whom, out."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from emofuse.errors import ConfigError, DataError
from emofuse.media.files import MEDIA_SUFFIXES, media_files

if TYPE_CHECKING:
    from emofuse.predictor import FaceFinder, Predictor, Sources, Timeline

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


@dataclass(frozen=True)
class Job:
    """What to do with each file.

    Attributes:
        predictor: The model.
        sources: What was given beside the media; its paths may be folders.
        finder: Finds faces; None: the default way.
        format: Name of the output's format.
        out: File or folder to write to; None: standard output.
        resume: Leave alone what is in the folder `out` already.
        report: Page to write; None: none.
        model: Name of the model, for the report.
    """

    predictor: "Predictor"
    sources: "Sources"
    finder: "FaceFinder | None"
    format: str
    out: Path | None = None
    resume: bool = False
    report: Path | None = None
    model: str = "default"

    def predict(self, path: Path, title: str) -> "Timeline":
        """Predict one file, with progress on stderr."""
        from emofuse.media.annotations import EXTENSIONS as SEGMENTS
        from emofuse.media.transcript import EXTENSIONS as TRANSCRIPTS
        from emofuse.progress import progress

        sources = replace(
            self.sources,
            segments=beside(self.sources.segments, path, SEGMENTS),
            transcript=beside(self.sources.transcript, path, TRANSCRIPTS),
        )
        with progress(transient=True) as bar:
            task = bar.add_task(title, total=100)

            def on_progress(what: str, share: float) -> None:
                bar.update(task, completed=round(100 * share), description=f"{title}: {what}")

            return self.predictor.predict(path, sources=sources, faces=self.finder, on_progress=on_progress)


def targets(files: Sequence[Path], out: Path | None, format: str, suffix: str) -> dict[Path, Path]:
    """Media file to the file that its result is written to; empty when all results go into one output.

    `out` is a folder if there is one of that name, or if the name has no ending.

    Raises:
        ConfigError: The format holds one recording, there are several, and `out` is no folder.
    """
    if out is not None and (out.is_dir() or not (out.suffix or out.exists())):
        stems = [path.stem for path in files]
        # Files of one name in several folders keep their folders' names.
        names = [p.stem if stems.count(p.stem) == 1 else "_".join(p.with_suffix("").parts[-3:]) for p in files]
        if len(set(names)) < len(names):
            raise ConfigError(
                f"--out {out}: several files would be written under one name; predict them folder by folder"
            )
        return {path: out / f"{name}{suffix}" for path, name in zip(files, names, strict=True)}
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


def run(job: Job, files: Sequence[Path]) -> int:
    """Predict, print or write, and return the exit code: 1 when some of several files failed.

    Raises:
        DataError: The only file fails.
        ConfigError: The format of several recordings needs a folder.
    """
    from emofuse.interfaces.formats import FORMATS, write_csv, write_eaf
    from emofuse.interfaces.table import text_table

    suffix, write = FORMATS[job.format]
    places = targets(files, job.out, job.format, suffix)
    todo = [path for path in files if not (job.resume and path in places and places[path].exists())]
    if len(todo) < len(files):
        print(f"emofuse: {len(files) - len(todo)} of {len(files)} files are done already", file=sys.stderr)
    failures: list[str] = []
    kept: list[Timeline] = []
    pieces: list[str] = []
    n_shown = 0
    for n, path in enumerate(todo, 1):
        try:
            timeline = job.predict(path, path.name if len(todo) == 1 else f"{n}/{len(todo)} {path.name}")
        except (DataError, OSError) as error:  # OSError: a disk or network drive that gives out
            if len(files) == 1:
                raise
            failures.append(str(error) if isinstance(error, DataError) else f"{path}: {error.strerror or error}")
            continue
        for problem in timeline.problems:
            where = "" if str(path) in problem else f"{path}: "
            print(f"emofuse: {where}{problem}", file=sys.stderr)
        if job.report is not None or (job.format == "csv" and not places):
            kept.append(timeline)
        if path in places:
            # ELAN finds the recording by its path from the file's own folder.
            elan = job.format == "eaf"
            write_text(places[path], write_eaf(timeline, places[path].parent) if elan else write(timeline))
        elif job.format != "csv" and job.out is not None:
            pieces.append(write(timeline))
        elif job.format == "text":
            print("\n" * (n_shown > 0), end="")
            text_table(timeline, Console()) if sys.stdout.isatty() else print(write(timeline), end="", flush=True)
            n_shown += 1
        elif job.format != "csv":
            print(write(timeline), end="", flush=True)
    if job.format == "csv" and not places:
        pieces.append(write_csv(kept))
        if job.out is None:
            print(pieces[0], end="")
    if job.out is not None and not places:
        write_text(job.out, ("\n" if job.format == "text" else "").join(pieces))
    if job.report is not None and kept:
        from emofuse.interfaces.report import write_report
        from emofuse.predictor import default_model

        card = (default_model() if job.model == "default" else Path(job.model)) / "README.md"
        about = card.read_text(encoding="utf-8") if card.is_file() else ""
        media = {t.source: Path(t.source) for t in kept}
        write_report(job.report, kept, media, model=job.model, model_card=about, failures=failures)
        print(f"wrote {job.report}", file=sys.stderr)
    if failures:
        print(f"emofuse: {len(failures)} of {len(todo)} files failed:", *failures, sep="\n  ", file=sys.stderr)
    return 1 if failures else 0
