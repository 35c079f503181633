"""Every system of one or more recipes over folds and seeds, resumable."""

import multiprocessing
import shutil
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from emofuse.batching import training_batches
from emofuse.corpora import load_corpus
from emofuse.corpora.utterance import Corpus
from emofuse.errors import DataError
from emofuse.labels import label_set
from emofuse.models import build, system
from emofuse.models.linear import LinearClassifier
from emofuse.models.staged import StagedFusion
from emofuse.protocol.context import with_context
from emofuse.protocol.linear import C_GRID, fit_linear
from emofuse.protocol.permutation import permute_labels
from emofuse.protocol.recipe import Recipe
from emofuse.protocol.record import RunResult
from emofuse.protocol.run import FoldRun, Inputs, choose_device
from emofuse.protocol.splits import Fold, labelled, make_folds
from emofuse.protocol.train import train_epoch


@dataclass(frozen=True)
class Plan:
    """What a benchmark will do.

    Attributes:
        recipe: The recipe.
        data: Folder or file of its corpus.
        out: Where runs and reports go.
        seeds: One run of everything each.
        selection: ``dev`` or ``test``.
        device: As `choose_device` takes it.
        jobs: Processes; a job is one fold under one seed. None: one, with `ray` one a CPU of the cluster.
        features: Folder of the feature store; None: extracted features are computed for this run alone.
        subsets: Test each fused system also with every proper subset of its modalities.
        ray: Address of a Ray cluster whose tasks the jobs are, see `Cluster`; None: processes here.
        audio: Folder of decoded sound, see `emofuse.extraction.decoded`; None: every process has its own in memory.
    """

    recipe: Recipe
    data: Path
    out: Path
    seeds: tuple[int, ...]
    selection: str = "dev"
    device: str = "auto"
    jobs: int | None = None
    features: Path | None = None
    subsets: bool = False
    ray: str | None = None
    audio: Path | None = None

    def run_folder(self, name: str, fold: str, seed: int) -> Path:
        """Folder of one run's record."""
        return self.out / "runs" / self.selection / name / f"{fold}-seed{seed}"

    def subset_folders(self, name: str, fold: str, seed: int) -> dict[tuple[str, ...], Path]:
        """What is left of a system's modalities, and the folder of the record of that test."""
        kept = self.recipe.subsets(name) if self.subsets else []
        return {modalities: self.run_folder(name, fold, seed) / "+".join(modalities) for modalities in kept}

    @property
    def fingerprint(self) -> str:
        """A record made under another one is run again."""
        return self.recipe.fingerprint(self.selection)


def audio_folder(given: str | None, features: Path | None, state: Path) -> Path | None:
    """Where decoded sound is kept: in the folder `given`, with the extracted features, or with a run's state.

    A run removes its state when it is done; recordings are not left where nobody has asked for them. ``off``: None.
    """
    if given is not None:
        return None if given == "off" else Path(given)
    return (features or state) / "audio"


class Session:
    """A plan with its corpus and inputs loaded: what one process works with."""

    def __init__(self, plan: Plan, corpus: Corpus | None = None) -> None:
        """Read the corpus; inputs follow at their first use."""
        self.plan = plan
        self.corpus = corpus or load_corpus(plan.recipe.corpus, plan.data)
        if plan.recipe.permute_labels:
            self.corpus = permute_labels(self.corpus)
        self.device = choose_device(plan.device)
        used = {i for fold in self.folds(plan.seeds[0]) for i in (*fold.train, *fold.dev, *fold.test)}
        if plan.recipe.other_labels == "context":
            used |= set(with_context(used, self.corpus.utterances))
        if plan.recipe.other_labels == "votes":
            used |= {i for fold in self.folds(plan.seeds[0]) for i in fold.voted}
        if plan.recipe.training_labels is not None:
            used |= {u.id for u in labelled(self.corpus.utterances, label_set(plan.recipe.training_labels))}
        chosen = [u for u in self.corpus.utterances if u.id in used]
        self.inputs = Inputs(plan.recipe, self.corpus, chosen, plan.features, plan.audio)

    def folds(self, seed: int) -> list[Fold]:
        """Folds under a seed."""
        try:
            return make_folds(self.corpus, self.plan.recipe.protocol, self.plan.recipe.labels, seed)
        except DataError as error:
            raise DataError(f"{self.plan.data}: {error}") from None

    def fold_run(self, k: int, seed: int) -> FoldRun:
        """Fold number `k` under a seed."""
        return FoldRun(self.inputs, self.folds(seed)[k], seed, self.plan.selection, self.device)

    def run(self, k: int, seed: int, on_event: Callable[[str], None]) -> list[RunResult]:
        """All systems on one fold under one seed; those with a record on disk are read back."""
        plan, run = self.plan, self.fold_run(k, seed)
        results = []
        state = plan.out / "state" / f"{plan.selection}-{run.fold.name}-seed{seed}-{plan.fingerprint}"
        for name in plan.recipe.systems:
            folder = plan.run_folder(name, run.fold.name, seed)
            subsets = plan.subset_folders(name, run.fold.name, seed)
            result = RunResult.load(folder, plan.fingerprint)
            if result is None or any(RunResult.load(f, plan.fingerprint) is None for f in subsets.values()):
                where = f"{name}, fold {run.fold.name}, seed {seed}"

                def on_epoch(part: str, entry: dict[str, float], where: str = where) -> None:
                    on_event(f"{where}: {part} epoch {entry['epoch']:.0f}")

                on_event(f"{where}: fitting the features")
                trained = run.train(name, state, on_epoch)
                for kept, where_kept in subsets.items():
                    removed = set(plan.recipe.modalities(name)) - set(kept)
                    run.test(name, trained, removed).save(where_kept, plan.fingerprint)
                result = run.test(name, trained)
                result.save(folder, plan.fingerprint)
            on_event(f"done {name}, fold {run.fold.name}, seed {seed}")
            results.append(result)
        shutil.rmtree(state, ignore_errors=True)
        return results

    def estimate_s(self) -> float:
        """Upper bound of the time in seconds.

        Each system's time for one batch, times batches, epochs and runs, and the time to fit the
        features of one fold, times folds and seeds.
        """
        run = self.fold_run(0, self.plan.seeds[0])
        n_runs = len(self.plan.seeds) * len(self.folds(self.plan.seeds[0]))
        start = time.perf_counter()
        for name in self.plan.recipe.systems:
            run.features(name)
        total = (time.perf_counter() - start) * n_runs
        names = list(self.plan.recipe.systems)
        for name in names:  # grows by the parts of staged systems, which are trained once
            config = self.plan.recipe.training_config(name)
            model = build(name, run.training_sizes(name)).to(self.device)
            if isinstance(model, LinearClassifier):
                examples = run.examples(name, run.train_ids)
                start = time.perf_counter()  # the last C takes longest
                fit_linear(model, examples, None, balanced=config.class_weights, metric="", seed=0)
                total += (time.perf_counter() - start) * len(C_GRID) * n_runs
                continue
            if isinstance(model, StagedFusion):
                model.freeze_parts()
                names += [part for part in model.parts if part not in names]
            passes = 2 if config.refit and self.plan.selection == "dev" else 1
            total += _epoch_s(run, name, model) * config.max_epochs * passes * n_runs
        return total / min(self.plan.jobs or 1, n_runs)


