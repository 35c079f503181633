"""``emofuse extract`` and ``emofuse features``."""

from pathlib import Path
from typing import Annotated, Any

import typer

from emofuse.interfaces.commands.options import Jobs, Ray
from emofuse.threads import use_one_thread


def extract(
    features: Annotated[list[str], typer.Argument(metavar="FEATURE", help="Names as `emofuse features` lists them.")],
    data: Annotated[Path, typer.Option(help="Corpus, table of your own (csv, JSONL, Parquet) or folder of media.")],
    out: Annotated[Path, typer.Option(help="Folder of the feature store; more can be added to it.")],
    corpus: Annotated[str | None, typer.Option(help="Reader, as `emofuse corpora` lists them.")] = None,
    encoder: Annotated[str | None, typer.Option(help="The feature's network: folder, file or name.")] = None,
    assignments: Annotated[
        list[str] | None, typer.Option("--set", help="Option of the feature, e.g. n_mels=64.")
    ] = None,
    jobs: Jobs = None,
    half: Annotated[bool, typer.Option("--half", help="Store float16: half the space.")] = False,
    export: Annotated[
        Path | None, typer.Option(help="Also write one Parquet table, a row an utterance; with --ray a folder of them.")
    ] = None,
    ray: Ray = None,
) -> None:
    """Extract features into a store; what is there already is looked up, what failed is listed (exit 1)."""
    from emofuse.interfaces.extract import find_utterances, run
    from emofuse.protocol.assignments import assign

    use_one_thread()
    options: dict[str, Any] = {}
    for assignment in assignments or []:
        assign(options, assignment)
    code = run(
        features,
        find_utterances(data if ray is None else data.absolute(), corpus),
        out,
        encoder=encoder,
        options=options,
        jobs=jobs,
        half=half,
        export=export,
        ray=ray,
    )
    raise typer.Exit(code)


def features() -> None:
    """List the features that can be extracted."""
    from emofuse.interfaces.extract import listing

    print(*listing(), sep="\n")
