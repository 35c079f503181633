"""Tasks for worker processes; imported by name through sys.path."""

import os
from pathlib import Path

from emofuse.errors import ConfigError


class Squares:
    """Squares, of which up to two are in memory only; an item of `deadly` ends the process.

    Args:
        log: File that gets a line for each computation.
        deadly: See above.
    """

    def __init__(self, log: Path, deadly: tuple[int, ...] = ()) -> None:
        self._log = log
        self._deadly = deadly
        self._held: list[int] = []

    def __call__(self, item: int) -> int:
        if item in self._deadly:
            os._exit(9)
        with self._log.open("a") as file:
            file.write(f"{item}\n")
        self._held.append(item)
        if len(self._held) == 3:
            self._held.clear()
        return item * item

    @property
    def n_unsaved(self) -> int:
        return len(self._held)

    def flush(self) -> None:
        self._held.clear()


class Failing(Squares):
    """Raises what its item asks for."""

    def __call__(self, item: int) -> int:
        raise {0: ConfigError("no such setting"), 1: OSError(28, "No space left on device"), 2: KeyError("bug")}[item]


def dies_at_its_start() -> Squares:
    os._exit(9)


def dies_at_its_first_start(log: Path) -> Squares:
    if not log.exists():
        log.touch()
        os._exit(9)
    return Squares(log)
