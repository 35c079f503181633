"""Cases one after the other, each in a process with the threads that it is to have."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from emofuse.bench.cases import CASES
from emofuse.bench.machine import describe, load_average, n_cores
from emofuse.bench.roofline import Roofline, best_of
from emofuse.bench.timing import empty_entry

WAIT_POLICY = "PASSIVE"
"""How idle OpenMP threads wait: spinning ones (the default) stall LSTMs as soon as another process wants a core."""


@dataclass(frozen=True)
class Plan:
    """What to measure.

    Attributes:
        cases: Names.
        runs: How often each contender is timed.
        threads: Of every case; None: all cores, or those that the case is to have.
        references: Their folder; None: there are none.
        sizes: Changes of `emofuse.bench.setup.Sizes`.
    """

    cases: Sequence[str]
    runs: int = 5
    threads: int | None = None
    references: Path | None = None
    sizes: dict[str, Any] | None = None


def run(plan: Plan, on_start: Callable[[str], None] = lambda _: None) -> dict[str, Any]:
    """Measure.

    Args:
        plan: What.
        on_start: Called with the name of what is measured next.

    Returns:
        ``machine``, ``settings``, ``roofline`` (the processor's best rates of all cases; null where none has any) and
        ``cases``, name to entry.
    """
    machine, most = describe(), plan.threads or n_cores()
    entries: dict[str, Any] = {}
    for name in plan.cases:
        on_start(name)
        case = CASES[name]
        job = {
            "case": name,
            "runs": plan.runs,
            "threads": plan.threads or case.threads or most,
            "references": None if plan.references is None else str(plan.references),
            "sizes": plan.sizes or {},
        }
        entries[name] = _in_child(job) or empty_entry(case.unit, "its process failed; what it said is above")
        entries[name]["load_average"] = load_average()
    settings = {"runs": plan.runs, "threads": most, "wait_policy": WAIT_POLICY}
    found = [e["roofline"] for name, e in entries.items() if "roofline" in e and not CASES[name].on_gpu]
    best = best_of(Roofline(r["bytes_per_s"], r["flops_per_s"]) for r in found)
    return {"machine": machine, "settings": settings, "roofline": best and asdict(best), "cases": entries}


def _in_child(job: dict[str, Any]) -> dict[str, Any] | None:
    """What a child gives for a job; None where it failed. Whatever it prints goes to stderr."""
    threads = str(job["threads"])
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    environment = {**os.environ, **dict.fromkeys(names, threads), "OMP_WAIT_POLICY": WAIT_POLICY}
    with tempfile.TemporaryDirectory() as folder:
        question, answer = Path(folder) / "job.json", Path(folder) / "result.json"
        question.write_text(json.dumps(job), encoding="utf-8")
        command = [sys.executable, "-m", "emofuse.bench.child", str(question), str(answer)]
        done = subprocess.run(command, env=environment, stdout=2, check=False)  # 2: standard error
        if done.returncode or not answer.exists():
            return None
        return json.loads(answer.read_text(encoding="utf-8"))
