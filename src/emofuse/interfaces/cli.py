"""The command line: its commands, and how their errors are shown: one line on stderr and exit 2."""

import sys

import typer

from emofuse.errors import EmofuseError
from emofuse.interfaces.commands.bench import bench
from emofuse.interfaces.commands.export import export
from emofuse.interfaces.commands.extract import extract, features
from emofuse.interfaces.commands.lists import corpora_app, models
from emofuse.interfaces.commands.live import listen, stream
from emofuse.interfaces.commands.predict import predict
from emofuse.interfaces.commands.serve import serve
from emofuse.interfaces.commands.study import benchmark, evaluate, train
from emofuse.memory import keep_freed_memory

COMMANDS = (bench, predict, serve, stream, listen, extract, features, train, evaluate, export, benchmark, models)

app = typer.Typer(
    help="Emotion recognition from speech, words and face, in conversation.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for command in COMMANDS:
    app.command()(command)
app.add_typer(corpora_app, name="corpora")


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
