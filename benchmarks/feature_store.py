"""The feature store beside what users have: one pickle, or one .npz, of the same arrays.

Each is written, opened again and read whole, and opened again for a hundred arrays chosen by chance, in the
same run on the same disk; the files are in the system's cache. The last columns are the store's time
divided by the other's: below 1 the store is faster.

    python benchmarks/feature_store.py
"""

import argparse
import hashlib
import pickle
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from emofuse.features.extractor import Extractor
from emofuse.features.store import FeatureStore

Arrays = dict[str, np.ndarray]
SOME = 100


def extractor(n_values: int) -> Extractor:
    """A feature of so many values; nothing is computed here."""
    names = tuple(f"x{i}" for i in range(n_values))
    return Extractor("noise", "speech", names, None, "none", lambda x: x)


def write_store(path: Path, arrays: Arrays) -> None:
    """Put every array."""
    with FeatureStore(path) as store:
        table = store.table(extractor(next(iter(arrays.values())).shape[-1]))
        for key, array in arrays.items():
            table.put(key, array)


def read_store(path: Path, keys: Iterable[str]) -> list[np.ndarray]:
    """Open the store and get some arrays."""
    return FeatureStore(path).find("noise").get_many(list(keys))


def write_pickle(path: Path, arrays: Arrays) -> None:
    """One file of everything."""
    with path.open("wb") as file:
        pickle.dump(arrays, file, protocol=5)


def read_pickle(path: Path, keys: Iterable[str]) -> list[np.ndarray]:
    """Read everything, keep some."""
    with path.open("rb") as file:
        arrays = pickle.load(file)
    return [arrays[key] for key in keys]


def write_npz(path: Path, arrays: Arrays) -> None:
    """One zip file of everything, not compressed."""
    with path.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]


def read_npz(path: Path, keys: Iterable[str]) -> list[np.ndarray]:
    """Open the zip file and read some members."""
    with np.load(path) as arrays:
        return [arrays[key] for key in keys]


KINDS: dict[str, tuple[Callable[[Path, Arrays], None], Callable[[Path, Iterable[str]], list[np.ndarray]]]] = {
    "store": (write_store, read_store),
    "pickle": (write_pickle, read_pickle),
    "npz": (write_npz, read_npz),
}


def seconds(function: Callable[[], object]) -> float:
    """Wall-clock time of one call."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def measure(folder: Path, arrays: Arrays, repeats: int) -> dict[str, tuple[float, float, float]]:
    """Kind to the seconds of writing, reading all and reading some: each the best of the repeats, taken in turns."""
    some = list(np.random.default_rng(1).choice(list(arrays), SOME, replace=False))
    best = dict.fromkeys(KINDS, (np.inf,) * 3)
    for repeat in range(repeats):
        for kind, (write, read) in KINDS.items():
            path = folder / f"{kind}-{repeat}"
            times = (
                seconds(lambda: write(path, arrays)),  # noqa: B023
                seconds(lambda: read(path, arrays)),  # noqa: B023
                seconds(lambda: read(path, some)),  # noqa: B023
            )
            best[kind] = tuple(map(min, best[kind], times))
            for key, array in zip(some, read(path, some), strict=True):
                np.testing.assert_array_equal(array, arrays[key])
    return best


def main() -> None:
    """Print a line a kind of array and of file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    cases = {
        "100,000 vectors of 4": [(4,)] * 100_000,
        "20,000 vectors of 88": [(88,)] * 20_000,
        "1,000 sequences of 100 to 500 x 80": [(int(n), 80) for n in rng.integers(100, 500, 1000)],
    }
    print(
        f"{'arrays':36s} {'file':7s} {'MB/s written':>12s} {'arrays/s read':>13s} {f'ms for {SOME}':>11s}  store/this"
    )
    for name, shapes in cases.items():
        keys = [hashlib.sha256(f"{name}{i}".encode()).hexdigest()[:32] for i in range(len(shapes))]
        arrays = {k: rng.standard_normal(shape, dtype=np.float32) for k, shape in zip(keys, shapes, strict=True)}
        size = sum(a.nbytes for a in arrays.values()) / 1e6
        with tempfile.TemporaryDirectory() as folder:
            times = measure(Path(folder), arrays, options.repeats)
        for kind, (write, read, some) in times.items():
            ratios = "  ".join(f"{a / b:8.3f}" for a, b in zip(times["store"], times[kind], strict=True))
            print(f"{name:36s} {kind:7s} {size / write:12.1f} {len(arrays) / read:13.0f} {1e3 * some:11.1f}  {ratios}")


if __name__ == "__main__":
    main()
