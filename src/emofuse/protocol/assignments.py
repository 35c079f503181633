"""What `--set KEY=VALUE` changes."""

import tomllib
from typing import Any

from emofuse.errors import ConfigError


def assign(values: dict[str, Any], assignment: str) -> None:
    """Apply one ``key.path=value``; the value is read as TOML, or taken as a string."""
    key, separator, text = assignment.partition("=")
    if not separator or not key.strip():
        raise ConfigError(f"--set {assignment}: need KEY=VALUE, for example training.learning_rate=0.0005")
    try:
        value = tomllib.loads(f"v = {text}")["v"]
    except tomllib.TOMLDecodeError:
        value = text.strip()
    *parents, last = key.strip().split(".")
    for parent in parents:
        values = values.setdefault(parent, {})
        if not isinstance(values, dict):
            raise ConfigError(f"--set {assignment}: {parent} is a value, not a table")
    values[last] = value
