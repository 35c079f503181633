"""The command line: parse, call, print. Errors that the user can mend are one line on stderr and exit 2."""

import json
import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from emofuse.errors import ConfigError, DataError, EmofuseError
from emofuse.interfaces.bench import bench
from emofuse.interfaces.export import export
from emofuse.memory import keep_freed_memory

app = typer.Typer(
    help="Emotion recognition from speech, words and face, in conversation.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
corpora_app = typer.Typer(help="List the corpus readers, or check a corpus.", invoke_without_command=True)
app.add_typer(corpora_app, name="corpora")
app.command()(bench)


class Selection(StrEnum):
    """What chooses the epoch."""

    dev = "dev"
    test = "test"


class Engine(StrEnum):
    """What runs the networks."""

    auto = "auto"
    torch = "torch"
    onnx = "onnx"


class Format(StrEnum):
    """How predictions are written."""

    text = "text"
    json = "json"
    csv = "csv"
    textgrid = "textgrid"
    eaf = "eaf"
    srt = "srt"


Data = Annotated[Path, typer.Option("--data", help="Folder or file of the recipe's corpus.")]
Out = Annotated[Path, typer.Option("--out", help="Folder to write to.")]
Set = Annotated[list[str] | None, typer.Option("--set", help="Change a recipe's value, e.g. training.max_epochs=5.")]
Features = Annotated[
    Path | None, typer.Option("--features", help="Feature store: extracted features are looked up in it and added.")
]
Jobs = Annotated[int | None, typer.Option(min=1, help="Processes.", show_default="1; with --ray one a CPU")]
Ray = Annotated[
    str | None, typer.Option(metavar="auto|ADDRESS", help="Work on a Ray cluster; auto: one here, started if need be.")
]
EngineChoice = Annotated[Engine, typer.Option("--engine", help="What runs the networks; auto: torch if installed.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")]


@app.command()
def predict(
    media: Annotated[
        list[str],
        typer.Argument(metavar="MEDIA", help="Files, folders, patterns, @LIST.", show_default=False),
    ],
    text: Annotated[str | None, typer.Option(help="The words that were said in a single file.")] = None,
    transcript: Annotated[
        Path | None, typer.Option(help="Words: SRT, WebVTT, Whisper JSON or txt; or a folder of them.")
    ] = None,
    segments: Annotated[
        Path | None, typer.Option(help="Utterances: csv, RTTM, TextGrid or ELAN; or a folder of them.")
    ] = None,
    asr: Annotated[
        str | None, typer.Option(help="Recognise the words with this Whisper model: name or folder.")
    ] = None,
    language: Annotated[str | None, typer.Option(help="Of the recognition, as en; default: found out.")] = None,
    whole: Annotated[bool, typer.Option("--whole", help="Take each file as one utterance.")] = False,
    model: Annotated[str, typer.Option(help="Checkpoint folder; default: the model that ships.")] = "default",
    threshold: Annotated[
        float, typer.Option(min=0, max=1, help="Mark as unsure what is less probable than this.")
    ] = 0.5,
    face_detector: Annotated[
        Path | None, typer.Option(help="BlazeFace (.tflite) or YuNet (.onnx) file; default: OpenCV's own.")
    ] = None,
    frame_rate: Annotated[float, typer.Option(min=0.1, help="Pictures a second looked at for faces.")] = 5.0,
    format: Annotated[Format, typer.Option(help="How to print or write.")] = Format.text,
    out: Annotated[Path | None, typer.Option(help="File, or folder for a file each, instead of printing.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Leave out files whose result is in --out.")] = False,
    report: Annotated[Path | None, typer.Option(help="Also write a page with player and timeline (HTML).")] = None,
    jobs: Jobs = None,
    ray: Ray = None,
    engine: EngineChoice = Engine.auto,
) -> None:
    """Say who felt what, when, how sure that is, and on what evidence."""
    from emofuse.interfaces.predict import Job, expand, run
    from emofuse.interfaces.worker import Setup

    files = expand(media)
    for option, value in (("--text", text), ("--transcript", transcript), ("--segments", segments)):
        if value is not None and len(files) > 1 and not (isinstance(value, Path) and value.is_dir()):
            several = "" if option == "--text" else "; for several give a folder of files named like them"
            raise ConfigError(f"{option} is for one file, {len(files)} were given{several}")
    setup = Setup(
        model, threshold, text, transcript, segments, whole, asr, language, face_detector, frame_rate, engine.value
    )
    if ray is not None:
        from emofuse.interfaces.parts import run as run_on_ray

        if out is None or format != Format.text or report is not None:
            raise ConfigError("--ray writes Parquet into a folder: give --out FOLDER, leave out --format and --report")
        raise typer.Exit(run_on_ray(setup, files, out, ray, jobs))
    n_threads = _half_of_the_threads()
    raise typer.Exit(run(Job(setup, format, out, resume, report, 2 * n_threads), files, jobs or 1))


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="Where to listen; 0.0.0.0 lets other machines in.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65_535)] = 8000,
    model: Annotated[str, typer.Option(help="Checkpoint folder; default: the model that ships.")] = "default",
    threshold: Annotated[
        float, typer.Option(min=0, max=1, help="Mark as unsure what is less probable than this.")
    ] = 0.5,
    asr: Annotated[str | None, typer.Option(help="Let requests have words recognised by this Whisper model.")] = None,
    token_file: Annotated[Path | None, typer.Option(help="Bearer tokens, one a line, that may use it.")] = None,
    insecure: Annotated[bool, typer.Option("--insecure", help="Let others in without a token.")] = False,
    allow_host: Annotated[list[str] | None, typer.Option(help="Name that a proxy on this machine forwards.")] = None,
    state: Annotated[Path | None, typer.Option(help="Folder of jobs and uploads.", show_default=False)] = None,
    workers: Annotated[int, typer.Option(min=1, help="Files decoded at a time.")] = 2,
    queue: Annotated[int, typer.Option(min=0, help="Requests that may wait beside them; then 503.")] = 16,
    max_mb: Annotated[float, typer.Option(min=0.01, help="Largest body of a request, MB.")] = 200,
    max_minutes: Annotated[float, typer.Option(min=0.01, help="Longest recording of a request.")] = 10,
    max_job_mb: Annotated[float, typer.Option(min=0.01, help="Largest body of a job, MB.")] = 2000,
    max_job_minutes: Annotated[float, typer.Option(min=0.01, help="Longest recording of a job.")] = 240,
    max_pixels: Annotated[int, typer.Option(min=1, help="Largest picture of a video.")] = 9_437_184,
    request_s: Annotated[float, typer.Option(min=1, help="Longest time of a request.")] = 120,
    job_hours: Annotated[float, typer.Option(min=0.001, help="How long a job's result is kept.")] = 24,
) -> None:
    """Serve predictions over HTTP, live streams and a web page."""
    if sys.platform == "win32":
        raise ConfigError("the server runs on Linux and macOS: it decodes uploads in processes that are forked")
    try:
        from emofuse.server.run import serve as run
        from emofuse.server.settings import MEGABYTE, ServerSettings, default_state
    except ImportError as error:
        raise ConfigError(f'serving needs {error.name}: pip install "emofuse[serve]"') from None

    settings = ServerSettings(
        host,
        port,
        model,
        threshold,
        asr,
        token_file,
        state or default_state(),
        tuple(allow_host or ()),
        workers,
        queue,
        max_bytes=round(max_mb * MEGABYTE),
        max_s=60 * max_minutes,
        max_job_bytes=round(max_job_mb * MEGABYTE),
        max_job_s=60 * max_job_minutes,
        max_pixels=max_pixels,
        request_s=request_s,
        job_ttl_s=3600 * job_hours,
    )
    run(settings, insecure)


