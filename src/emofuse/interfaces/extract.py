"""``emofuse extract``: features of a corpus, a table or a folder, into a store that later runs look up."""

import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from emofuse.corpora import load_corpus
from emofuse.corpora.utterance import Utterance
from emofuse.errors import ConfigError
from emofuse.extraction import Event, extract, folder_utterances, utterance_keys
from emofuse.extractors import EXTRACTORS, make_extractor
from emofuse.features.store import FeatureStore
from emofuse.progress import progress

TABLE_SUFFIXES = (".csv", ".tsv", ".jsonl", ".parquet")
"""A file so named is a table of one's own: the reader ``manifest``."""

SHOWN_FAILURES = 10


def find_utterances(data: Path, corpus: str | None) -> list[Utterance]:
    """Utterances of a corpus by its reader, of a table of one's own, or of the media files of a folder.

    Raises:
        DataError: There is nothing there.
    """
    if corpus is None and data.suffix.lower() in TABLE_SUFFIXES:
        corpus = "manifest"
    return folder_utterances(data) if corpus is None else list(load_corpus(corpus, data).utterances)


def run(
    features: Sequence[str],
    utterances: Sequence[Utterance],
    out: Path,
    *,
    encoder: str | None,
    options: Mapping[str, Any],
    jobs: int | None,
    half: bool,
    export: Path | None,
    ray: str | None = None,
) -> int:
    """Extract features one after the other and return the exit code: 1 when some utterance failed.

    Args:
        features: Names.
        utterances: Of what; on a cluster their paths must be absolute.
        out: The store.
        encoder: The one feature's network.
        options: The one feature's others.
        jobs: Processes; None: one, on a cluster one a CPU.
        half: Store float16.
        export: Parquet file, on a cluster a folder of parts, to write too.
        ray: Address of a Ray cluster to work on; None: work here.

    Raises:
        ConfigError: A feature or option is unknown, or a package is missing.
    """
    if len(features) > 1 and (encoder is not None or options or export is not None):
        raise ConfigError(f"--encoder, --set and --export are for one feature, {len(features)} were named")
    cluster = None
    if ray is not None:
        from emofuse.extraction.cluster import Cluster  # loads Ray

        cluster, out = Cluster(ray, jobs), out.absolute()
        export = None if export is None else export.absolute()
        encoder = str(Path(encoder).absolute()) if encoder is not None and Path(encoder).exists() else encoder
        if export is not None and export.is_file():
            raise ConfigError(f"--export {export}: on a cluster it is a folder, and there is a file of that name")
    n_failed = 0
    for name in features:
        make = partial(make_extractor, name, encoder, dict(options))
        extractor = make()  # its errors come before any work
        if extractor.licence:
            print(f"emofuse: {name}: {extractor.licence}", file=sys.stderr)
        with FeatureStore(out, "float16" if half else "float32") as store, progress(transient=True) as bar:
            task = bar.add_task(name, total=len(utterances))
            counts = {"done": 0, "found": 0, "failed": 0}

            def on_event(event: Event, counts: dict[str, int] = counts, bar: Any = bar, task: Any = task) -> None:
                counts[event.status] += 1
                shown = ", ".join(f"{n} {status}" for status, n in counts.items() if n)
                bar.update(task, advance=1, description=f"{event.id}: {shown}")

            report = extract(utterances, make, store, jobs or 1, on_event, cluster=cluster, export=export)
            print(f"{name}: {report.n_done} computed, {report.n_found} found, {len(report.failures)} failed")
            print(f"in {report.folder}")
            if export is not None and cluster is not None:
                print(f"wrote {export}")
            elif export is not None:
                failed = {i for i, _ in report.failures}
                kept = [u for u in utterances if u.id not in failed]
                table = store.find(report.folder.name)
                keys = utterance_keys(table)
                table.to_parquet(export, {u.id: keys[u.corpus, u.id] for u in kept})
                print(f"wrote {export}")
        for i, reason in report.failures[:SHOWN_FAILURES]:
            print(f"emofuse: {name}: {i}: {reason}", file=sys.stderr)
        if len(report.failures) > SHOWN_FAILURES:
            print(f"emofuse: and {len(report.failures) - SHOWN_FAILURES} more", file=sys.stderr)
        if report.failures:
            print(f"emofuse: all of them in {report.folder / 'failures.csv'}", file=sys.stderr)
        n_failed += len(report.failures)
    return 1 if n_failed else 0


def listing() -> list[str]:
    """A line a feature: name, modality, what it is, what it needs."""
    rows = []
    for name, entry in EXTRACTORS.items():
        needs = [f"--encoder: {entry.encoder}"] if entry.encoder else []
        needs += [f'pip install "emofuse[{entry.extra}]"'] if entry.extra else []
        rows.append(f"{name:22s} {entry.modality:7s} {entry.description}" + (f" ({'; '.join(needs)})" if needs else ""))
    return rows
