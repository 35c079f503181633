"""The references of this checkout, and small cases."""

from pathlib import Path

import pytest

from emofuse.bench.references import References, reference_folder
from emofuse.bench.roofline import Roofline
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
)


@pytest.fixture
def references() -> References:
    folder = reference_folder()
    assert folder is not None
    return References(folder)


@pytest.fixture
def alone(tmp_path: Path) -> Setup:
    """A small case without references, on a machine of 10^9 bytes and 1000 operations a second."""
    roofline = Roofline(1e9, {"float32": 100.0, "bfloat16": 1000.0}, 1)
    return Setup(2, 1, References(None), tmp_path, roofline, TINY)
