"""``emofuse train``, ``evaluate`` and ``benchmark``: systems on corpora."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from emofuse.interfaces.commands.options import AudioCache, Data, Device, Features, Jobs, Out, Ray, Selection, Set
from emofuse.threads import use_one_thread


def train(
    recipe: Annotated[Path, typer.Argument(help="Recipe file (TOML).")],
    data: Data,
    out: Out,
    system: Annotated[str | None, typer.Option(help="Which of the recipe's systems; default: the last.")] = None,
    fold: Annotated[str | None, typer.Option(help="Which fold of the protocol; default: the first.")] = None,
    seed: Annotated[int, typer.Option(help="Of weights, order, dropout and the draw of dev.")] = 0,
    assignments: Set = None,
    selection: Annotated[Selection, typer.Option(help="What chooses the epoch.")] = Selection.dev,
    device: Device = "auto",
    store: Features = None,
    audio_cache: AudioCache = None,
) -> None:
    """Train one system on one fold and write a checkpoint; run again after an interruption to go on."""
    from emofuse.interfaces.train import run, state_folder
    from emofuse.protocol.benchmark import Plan, audio_folder
    from emofuse.protocol.recipe import load_recipe

    use_one_thread()
    plan = Plan(load_recipe(recipe, assignments or []), data, out, (seed,), selection.value, device, features=store)
    run(replace(plan, audio=audio_folder(audio_cache, store, state_folder(out))), system, fold)


def evaluate(
    checkpoint: Annotated[Path, typer.Argument(help="Folder of a checkpoint or of a fusion; default: what ships.")],
    data: Annotated[Path, typer.Option("--data", help="Folder or file of the corpus.")],
    corpus: Annotated[str | None, typer.Option(help="Reader of another corpus than the one trained on.")] = None,
    without: Annotated[
        list[str] | None, typer.Option("--without", help="Remove a modality: speech, visual or text.")
    ] = None,
    figure: Annotated[Path | None, typer.Option(help="Draw the reliability diagrams into this PNG.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    device: Device = "auto",
    store: Features = None,
) -> None:
    """Score a checkpoint on its fold's test part or on all of another corpus; or a whole model, as predict runs it."""
    from emofuse.interfaces.evaluate import draw_reliability, print_report, score

    use_one_thread()
    report = score(checkpoint, data, corpus, without or [], device, store)
    if figure is not None:
        draw_reliability(report, figure)
    if as_json:
        print(json.dumps(report))
    else:
        print_report(report)


def benchmark(
    recipes: Annotated[list[Path], typer.Argument(metavar="RECIPE", help="Recipe files.", show_default=False)],
    data: Annotated[Path, typer.Option(help="The recipe's corpus; for several recipes, the folder of the corpora.")],
    out: Annotated[Path | None, typer.Option(help="Folder to write to; default: runs/RECIPE.")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Number of seeds: 0 to N-1.")] = 1,
    selection: Annotated[Selection, typer.Option(help="dev is honest; test only to compare.")] = Selection.dev,
    jobs: Jobs = None,
    ray: Ray = None,
    subsets: Annotated[
        bool, typer.Option("--subsets", help="Also test the fused systems with modalities removed.")
    ] = False,
    assignments: Set = None,
    device: Device = "auto",
    store: Features = None,
    audio_cache: AudioCache = None,
) -> None:
    """Run every system of one or more recipes over folds and seeds; run again after an interruption to go on."""
    from emofuse.corpora.merge import part_folder
    from emofuse.interfaces.benchmark import run
    from emofuse.protocol.benchmark import Plan, audio_folder
    from emofuse.protocol.recipe import load_recipe

    plans = []
    for recipe in [load_recipe(path, assignments or []) for path in recipes]:
        single = len(recipes) == 1
        folder = out if out is not None and single else (out or Path("runs")) / recipe.name
        source = data if single or "+" in recipe.corpus else part_folder(data, recipe.corpus)
        audio = audio_folder(audio_cache, store, folder / "state")
        plans.append(
            Plan(recipe, source, folder, tuple(range(seeds)), selection.value, device, jobs, store, subsets, ray, audio)
        )
    use_one_thread()
    for plan in plans:
        run(plan)
