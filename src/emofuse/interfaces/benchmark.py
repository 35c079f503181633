"""``emofuse benchmark``: systems over folds and seeds, with progress, and where the report is."""

import shutil

from emofuse.progress import progress as progress_bar
from emofuse.protocol.benchmark import Plan, Session, run_all
from emofuse.protocol.report import write_report
from emofuse.protocol.subsets import summarise_subsets
from emofuse.protocol.summary import summarise


def run(plan: Plan) -> None:
    """Run what is not on disk yet, write the report and print its main numbers."""
    session = Session(plan)
    plan.out.mkdir(parents=True, exist_ok=True)  # now, not after hours of training
    recipe, n_folds = plan.recipe, len(session.folds(plan.seeds[0]))
    n_runs = len(recipe.systems) * len(plan.seeds) * n_folds
    print(f"{recipe.name}: {len(recipe.systems)} systems x {n_folds} folds x {len(plan.seeds)} seeds = {n_runs} runs")
    print(f"protocol {recipe.protocol}, selected on {plan.selection}, {_jobs(plan)}, results in {plan.out}")
    print(
        f"at most {_duration(session.estimate_s())}, less with early stopping and for runs already on disk", flush=True
    )
    with progress_bar() as progress:
        task = progress.add_task(recipe.name, total=n_runs)

        def on_event(event: str) -> None:
            progress.update(task, advance=int(event.startswith("done ")), description=event.removeprefix("done "))

        results = run_all(session, on_event)
    shutil.rmtree(plan.out / "state" / "audio", ignore_errors=True)
    report = summarise(plan, results) | summarise_subsets(plan, results)
    write_report(plan.out, report, results, recipe)
    metric, marker = report["primary_metric"], " (selected on test)" if plan.selection == "test" else ""
    for name, entry in report["systems"].items():
        m = entry["metrics"][metric]
        low, high = m["ci95"]
        print(f"  {name:24s} {metric} {m['mean']:.4f} +- {m['std']:.4f}  [{low:.4f}, {high:.4f}]{marker}")
    print(f"wrote {plan.out / 'report.md'}")


def _jobs(plan: Plan) -> str:
    if plan.ray is not None:
        return f"{plan.jobs or 'all'} CPUs of Ray ({plan.ray})"
    return f"{plan.jobs or 1} job(s)"


def _duration(seconds: float) -> str:
    return (
        f"{seconds:.0f} s"
        if seconds < 90
        else f"{seconds / 60:.0f} min"
        if seconds < 5400
        else f"{seconds / 3600:.1f} h"
    )