class LiveFormat(StrEnum):
    """How live predictions are printed."""

    text = "text"
    json = "json"


Model = Annotated[str, typer.Option(help="Checkpoint folder; default: the model that ships.")]
Url = Annotated[str | None, typer.Option(help="Server that predicts (emofuse serve); default: this process.")]
Token = Annotated[Path | None, typer.Option(help="File whose first line is the server's token.")]
LiveOutput = Annotated[LiveFormat, typer.Option("--format", help="How to print.")]


@app.command()
def stream(
    file: Annotated[Path, typer.Argument(help="Sound or video file.", show_default=False)],
    speed: Annotated[float, typer.Option(min=0.1, max=100, help="Times real time.")] = 1.0,
    model: Model = "default",
    url: Url = None,
    token_file: Token = None,
    format: LiveOutput = LiveFormat.text,
) -> None:
    """Replay a file in real time, and predict as if it were spoken now."""
    from emofuse.interfaces.listen import replay

    _follow(replay(file, speed), file.name, model, url, token_file, format)


@app.command()
def listen(
    device: Annotated[str | None, typer.Option(help="Microphone: name or number; default: the system's.")] = None,
    model: Model = "default",
    url: Url = None,
    token_file: Token = None,
    format: LiveOutput = LiveFormat.text,
) -> None:
    """Predict what a microphone hears, until Ctrl-C."""
    from emofuse.interfaces.listen import microphone

    _follow(microphone(device), "microphone", model, url, token_file, format)


