"""Features on disk: computed once, then looked up by the content of what they were computed from.

Layout of a store's folder, readable with safetensors and pyarrow alone::

    NAME-HASH/                one feature with one choice of settings
        feature.json          name, modality, dimensions, rate, unit, settings, licence, versions
        shards/*.safetensors  the arrays, see `emofuse.features.shards`
        index.safetensors     optional, made by compacting
    files/                    sha256 of each media file by its path, size and time of change: another
                              table of shards, with rows of 32 bytes

HASH is of everything in `feature.json` that the values depend on; a key within a feature's folder is of the
content of the input: `media_key` or `text_key`. So a file that is renamed or copied is found again, a file or a
setting that is changed is not, and features of the same part of the same file have the same key.
"""

import hashlib
import json
import os
import time
import uuid
from dataclasses import asdict
from pathlib import Path
from typing import Self

import numpy as np

from emofuse.errors import DataError
from emofuse.features.extractor import Extractor
from emofuse.features.shard_index import KEY_BYTES
from emofuse.features.shards import FLUSH_S, SHARD_BYTES, ShardTable
from emofuse.features.table import FeatureInfo, FeatureTable, Precision, read_info

_RACY_NS = 2 * 10**9  # a file this young may change again without a change of its size or time


def media_key(sha256: str, start_s: float | None = None, end_s: float | None = None, view: str | None = None) -> str:
    """Key of a part of a media file.

    Args:
        sha256: Of its content, in hexadecimal.
        start_s: Start of the part in seconds; None: the file's.
        end_s: Its end; None: the file's.
        view: What of the picture is looked at, where that is not all of it.
    """
    end = "end" if end_s is None else repr(float(end_s))
    return _digest(" ".join(filter(None, [sha256, repr(float(start_s or 0)), end, view])).encode())


def text_key(text: str) -> str:
    """Key of a text."""
    return _digest(text.encode())


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[: 2 * KEY_BYTES]


class FeatureStore:
    """A folder of features. Leaving a ``with`` block writes what is still in memory.

    Args:
        folder: Made at the first write.
        precision: How the values of new features are stored; ``float16`` takes half the space.
        shard_bytes, flush_s: See `emofuse.features.shards`.
    """

    def __init__(
        self,
        folder: Path,
        precision: Precision = "float32",
        shard_bytes: int = SHARD_BYTES,
        flush_s: float = FLUSH_S,
    ) -> None:
        """Open it."""
        self.folder = folder
        self.precision: Precision = precision
        self.shard_bytes = shard_bytes
        self.flush_s = flush_s
        self._tables: dict[str, FeatureTable] = {}
        self._files = ShardTable(folder / "files", "uint8", 32, shard_bytes, flush_s)

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Write what is in memory, after an error too."""
        self.flush()

    def flush(self) -> None:
        """Write what is in memory."""
        for table in (*self._tables.values(), self._files):
            table.flush()

    def table(self, extractor: Extractor) -> FeatureTable:
        """The arrays of an extractor's feature with its settings; made when there are none yet."""
        info = FeatureInfo.of(extractor, self.precision)
        path = self.folder / info.folder / "feature.json"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}.partial")
            partial.write_text(json.dumps(asdict(info), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
            partial.replace(path)
        return self._open(info.folder)

    def find(self, feature: str) -> FeatureTable:
        """A feature that is stored, by the name of its extractor or, where that is not enough, of its folder.

        Raises:
            DataError: There is none, or several choices of settings; the message lists what there is.
        """
        stored = self.features()
        folders = [folder for folder, info in stored.items() if feature in (folder, info.name)]
        if len(folders) != 1:
            found = "several" if folders else "no"
            known = ", ".join(folders or stored) or "none"
            raise DataError(f"{self.folder}: {found} feature {feature!r}; stored: {known}")
        return self._open(folders[0])

    def features(self) -> dict[str, FeatureInfo]:
        """What is stored, by the folder's name."""
        return {path.parent.name: read_info(path) for path in sorted(self.folder.glob("*/feature.json"))}

    def _open(self, name: str) -> FeatureTable:
        if name not in self._tables:
            folder = self.folder / name
            info = read_info(folder / "feature.json")
            self._tables[name] = FeatureTable(folder, info, self.shard_bytes, self.flush_s)
        return self._tables[name]

    def file_sha256(self, path: Path) -> str:
        """The sha256 of a file's content in hexadecimal; read only if its size or time changed since the last call.

        Raises:
            DataError: The file is missing or cannot be read.
        """
        try:
            status = path.stat()
        except OSError:
            raise DataError(f"{path}: no such file") from None
        key = _digest(os.fsencode(path.absolute()) + f"\0{status.st_size}\0{status.st_mtime_ns}".encode())
        if key in self._files:
            return self._files.get(key).tobytes().hex()
        try:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256")
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror})") from None
        if time.time_ns() - status.st_mtime_ns > _RACY_NS:
            self._files.put(key, np.frombuffer(digest.digest(), np.uint8))
        return digest.hexdigest()

    def compact(self) -> int:
        """Join the small shards of everything in the store; returns how many. See `ShardTable.compact`."""
        return self._files.compact() + sum(self._open(name).compact() for name in self.features())
