"""What a run leaves on disk: its test predictions, and how it came to them."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from emofuse.protocol.metrics import compute_metrics


@dataclass(frozen=True)
class RunResult:
    """A system's test predictions on one fold under one seed.

    Attributes:
        system, fold, seed: Which run.
        classes: Class names in the order of the probabilities.
        n_parameters: Of the network.
        seconds: Training time; a staged system's includes its parts.
        best_epoch: The epoch that the selection chose.
        history: One entry an epoch: loss and selection metrics.
        ids, groups: Utterances and the speakers or dialogues that are resampled for intervals.
        y_true: (n,) class indices.
        y_prob: (n, n_classes).
        cpu_seconds: Processor time of the training; 0 in a record that lacks it.
    """

    system: str
    fold: str
    seed: int
    classes: tuple[str, ...]
    n_parameters: int
    seconds: float
    best_epoch: int
    history: list[dict[str, float]]
    ids: tuple[str, ...]
    groups: tuple[str, ...]
    y_true: np.ndarray
    y_prob: np.ndarray
    cpu_seconds: float = 0.0

    @cached_property
    def metrics(self) -> dict[str, float]:
        """All metrics on the test part."""
        return compute_metrics(self.y_true, self.y_prob)

    def save(self, folder: Path, fingerprint: str) -> None:
        """Write ``run.json`` last, so that its presence means a complete run; a former one goes first."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "run.json").unlink(missing_ok=True)
        columns: dict[str, Any] = {
            "id": self.ids,
            "group": self.groups,
            "label": [self.classes[y] for y in self.y_true],
        }
        columns |= {name: self.y_prob[:, i].astype(np.float32) for i, name in enumerate(self.classes)}
        partial = folder / "write.partial"
        pq.write_table(pa.table(columns), partial)
        partial.replace(folder / "predictions.parquet")
        keep = ("system", "fold", "seed", "classes", "n_parameters", "seconds", "cpu_seconds", "best_epoch", "history")
        meta = {key: getattr(self, key) for key in keep}
        partial.write_text(json.dumps({"fingerprint": fingerprint, **meta, "metrics": self.metrics}, indent=1))
        partial.replace(folder / "run.json")

    @classmethod
    def load(cls, folder: Path, fingerprint: str) -> "RunResult | None":
        """The run that `save` wrote under the same fingerprint, or None."""
        file = folder / "run.json"
        meta = json.loads(file.read_text()) if file.exists() else {}
        if meta.pop("fingerprint", None) != fingerprint:
            return None
        meta.pop("metrics")
        table = pq.read_table(folder / "predictions.parquet")
        classes = tuple(meta.pop("classes"))
        return cls(
            **meta,
            classes=classes,
            ids=tuple(table["id"].to_pylist()),
            groups=tuple(table["group"].to_pylist()),
            y_true=np.array([classes.index(name) for name in table["label"].to_pylist()]),
            y_prob=np.stack([table[name].to_numpy() for name in classes], axis=1).astype(np.float64),
        )
