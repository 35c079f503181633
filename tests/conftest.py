"""Shared test settings: one CPU thread, and the real corpora when EMOFUSE_DATA names their folder."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

# Two OpenMP threads stall LSTM training whenever another process uses a core; one is faster here.
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Name the test that leaves torch with more threads: results of later ones would round differently."""
    yield
    assert torch.get_num_threads() == 1


@pytest.fixture(scope="session")
def corpora_dir() -> Path:
    """Folder of the real corpora; tests that ask for it are skipped, visibly, where it is not set."""
    value = os.environ.get("EMOFUSE_DATA")
    if not value:
        pytest.skip("EMOFUSE_DATA is not set: no real corpora here")
    return Path(value)


@pytest.fixture(scope="session")
def example_clip() -> Path:
    """The clip that the repository ships: a synthetic voice, about two seconds."""
    return Path(__file__).parents[1] / "examples" / "hello.wav"
