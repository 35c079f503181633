"""``emofuse train``: one system on one fold, with progress, into a checkpoint."""

import shutil

from emofuse.checkpoint import refuse_foreign_folder, save_checkpoint
from emofuse.errors import ConfigError
from emofuse.progress import progress as progress_bar
from emofuse.protocol.benchmark import Plan, Session


def run(plan: Plan, system: str | None, fold: str | None) -> None:
    """Train, test and save.

    Args:
        plan: Of one seed; `out` is the checkpoint's folder.
        system: Which of the recipe's; None: the last.
        fold: Which of the protocol's; None: the first.

    Raises:
        ConfigError: There is no such system or fold, or the folder holds something else.
    """
    chosen, out, seed = plan.recipe, plan.out, plan.seeds[0]
    name = system or chosen.systems[-1]
    if name not in chosen.systems:
        raise ConfigError(f"--system {name}: {chosen.name} has {', '.join(chosen.systems)}")
    refuse_foreign_folder(out)
    session = Session(plan)
    folds = [f.name for f in session.folds(seed)]
    if fold is not None and fold not in folds:
        raise ConfigError(f"--fold {fold}: {chosen.protocol} has {', '.join(folds)}")
    fold_run = session.fold_run(folds.index(fold) if fold else 0, seed)
    parts = (
        f"{len(fold_run.train_ids)} train, {len(fold_run.select_ids)} {plan.selection}, {len(fold_run.fold.test)} test"
    )
    print(f"{name} on {chosen.corpus}, {chosen.protocol}, fold {fold_run.fold.name}, seed {seed}: {parts} utterances")
    metric = chosen.primary_metric
    state = out.with_name(f"{out.name}.state.partial") / f"{fold_run.fold.name}-{seed}-{plan.fingerprint}"
    with progress_bar() as progress:
        task = progress.add_task(name, total=None)

        def on_epoch(part: str, entry: dict[str, float]) -> None:
            score = f"{plan.selection} {metric} {entry[metric]:.3f}"
            line = f"{part} epoch {entry['epoch']:.0f}, loss {entry['loss']:.3f}, {score}"
            most = chosen.training_config(part).max_epochs
            progress.update(task, total=most, completed=entry["epoch"], description=line)
            if not progress.console.is_terminal:  # a log has no bar until the end
                progress.console.print(line)

        done = fold_run.train(name, state, on_epoch)
    result = fold_run.test(name, done)
    save_checkpoint(out, fold_run.checkpoint(name, done, result))
    shutil.rmtree(state.parent, ignore_errors=True)
    marker = " (selected on test)" if plan.selection == "test" else ""
    scores = ", ".join(f"{key} {value:.4f}" for key, value in result.metrics.items())
    print(f"best epoch {result.best_epoch} of {len(result.history)}; test{marker}: {scores}")
    print(f"wrote {out}")
