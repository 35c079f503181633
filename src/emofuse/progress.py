"""Progress on stderr."""

import os

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn


def progress(transient: bool = False) -> Progress:
    """A progress bar: what is done, how much of it, how long it took.

    A `transient` one vanishes when its work is done, and is not shown at all where stderr is no terminal. Of several
    processes that `torchrun` has started, the first one alone shows its own.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    quiet = (transient and not console.is_terminal) or os.environ.get("RANK", "0") != "0"
    return Progress(*columns, console=console, transient=transient, disable=quiet)
