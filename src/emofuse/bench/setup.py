"""What a case is given, and how it measures."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from emofuse.bench.references import References
from emofuse.bench.roofline import CPU, probes, roofline_of
from emofuse.bench.timing import Contender, compare, interleave, quartiles
from emofuse.bench.work import Work


@dataclass(frozen=True)
class Sizes:
    """How much a case works on. References that are many times slower get less: theirs are rates of the same unit.

    Attributes:
        n_clips, clip_s: Batch of `cma_infer_batch`, and length of a clip.
        n_slow: Clips of it that wav2vec 2.0 and openSMILE get.
        n_training: Utterances of `cma_train`; the plain reference, whose batches are all alike, gets one batch.
        batch_size: Utterances a step.
        n_dialogues, dialogue_batch: Dialogues of `mman_train`, and of a step.
        recording_s: Recording of `predict_file` and `decode`.
        slow_s: Of that, what slow references get.
        n_files: Clips of `extract`.
        n_requests, n_clients: Of a run of `server`.
        stream_values, matrix: Of the roofline's probes, see `emofuse.bench.roofline.probes`: arrays of 128 MiB.
    """

    n_clips: int = 32
    clip_s: float = 5.0
    n_slow: int = 2
    n_training: int = 128
    batch_size: int = 32
    n_dialogues: int = 32
    dialogue_batch: int = 8
    recording_s: float = 120.0
    slow_s: float = 20.0
    n_files: int = 16
    n_requests: int = 24
    n_clients: int = 4
    stream_values: int = 2**25
    matrix: int = 2048


@dataclass(frozen=True)
class Setup:
    """What a case is given.

    Attributes:
        runs: How often everything is timed.
        threads: That this process may use.
        references: What can be compared with.
        folder: For temporary files.
        sizes: How much to work on.
    """

    runs: int
    threads: int
    references: References
    folder: Path
    sizes: Sizes = field(default_factory=Sizes)

    def measure(
        self,
        unit: str,
        ours: Contender,
        reference: Contender | None,
        beside: Sequence[Contender | None] = (),
        work: Work | None = None,
        device: torch.device = CPU,
    ) -> dict[str, Any]:
        """Time all in turns.

        Args:
            unit: See `emofuse.bench.timing`.
            ours: What is ours.
            reference: What a user would otherwise have; None: it is not here.
            beside: Others worth a look; those that are None are left out.
            work: The least work of one run of ours; None: it is not one model, and has no roofline.
            device: What ours runs on, whose roofline is measured.

        Returns:
            As `compare`, with the share of the roofline and notes of what was missing.
        """
        contenders = [c for c in (ours, reference, *beside) if c is not None]
        tried = probes(self.sizes.stream_values, self.sizes.matrix, device) if work is not None else []
        seconds = interleave([*contenders, *tried], self.runs)
        entry = compare(unit, contenders, seconds[: len(contenders)], reference is not None)
        entry["threads"] = self.threads
        if work is not None:
            entry |= roofline_of(tried, seconds[len(contenders) :]).share(work, quartiles(seconds[0])[1])
        return entry | ({"note": "; ".join(self.references.notes)} if self.references.notes else {})

    def stages_ms(self, stages: Mapping[str, Callable[[], object]]) -> dict[str, float]:
        """Median milliseconds of each stage, timed in turns."""
        contenders = [Contender(name, run) for name, run in stages.items()]
        found = interleave(contenders, self.runs, round_s=0.0)
        return {c.name: 1000 * quartiles(seconds)[1] for c, seconds in zip(contenders, found, strict=True)}
