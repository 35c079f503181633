"""What every feature extractor is: arrays in, one array out, with names, a rate and a unit."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import numpy as np

from emofuse.errors import ConfigError, DataError


@dataclass(frozen=True)
class Extractor:
    """A function from one utterance of one modality to its features, and what a reader of them must know.

    Attributes:
        name: As in `EXTRACTORS`.
        modality: ``speech``: takes a waveform (n_samples,), float32 in [-1, 1], mono at 16 kHz.
            ``text``: takes a str. ``visual``: takes an iterable of `emofuse.media.video.Frame`.
        dimensions: Name of each value of a row.
        rate_hz: Rows a second; None: one row an utterance (text: one row a token or utterance).
        unit: What a value is in, in words.
        compute: The function; returns (n_rows, n_values), or (n_values,) where `rate_hz` is None.
        settings: Everything else the values depend on, as JSON values: the feature store's key.
            A network's weights are named by their sha256, not by their path.
        frame_rate: Visual only: frames a second that it wants.
        licence: What a user must know before using it commercially; empty when there is nothing.
        span: Speech only, of a feature that leaves quiet ends out: a waveform to the first and the past-the-last
            sample that its rows are of; None: they are of all.
    """

    name: str
    modality: Literal["speech", "visual", "text"]
    dimensions: tuple[str, ...]
    rate_hz: float | None
    unit: str
    compute: Callable[[Any], np.ndarray]
    settings: Mapping[str, Any] = field(default_factory=dict)
    frame_rate: float | None = None
    licence: str = ""
    span: Callable[[np.ndarray], tuple[int, int]] | None = None

    def __call__(self, x: Any) -> np.ndarray:
        """Features of one utterance: float32 (n_rows, n_values), or (n_values,) where `rate_hz` is None.

        Raises:
            DataError: There is nothing to compute them from, or a value is NaN or infinite.
        """
        return self._checked(self.compute(x))

    def _checked(self, rows: np.ndarray) -> np.ndarray:
        array = np.asarray(rows, dtype=np.float32)
        if array.shape[-1] != len(self.dimensions) or array.shape[0] == 0:
            raise DataError(f"{self.name}: gave an array of {array.shape}, need (..., {len(self.dimensions)})")
        if not np.isfinite(array).all():
            bad = np.flatnonzero(~np.isfinite(array.reshape(-1, array.shape[-1])).all(axis=0))
            first = self.dimensions[bad[0]]
            raise DataError(f"{self.name}: {len(bad)} of {array.shape[-1]} values are NaN or infinite ({first}, ...)")
        return array


def side_by_side(first: Extractor, second: Extractor) -> Extractor:
    """Both features of the same text as one vector, the second's values behind the first's.

    Raises:
        ConfigError: One of them is not one vector a text.
    """
    for one in (first, second):
        if one.modality != "text" or one.name == "words":
            raise ConfigError(f"{one.name}: not one vector a text, cannot stand beside another feature")
    return Extractor(
        name=f"{first.name}+{second.name}",
        modality="text",
        dimensions=(*first.dimensions, *(f"{second.name}.{name}" for name in second.dimensions)),
        rate_hz=None,
        unit=f"{first.unit}; {second.unit}",
        compute=partial(_concatenated, first, second),
        settings={first.name: dict(first.settings), f"beside.{second.name}": dict(second.settings)},
    )


def _concatenated(first: Extractor, second: Extractor, x: Any) -> np.ndarray:
    return np.concatenate([first(x), second(x)])
