"""Everything that is measured, by name."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from emofuse.bench.cases import cma, files, mman, processes
from emofuse.bench.setup import Setup
from emofuse.errors import ConfigError


@dataclass(frozen=True)
class Case:
    """Something that is measured.

    Attributes:
        run: Measures it.
        unit: Of ours and of the reference, see `emofuse.bench.timing`.
        what: One line.
        threads: Of its own, where it is not to have all cores.
        on_gpu: It needs a GPU; where there is none, it is measured only if it is named.
    """

    run: Callable[[Setup], dict[str, Any]]
    unit: str
    what: str
    threads: int | None = None
    on_gpu: bool = False


CASES: dict[str, Case] = {
    "cma_train": Case(cma.cma_train, "utterances/s", "training CMA on waveforms, an epoch"),
    "cma_train_gpu": Case(
        cma.cma_train_gpu, "utterances/s", "training CMA on waveforms on a GPU, an epoch", on_gpu=True
    ),
    "cma_infer_batch": Case(cma.cma_infer_batch, "x real time", "CMA on a batch of clips"),
    "cma_infer_single": Case(cma.cma_infer_single, "ms", "CMA on one clip"),
    "mman_train": Case(mman.mman_train, "utterances/s", "training all networks of MMAN, an epoch"),
    "decode": Case(files.decode, "x real time", "FLAC to 16 kHz mono", 1),
    "extract": Case(files.extract, "x real time", "feature `voice` of clips into a store, one process", 1),
    "predict_file": Case(files.predict_file, "x real time", "FLAC to timeline, by the model that ships"),
    "server": Case(processes.server, "requests/s", "clips to emofuse serve, several clients"),
    "cold_start": Case(processes.cold_start, "s", "first prediction of a fresh process"),
}


def find_cases(names: list[str]) -> list[str]:
    """The cases of these names, each once; all that this machine has the device for where none is named.

    Raises:
        ConfigError: There is no such case.
    """
    for name in names:
        if name not in CASES:
            raise ConfigError(f"unknown case {name!r}; known: {', '.join(CASES)}")
    here = [name for name, case in CASES.items() if torch.cuda.is_available() or not case.on_gpu]
    return list(dict.fromkeys(names)) or here