def _follow(blocks: Any, source: str, model: str, url: str | None, token_file: Path | None, format: str) -> None:
    from emofuse.interfaces.listen import first_token, follow, follow_server
    from emofuse.predictor import load

    if url is not None:
        follow_server(blocks, url, first_token(token_file), source, format == "json")
    else:
        predictor = load(model)
        _one_thread()
        follow(blocks, predictor, source, format == "json")


@app.command()
def extract(
    features: Annotated[list[str], typer.Argument(metavar="FEATURE", help="Names as `emofuse features` lists them.")],
    data: Annotated[Path, typer.Option(help="Corpus, table of your own (csv, JSONL, Parquet) or folder of media.")],
    out: Annotated[Path, typer.Option(help="Folder of the feature store; more can be added to it.")],
    corpus: Annotated[str | None, typer.Option(help="Reader, as `emofuse corpora` lists them.")] = None,
    encoder: Annotated[str | None, typer.Option(help="The feature's network: folder, file or name.")] = None,
    assignments: Annotated[
        list[str] | None, typer.Option("--set", help="Option of the feature, e.g. n_mels=64.")
    ] = None,
    jobs: Jobs = None,
    half: Annotated[bool, typer.Option("--half", help="Store float16: half the space.")] = False,
    export: Annotated[
        Path | None, typer.Option(help="Also write one Parquet table, a row an utterance; with --ray a folder of them.")
    ] = None,
    ray: Ray = None,
) -> None:
    """Extract features into a store; what is there already is looked up, what failed is listed (exit 1)."""
    from emofuse.interfaces.extract import find_utterances, run
    from emofuse.protocol.assignments import assign

    _one_thread()
    options: dict[str, Any] = {}
    for assignment in assignments or []:
        assign(options, assignment)
    code = run(
        features,
        find_utterances(data if ray is None else data.absolute(), corpus),
        out,
        encoder=encoder,
        options=options,
        jobs=jobs,
        half=half,
        export=export,
        ray=ray,
    )
    raise typer.Exit(code)


@app.command()
def features() -> None:
    """List the features that can be extracted."""
    from emofuse.interfaces.extract import listing

    print(*listing(), sep="\n")


@app.command()
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
) -> None:
    """Train one system on one fold and write a checkpoint; run again after an interruption to go on."""
    from emofuse.interfaces.train import run
    from emofuse.protocol.benchmark import Plan
    from emofuse.protocol.recipe import load_recipe

    _one_thread()
    plan = Plan(load_recipe(recipe, assignments or []), data, out, (seed,), selection.value, device, features=store)
    run(plan, system, fold)


@app.command()
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

    _one_thread()
    report = score(checkpoint, data, corpus, without or [], device, store)
    if figure is not None:
        draw_reliability(report, figure)
    if as_json:
        print(json.dumps(report))
    else:
        print_report(report)