def _epoch_s(run: FoldRun, name: str, model: nn.Module) -> float:
    """Seconds of an epoch of a system: of one batch, times batches."""
    config, level, features = run.recipe.training_config(name), system(name).level, run.features(name)
    examples = run.examples(name, run.taught_ids)
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], fused=True)
    probe = examples[: config.batch_size]  # in the corpus' order: padded as a shuffled batch at its worst
    rate = features["speech"].steps_per_s if "speech" in features else 0.0
    vary = run.augmenter(name, run.taught_ids)
    seconds = 0.0
    for seed in range(2):  # the first one warms up
        start = time.perf_counter()
        train_epoch(model, optimiser, probe, level, config, None, seed, rate, vary)
        seconds = time.perf_counter() - start
    return seconds * sum(1 for _ in training_batches(examples, level, config.batch_size, 0))


_worker: Session | None = None
_events: Any = None


def _start_worker(plan: Plan, events: Any) -> None:
    global _worker, _events
    # One thread a process: two OpenMP threads stall LSTM training while another process uses a core.
    torch.set_num_threads(1)
    _worker, _events = Session(plan), events


def _work(k: int, seed: int) -> list[RunResult]:
    assert _worker is not None
    return _worker.run(k, seed, _events.put)


def run_all(session: Session, on_event: Callable[[str], None]) -> list[RunResult]:
    """Every fold under every seed, in `plan.jobs` processes or on a cluster; results in a fixed order."""
    plan = session.plan
    tasks = [(k, seed) for seed in plan.seeds for k in range(len(session.folds(seed)))]
    if plan.ray is not None:
        return _run_on_ray(plan, tasks, on_event)
    if plan.jobs in (None, 1):
        return [r for k, seed in tasks for r in session.run(k, seed, on_event)]
    context = multiprocessing.get_context("spawn")
    with context.Manager() as manager:
        events = manager.Queue()
        with ProcessPoolExecutor(plan.jobs, context, _start_worker, (plan, events)) as pool:
            futures = {pool.submit(_work, k, seed): (k, seed) for k, seed in tasks}
            done: dict[tuple[int, int], list[RunResult]] = {}
            pending = set(futures)
            while pending:
                while not events.empty():
                    on_event(events.get())
                for future in [f for f in pending if f.done()]:
                    if future.exception() is not None:
                        pool.shutdown(cancel_futures=True)
                    done[futures[future]] = future.result()
                    pending.discard(future)
                time.sleep(0.1)
            while not events.empty():
                on_event(events.get())
    return [r for task in tasks for r in done[task]]


def _run_on_ray(plan: Plan, tasks: Sequence[tuple[int, int]], on_event: Callable[[str], None]) -> list[RunResult]:
    from emofuse.extraction.cluster import Cluster, run_tasks  # loads Ray

    assert plan.ray is not None
    there = replace(plan, data=plan.data.absolute(), out=plan.out.absolute())
    there = replace(there, features=None if plan.features is None else plan.features.absolute())
    there = replace(there, audio=None if plan.audio is None else plan.audio.absolute())
    done: dict[int, list[RunResult]] = {}
    for number, results in run_tasks(Cluster(plan.ray, plan.jobs), _ray_work, [(there, *task) for task in tasks]):
        done[number] = results
        for result in results:
            on_event(f"done {result.system}, fold {result.fold}, seed {result.seed}")
    return [r for number in range(len(tasks)) for r in done[number]]


def _ray_work(task: tuple[Plan, int, int]) -> list[RunResult]:
    """A fold under a seed; the corpus is read once in each of the cluster's processes."""
    global _worker
    plan, k, seed = task
    torch.set_num_threads(1)
    if _worker is None or _worker.plan != plan:
        _worker = Session(plan)
    return _worker.run(k, seed, lambda event: None)
