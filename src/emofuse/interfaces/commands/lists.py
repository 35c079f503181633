"""``emofuse models`` and ``emofuse corpora``: what there is to choose from."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from emofuse.errors import DataError

corpora_app = typer.Typer(help="List the corpus readers, or check a corpus.", invoke_without_command=True)


def models(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List the systems at the papers' sizes."""
    from emofuse.models import table

    rows = table()
    if as_json:
        print(json.dumps(rows, indent=1))
        return
    for row in rows:
        print(f"{row['name']:24s} {row['n_parameters']:>10,d}  {', '.join(row['modalities']):24s} {row['paper']}")


@corpora_app.callback()
def corpora(context: typer.Context) -> None:
    """List the corpus readers."""
    if context.invoked_subcommand is not None:
        return
    from emofuse.corpora import CORPORA

    for name, reader in CORPORA.items():
        print(f"{name:16s} {reader.description}")


@corpora_app.command()
def check(
    name: Annotated[str, typer.Argument(help="Reader.")],
    path: Annotated[Path, typer.Argument(help="Folder or file of the corpus.")],
) -> None:
    """Count labels, speakers, sessions and splits; exit 2 when something is inconsistent."""
    from emofuse.corpora import load_corpus
    from emofuse.corpora.check import find_problems, summarise

    corpus = load_corpus(name, path)
    for key, value in summarise(corpus).items():
        if isinstance(value, dict):
            shown = ", ".join(f"{k} {n}" for k, n in list(value.items())[:40])
            more = f", and {len(value) - 40} more" if len(value) > 40 else ""
            print(f"{key} ({len(value)}): {shown}{more}")
        else:
            print(f"{key}: {value}")
    problems = find_problems(corpus)
    for problem in problems:
        print(problem, file=sys.stderr)
    if problems:
        raise DataError(f"{path}: {len(problems)} problem(s) found in {name}")