app.command()(export)


@app.command()
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
) -> None:
    """Run every system of one or more recipes over folds and seeds; run again after an interruption to go on."""
    from emofuse.corpora.merge import part_folder
    from emofuse.interfaces.benchmark import run
    from emofuse.protocol.benchmark import Plan
    from emofuse.protocol.recipe import load_recipe

    plans = []
    for recipe in [load_recipe(path, assignments or []) for path in recipes]:
        single = len(recipes) == 1
        folder = out if out is not None and single else (out or Path("runs")) / recipe.name
        source = data if single or "+" in recipe.corpus else part_folder(data, recipe.corpus)
        plans.append(
            Plan(recipe, source, folder, tuple(range(seeds)), selection.value, device, jobs, store, subsets, ray)
        )
    _one_thread()
    for plan in plans:
        run(plan)


@app.command()
def models(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List the systems at the papers' sizes."""
    from emofuse.models import table

    rows = table()
    if as_json:
        print(json.dumps(rows, indent=1))
        return
    for row in rows:
        print(f"{row['name']:24s} {row['n_parameters']:>10,d}  {', '.join(row['modalities']):24s} {row['paper']}")


@corpora_app.callback()
def corpora(context: typer.Context) -> None:
    """List the corpus readers."""
    if context.invoked_subcommand is not None:
        return
    from emofuse.corpora import CORPORA

    for name, reader in CORPORA.items():
        print(f"{name:16s} {reader.description}")


@corpora_app.command()
def check(
    name: Annotated[str, typer.Argument(help="Reader.")],
    path: Annotated[Path, typer.Argument(help="Folder or file of the corpus.")],
) -> None:
    """Count labels, speakers, sessions and splits; exit 2 when something is inconsistent."""
    from emofuse.corpora import load_corpus
    from emofuse.corpora.check import find_problems, summarise

    corpus = load_corpus(name, path)
    for key, value in summarise(corpus).items():
        if isinstance(value, dict):
            shown = ", ".join(f"{k} {n}" for k, n in list(value.items())[:40])
            more = f", and {len(value) - 40} more" if len(value) > 40 else ""
            print(f"{key} ({len(value)}): {shown}{more}")
        else:
            print(f"{key}: {value}")
    problems = find_problems(corpus)
    for problem in problems:
        print(problem, file=sys.stderr)
    if problems:
        raise DataError(f"{path}: {len(problems)} problem(s) found in {name}")


def _one_thread() -> None:
    """Two OpenMP threads stall LSTM training while another process uses a core; one does not."""
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)
    else:
        os.environ["OMP_NUM_THREADS"] = "1"  # torch reads it when it is imported


def _half_of_the_threads() -> int:
    """Let torch, where it runs the networks, use half of the threads that it would; and how many these are."""
    torch, given = sys.modules.get("torch"), os.environ.get("OMP_NUM_THREADS", "")
    most = torch.get_num_threads() if torch else int(given) if given.isdecimal() else os.cpu_count() or 1
    n_threads = max(1, most // 2)
    if torch:
        torch.set_num_threads(n_threads)
    else:
        os.environ["OMP_NUM_THREADS"] = str(n_threads)
    return n_threads


def main() -> None:
    """Entry point."""
    keep_freed_memory()
    try:
        app()
    except EmofuseError as error:
        print(f"emofuse: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        command = " ".join(["emofuse", *(a for a in sys.argv[1:2] if not a.startswith("-"))])
        print(f'emofuse: `{command}` needs torch here: pip install "emofuse[torch]"', file=sys.stderr)
        raise SystemExit(2) from None
    except BrokenPipeError:  # as in `emofuse models | head -1`: the reader has what it wanted
        sys.stderr.close()
        raise SystemExit(0) from None
    except OSError as error:
        print(f"emofuse: {error.filename or 'file system'}: {error.strerror or error}", file=sys.stderr)
        raise SystemExit(2) from None
