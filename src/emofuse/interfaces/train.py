"""``emofuse train``: one system on one fold, with progress, into a checkpoint; under ``torchrun`` in many processes."""

import shutil
from dataclasses import replace
from pathlib import Path

from emofuse.checkpoint import refuse_foreign_folder, save_checkpoint
from emofuse.errors import ConfigError
from emofuse.progress import progress as progress_bar
from emofuse.protocol.benchmark import Plan, Session
from emofuse.protocol.distributed import first_alone, joined, world
from emofuse.protocol.run import FoldRun
from emofuse.protocol.stages import TrainedSystem


def run(plan: Plan, system: str | None, fold: str | None) -> None:
    """Train, test and save; the first of several processes prints, tests and writes.

    Args:
        plan: Of one seed; `out` is the checkpoint's folder.
        system: Which of the recipe's; None: the last.
        fold: Which of the protocol's; None: the first.

    Raises:
        ConfigError: There is no such system or fold, the folder holds something else, or the processes are too many.
    """
    name = system or plan.recipe.systems[-1]
    if name not in plan.recipe.systems:
        raise ConfigError(f"--system {name}: {plan.recipe.name} has {', '.join(plan.recipe.systems)}")
    refuse_foreign_folder(plan.out)
    with joined(plan.device) as device:
        plan = replace(plan, device=device)
        fold_run = _fold_run(plan, fold)
        if world().is_first:
            _announce(plan, name, fold_run)
        if plan.features is not None or plan.audio is not None:
            with first_alone():  # extracts and decodes what is not there yet, which the others then find
                for modality, config in plan.recipe.feature_configs(name).items():
                    fold_run.inputs.raw(modality, config)
        state = state_folder(plan.out)
        run_state = state / f"{fold_run.fold.name}-{plan.seeds[0]}-{plan.fingerprint}"
        done = _train(plan, name, fold_run, run_state)
        if world().is_first:
            _conclude(plan, name, fold_run, done)
            shutil.rmtree(state, ignore_errors=True)


def state_folder(out: Path) -> Path:
    """What a training that is to be resumed is kept in until it is done."""
    return out.with_name(f"{out.name}.state.partial")


def _fold_run(plan: Plan, fold: str | None) -> FoldRun:
    session, seed = Session(plan), plan.seeds[0]
    folds = [f.name for f in session.folds(seed)]
    if fold is not None and fold not in folds:
        raise ConfigError(f"--fold {fold}: {plan.recipe.protocol} has {', '.join(folds)}")
    return session.fold_run(folds.index(fold) if fold else 0, seed)


def _announce(plan: Plan, name: str, fold_run: FoldRun) -> None:
    n_train, n_select, n_test = (len(ids) for ids in (fold_run.train_ids, fold_run.select_ids, fold_run.fold.test))
    parts = f"{n_train} train, {n_select} {plan.selection}, {n_test} test"
    where = f"{plan.recipe.corpus}, {plan.recipe.protocol}, fold {fold_run.fold.name}, seed {plan.seeds[0]}"
    print(f"{name} on {where}: {parts} utterances")
    if world().size > 1:
        print(f"in {world().size} processes, on {fold_run.device.type}")


def _train(plan: Plan, name: str, fold_run: FoldRun, state: Path) -> TrainedSystem:
    """Train with a bar, or with a line an epoch where there is no terminal."""
    metric = plan.recipe.primary_metric
    with progress_bar() as progress:
        task = progress.add_task(name, total=None)

        def on_epoch(part: str, entry: dict[str, float]) -> None:
            score = f"{plan.selection} {metric} {entry[metric]:.3f}"
            line = f"{part} epoch {entry['epoch']:.0f}, loss {entry['loss']:.3f}, {score}"
            most = plan.recipe.training_config(part).max_epochs
            progress.update(task, total=most, completed=entry["epoch"], description=line)
            if not progress.console.is_terminal:  # a log has no bar until the end
                progress.console.print(line)

        return fold_run.train(name, state, on_epoch if world().is_first else None)


def _conclude(plan: Plan, name: str, fold_run: FoldRun, done: TrainedSystem) -> None:
    result = fold_run.test(name, done)
    save_checkpoint(plan.out, fold_run.checkpoint(name, done, result))
    marker = " (selected on test)" if plan.selection == "test" else ""
    scores = ", ".join(f"{key} {value:.4f}" for key, value in result.metrics.items())
    print(f"best epoch {result.best_epoch} of {len(result.history)}; test{marker}: {scores}")
    print(f"wrote {plan.out}")
