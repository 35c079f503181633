"""The reference programs that ours are compared with: files of the repository, not of the package."""

import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

from emofuse.errors import ConfigError


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


def load_reference(name: str, folder: Path | None = None) -> ModuleType:
    """A reference as a module; they may import one another.

    Raises:
        ConfigError: There is no folder of references.
    """
    folder = reference_folder(folder)
    if folder is None:
        raise ConfigError("no references here: give --reference, benchmarks/reference of the repository")
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
    return import_module(name)
