"""``emofuse predict --ray``: predictions of many files as a folder of Parquet parts, made by the actors of a cluster.

In ``--out``::

    predictions.parquet/part-HASH.parquet    a row an utterance; pandas and pyarrow read the folder as one table
    failures.csv                             source, reason: of the last command

A part is there or not, never half. Its schema's metadata say, under ``emofuse``, which files it is of and what they
were when they were predicted, so that a repeated command predicts only files that are new, have changed or have
failed, and each file's rows are in one part.
"""

import csv
import hashlib
import json
import sys
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from emofuse.errors import ConfigError, DataError
from emofuse.extraction.cluster import Cluster, digest, parts_of, run_parts
from emofuse.extraction.workers import Died
from emofuse.interfaces.worker import Failed, FilePredictor, Setup
from emofuse.prediction import Timeline, rows
from emofuse.predictor import default_model
from emofuse.progress import progress

SHOWN_FAILURES = 10

_COLUMNS = {
    **{"source": pa.string(), "start_s": pa.float64(), "end_s": pa.float64(), "speaker": pa.string()},
    **{"text": pa.string(), "label": pa.string(), "confidence": pa.float64(), "unsure": pa.bool_()},
    **{"modalities": pa.string(), "missing": pa.string()},
}


def schema(classes: Sequence[str], modalities: Sequence[str]) -> pa.Schema:
    """The columns of the csv format, which are the same in every part whatever its files lack."""
    numbers = [*(f"p_{name}" for name in classes), *(f"w_{name}" for name in sorted(modalities))]
    return pa.schema(_COLUMNS | dict.fromkeys(numbers, pa.float64()))


@dataclass(frozen=True)
class Folder:
    """A folder of parts.

    Attributes:
        path: The folder.
        settings: Of what the predictions depend on beside the files: parts under another one do not go with ours.
    """

    path: Path
    settings: str

    def done(self) -> dict[str, tuple[Path, str]]:
        """Source to the part that holds its rows, and to what the file was then.

        Raises:
            ConfigError: Parts were made under other settings.
        """
        found: dict[str, tuple[Path, str]] = {}
        for part in sorted(self.path.glob("part-*.parquet")):
            made = json.loads(pq.read_schema(part).metadata[b"emofuse"])
            if made["settings"] != self.settings:
                how = "by another model or version, or with other options"
                raise ConfigError(f"{part}: predicted {how}; choose another --out, or delete it")
            found |= {source: (part, state) for source, state in made["files"].items()}
        return found

    def write(self, table: pa.Table, files: Mapping[str, str], part: Path | None = None) -> None:
        """Write a part to a temporary name, then rename it."""
        part = part or self.path / f"part-{digest([self.settings, dict(files)])}.parquet"
        partial_file = part.with_name(f"_{part.name}.{uuid.uuid4().hex[:8]}.partial")  # _: not read as part of a folder
        about = json.dumps({"settings": self.settings, "files": dict(files)})
        try:
            pq.write_table(table.replace_schema_metadata({"emofuse": about}), partial_file)
            partial_file.replace(part)
        finally:
            partial_file.unlink(missing_ok=True)

    def remove_unfinished(self) -> None:
        """Remove what killed processes have left half written."""
        for path in self.path.glob("_part-*.partial"):
            path.unlink(missing_ok=True)

    def forget(self, part: Path, sources: set[str]) -> None:
        """Take the rows of files out of a part."""
        table = pq.read_table(part)
        files = json.loads(table.schema.metadata[b"emofuse"])["files"]
        kept = {source: state for source, state in files.items() if source not in sources}
        if kept:
            stay = pa.array([source in kept for source in table["source"].to_pylist()])
            self.write(table.filter(stay), kept, part)
        else:
            part.unlink()


@dataclass(frozen=True)
class Input:
    """A file, and what it and its annotations were when the command began: size and time of change."""

    path: Path
    state: str

    @classmethod
    def of(cls, path: Path, setup: Setup) -> "Input":
        """Of a file that may be missing, or lack its annotation: to be told when it is its turn."""
        try:
            files = [path, *setup.annotations(path)]
            states = ["" if f is None else f"{f.stat().st_size} {f.stat().st_mtime_ns}" for f in files]
        except (OSError, DataError):
            return cls(path, "missing")
        return cls(path, ", ".join(states))

    @property
    def source(self) -> str:
        """As the table names it: UTF-8, which a file name need not be."""
        return str(self.path).encode("utf-8", "replace").decode()


Told = tuple[Input, tuple[str, ...] | Failed | Died]
"""A file, and what its user should know of it, or why it has no rows."""


