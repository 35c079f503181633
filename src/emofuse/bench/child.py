"""One case in a process of its own: threads and how they wait can only be chosen before anything is imported.

python -m emofuse.bench.child JOB RESULT      # two JSON files, see `run_job`
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from emofuse.bench.cases import CASES
from emofuse.bench.references import References
from emofuse.bench.setup import Setup, Sizes
from emofuse.bench.timing import empty_entry
from emofuse.errors import EmofuseError
from emofuse.memory import keep_freed_memory


def run_job(job: dict[str, Any]) -> dict[str, Any]:
    """Do what `emofuse.bench.run` asks of a child.

    Args:
        job: ``case``, ``runs``, ``threads``, ``references`` (folder or None) and ``sizes`` (changes of `Sizes`).

    Returns:
        The case's entry; where it cannot run here, an empty one with a note.
    """
    keep_freed_memory()  # as commands do; the references have the same
    torch.set_num_threads(job["threads"])
    case = CASES[job["case"]]
    references = References(None if job["references"] is None else Path(job["references"]))
    with tempfile.TemporaryDirectory() as folder:
        setup = Setup(job["runs"], job["threads"], references, Path(folder), Sizes(**job["sizes"]))
        try:
            return case.run(setup)
        except EmofuseError as error:
            return empty_entry(case.unit, str(error))


def main() -> None:
    """Entry point."""
    job, result = Path(sys.argv[1]), Path(sys.argv[2])
    result.write_text(json.dumps(run_job(json.loads(job.read_text(encoding="utf-8")))), encoding="utf-8")


if __name__ == "__main__":
    main()
