"""On what machine, and with what, something was measured."""

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("emofuse", "torch", "numpy", "onnxruntime", "soundfile", "soxr", "transformers", "opensmile", "MMSA")
_FEATURES = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "bf16")  # of those that matter for speed


def n_cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def describe() -> dict[str, Any]:
    """System, processor, cores, memory, versions, load average and date, as JSON values; null where not known."""
    processor = _processor()
    return {
        "system": platform.platform(),
        "processor": processor.get("model name") or platform.processor() or platform.machine(),
        "processor_features": [name for name in _FEATURES if name in processor.get("flags", "").split()],
        "cores": n_cores(),
        "memory_gb": _memory_gb(),
        "python": platform.python_version(),
        "versions": {name: found for name in PACKAGES if (found := _version(name)) is not None},
        "load_average": load_average(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def load_average() -> list[float] | None:
    """Processes that wanted to run, the mean over 1, 5 and 15 minutes."""
    return [round(x, 2) for x in os.getloadavg()] if hasattr(os, "getloadavg") else None


def _processor() -> dict[str, str]:
    """What Linux says of the first core."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").split("\n\n")[0].splitlines()
    except OSError:
        return {}
    found = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return {**found, "flags": found.get("flags", found.get("Features", ""))}


def _memory_gb() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1)
    except (ValueError, OSError, AttributeError):
        return None


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
