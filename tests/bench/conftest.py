"""The references of this checkout, and small cases."""

from pathlib import Path

import pytest

from emofuse.bench.references import References, reference_folder
from emofuse.bench.setup import Setup, Sizes

TINY = Sizes(
    n_clips=2,
    clip_s=0.6,
    n_slow=1,
    n_training=4,
    batch_size=2,
    n_dialogues=2,
    dialogue_batch=1,
    recording_s=4.0,
    slow_s=1.0,
    n_files=2,
    n_requests=2,
    n_clients=2,
    stream_values=2**12,
    matrix=32,
)


@pytest.fixture
def references() -> References:
    folder = reference_folder()
    assert folder is not None
    return References(folder)


@pytest.fixture
def alone(tmp_path: Path) -> Setup:
    """A small case without references."""
    return Setup(2, 1, References(None), tmp_path, TINY)
