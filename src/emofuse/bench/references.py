"""The reference programs that ours are compared with: files of the repository, not of the package."""

import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TypeVar

from emofuse.errors import ConfigError

T = TypeVar("T")


def reference_folder(given: Path | None = None) -> Path | None:
    """Where the references are: the folder `given`, else `benchmarks/reference` of the checkout; None: nowhere.

    Raises:
        ConfigError: The folder given holds no reference.
    """
    if given is not None:
        if not (given / "plain_cma.py").is_file():
            raise ConfigError(
                f"--reference {given}: no plain_cma.py in it; give benchmarks/reference of the repository"
            )
        return given.resolve()
    beside = Path(__file__).parents[3] / "benchmarks" / "reference"
    return beside if (beside / "plain_cma.py").is_file() else None


class References:
    """The references that can be had here.

    Attributes:
        folder: Where they are; None: nowhere.
        notes: Which of those that were asked for cannot be had, and why.
    """

    def __init__(self, folder: Path | None) -> None:
        """`folder` as `reference_folder` gives it."""
        self.folder = folder
        self.notes: list[str] = []

    def use(self, name: str, make: Callable[[ModuleType], T]) -> T | None:
        """What `make` makes of a reference's module; None, with a note, where a package that it needs is missing."""
        if self.folder is None:
            return None
        if str(self.folder) not in sys.path:
            sys.path.append(str(self.folder))  # they import one another
        try:
            return make(import_module(name))
        except ModuleNotFoundError as error:
            self.notes.append(f"no reference {name}" if error.name == name else f"{name} needs {error.name}")
            return None