class PartPredictor:
    """Predicts the files of a part, then writes it; a file that failed is not in it."""

    def __init__(self, setup: Setup, folder: Folder) -> None:
        """Load the model."""
        self._predictor, self._folder = FilePredictor(setup), folder
        self._schema = schema(self._predictor.predictor.classes, self._predictor.predictor.modalities)

    def __call__(self, item: Input, /) -> Timeline | Failed:
        """Predict one file."""
        return self._predictor(item.path)

    def finish(self, outcomes: Sequence[tuple[Input, Timeline | Failed | Died]], /) -> list[Told]:
        """Write the rows of those that did not fail."""
        good = [(i, found) for i, found in outcomes if isinstance(found, Timeline)]
        if good:
            table = [row | {"source": i.source} for i, timeline in good for row in rows(list(timeline))]
            files = {i.source: i.state for i, _ in good}
            self._folder.write(pa.Table.from_pylist(table, schema=self._schema), files)
        return [(i, found.problems if isinstance(found, Timeline) else found) for i, found in outcomes]


def fingerprint(setup: Setup) -> str:
    """Of what the predictions depend on beside the files and their annotations: model, options, version."""
    folder = default_model() if setup.model == "default" else Path(setup.model)
    weights = {str(f.relative_to(folder)): _sha256(f) for f in sorted(folder.rglob("*")) if f.is_file()}
    options = asdict(replace(setup, model="", transcript=None, segments=None))
    return digest([weights, {name: str(value) for name, value in options.items()}, version("emofuse")])


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def open_parts(folder: Folder, inputs: Sequence[Input]) -> list[list[Input]]:
    """What is left to do, in parts; rows of files that have changed since are taken out of the folder.

    Raises:
        ConfigError: The folder holds predictions made in another way.
    """
    done = folder.done()
    stale: dict[Path, set[str]] = {}
    for i in inputs:
        if i.source in done and done[i.source][1] != i.state:
            stale.setdefault(done[i.source][0], set()).add(i.source)
    for part, sources in stale.items():
        folder.forget(part, sources)
    left = [[i for i in part if done.get(i.source, ("", ""))[1] != i.state] for part in parts_of(inputs)]
    return [part for part in left if part]


def run(setup: Setup, files: Sequence[Path], out: Path, address: str, jobs: int | None) -> int:
    """Predict the files that are not in `out` yet on a cluster, and return the exit code: 1 when some failed.

    Raises:
        ConfigError: The cluster does not answer, or `out` holds predictions made in another way.
        DataError: The model cannot be loaded.
    """
    setup, out = setup.absolute(), out.absolute()
    if out.is_file():
        raise ConfigError(f"--out {out}: with --ray it is a folder, and there is a file of that name")
    folder = Folder(out / "predictions.parquet", fingerprint(setup))
    folder.path.mkdir(parents=True, exist_ok=True)
    inputs = [Input.of(path, setup) for path in dict.fromkeys(path.absolute() for path in files)]
    parts = open_parts(folder, inputs)
    n_todo = sum(map(len, parts))
    if n_todo < len(inputs):
        print(f"emofuse: {len(inputs) - n_todo} of {len(inputs)} files are done already", file=sys.stderr)
    failures: dict[str, str] = {}
    with progress(transient=True) as bar:
        task = bar.add_task("predicting", total=n_todo)
        for told in run_parts(Cluster(address, jobs), parts, partial(PartPredictor, setup, folder), out / "_notes"):
            bar.advance(task, len(told))
            for i, found in told:
                if isinstance(found, tuple):
                    _print_problems(i.source, found)
                else:
                    failures[i.source] = f"{i.source}: {found.reason}" if isinstance(found, Died) else found.reason
    folder.remove_unfinished()
    _write_failures(out / "failures.csv", failures)
    print(f"{n_todo - len(failures)} files predicted, {len(inputs) - n_todo} found, {len(failures)} failed")
    print(f"in {out}")
    return 1 if failures else 0


def _print_problems(source: str, problems: Sequence[str]) -> None:
    for problem in problems:
        print(f"emofuse: {'' if source in problem else f'{source}: '}{problem}", file=sys.stderr)


def _write_failures(path: Path, failures: Mapping[str, str]) -> None:
    """A csv file of source and reason, the header alone when nothing failed; and some of it on stderr."""
    partial_file = path.with_name(f"_{path.name}.partial")
    with partial_file.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("source", "reason"))
        writer.writerows(failures.items())
    partial_file.replace(path)
    for reason in list(failures.values())[:SHOWN_FAILURES]:
        print(f"emofuse: {reason}", file=sys.stderr)
    if len(failures) > SHOWN_FAILURES:
        print(f"emofuse: and {len(failures) - SHOWN_FAILURES} more", file=sys.stderr)
    if failures:
        print(f"emofuse: all of them in {path}", file=sys.stderr)
