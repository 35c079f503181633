from collections.abc import Callable
from typing import Any

import pytest

from emofuse.protocol.recipe import Recipe


@pytest.fixture(scope="session")
def small_recipe() -> Callable[..., Recipe]:
    """Makes a recipe for a manifest whose own split is its one fold; the keywords are its other keys."""

    def make(**content: Any) -> Recipe:
        told = dict.fromkeys(("paper", "command", "expected"), "none")
        where = {"corpus": "manifest", "protocol": "split", "labels": "emotions4"}
        return Recipe.model_validate({"name": "small"} | told | where | content)

    return make
