"""A function run in a process of its own, with limits: for what reads the files of strangers.

The process is forked from a clean one that has the function's modules loaded, and ends with the call. What it has
to say comes back as JSON, never as a pickle, so that a decoder that has been taken over gains nothing.
"""

import json
import multiprocessing
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from threading import Event
from typing import Any

from emofuse.errors import ConfigError, DataError, EmofuseError

Tell = Callable[[str, float], None]
Work = Callable[[dict[str, Any], Tell], dict[str, Any]]
"""What is run: JSON in, progress now and then, JSON out. Its working folder is the request's."""

POLL_S = 0.1
PAUSES_S = (0.1, 0.3, 1.0, 3.0)


@dataclass(frozen=True)
class Limits:
    """Of one call.

    Attributes:
        cpu_s: Seconds of processor time.
        wall_s: Seconds until it is killed.
        memory: Bytes of address space beyond what the process starts with.
        file_bytes: Largest file that it may write.
    """

    cpu_s: float
    wall_s: float
    memory: int
    file_bytes: int


class LimitError(EmofuseError):
    """The work went beyond a limit; the message says which."""


class CrashError(EmofuseError):
    """The process died, by a signal or without a word."""


class StoppedError(EmofuseError):
    """Nobody waits for the result any more."""


_ERRORS: dict[str, type[EmofuseError]] = {e.__name__: e for e in (DataError, ConfigError, LimitError)}


def prepare(*modules: str) -> None:
    """Name the modules that the clean process loads once; call it before the first `run`."""
    multiprocessing.get_context("forkserver").set_forkserver_preload(["__main__", *modules])


def start(target: Callable[..., None], arguments: tuple[Any, ...]) -> BaseProcess:
    """A new process, forked from the clean one.

    Raises:
        CrashError: The clean one has been killed, and no other has come up within seconds.
    """
    context = multiprocessing.get_context("forkserver")
    for pause_s in PAUSES_S:
        process = context.Process(target=target, args=arguments, daemon=True)
        try:
            process.start()
            return process
        except (EOFError, OSError):  # it has just died, but is not known to be dead yet: then another is started
            time.sleep(pause_s)
    raise CrashError("the decoder did not start")


def run(
    work: Work, folder: Path, given: dict[str, Any], limits: Limits, tell: Tell, stop: Event | None = None
) -> dict[str, Any]:
    """What `work` gives.

    Args:
        work: A function of a module (it is named, not sent).
        folder: Its working folder, also for temporary files.
        given: Its argument.
        limits: Beyond them it ends.
        tell: Called with its progress.
        stop: Set by another thread when the result is not wanted any more.

    Raises:
        DataError, ConfigError: As `work` raises them.
        LimitError: It used too much.
        CrashError: It died.
        StoppedError: It was stopped.
    """
    ours, theirs = multiprocessing.Pipe(duplex=False)
    try:
        process = start(_child, (theirs, work, str(folder), given, limits))
    finally:
        theirs.close()
    deadline = time.monotonic() + limits.wall_s
    try:
        while True:
            wait([ours], timeout=POLL_S)
            if stop is not None and stop.is_set():
                raise StoppedError("stopped")
            if time.monotonic() > deadline:
                raise LimitError(f"takes longer than {limits.wall_s:g} s to decode")
            while ours.poll():
                message = json.loads(ours.recv_bytes(100_000_000))
                if "progress" in message:
                    tell(*message["progress"])
                elif "error" in message:
                    raise _ERRORS.get(message["error"], CrashError)(message["message"])
                else:
                    return message["result"]
    except EOFError:
        process.join(5)
        raise _death(process.exitcode, limits) from None
    finally:
        process.kill()
        process.join()
        ours.close()


def _death(exit_code: int | None, limits: Limits) -> EmofuseError:
    if exit_code == -signal.SIGXCPU:
        return LimitError(f"takes more than {limits.cpu_s:g} s of processor time to decode")
    reason = f"killed by signal {-exit_code}" if exit_code is not None and exit_code < 0 else f"exit code {exit_code}"
    return CrashError(f"the decoder died ({reason})")


def _child(pipe: Connection, work: Work, folder: str, given: dict[str, Any], limits: Limits) -> None:
    """Run in the new process."""
    os.chdir(folder)
    tempfile.tempdir = folder
    # What libraries print is no part of the server's log, and strangers decide what they print.
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.dup2(null, sys.stderr.fileno())

    def say(message: dict[str, Any]) -> None:
        pipe.send_bytes(json.dumps(message).encode())

    try:
        limit(limits)
        result = work(given, lambda what, share: say({"progress": [what, share]}))
    except MemoryError:
        say({"error": "LimitError", "message": f"needs more than {limits.memory // 1_000_000} MB to decode"})
    except EmofuseError as error:
        say({"error": type(error).__name__, "message": str(error)})
    except Exception as error:  # a fault of ours, or a library at a limit: the parent must hear of it
        say({"error": "CrashError", "message": f"the decoder failed ({type(error).__name__}: {error})"})
    else:
        say({"result": result})


def limit(limits: Limits) -> None:
    """Hold this process to its limits, where the system can (Windows has none: the wall clock is left)."""
    try:
        import resource
    except ImportError:
        return
    cpu_s = max(1, round(limits.cpu_s))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s + 5))
    resource.setrlimit(resource.RLIMIT_FSIZE, (limits.file_bytes, limits.file_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    status = Path("/proc/self/statm")
    if status.exists():  # pages; address space before the work begins
        base = int(status.read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        resource.setrlimit(resource.RLIMIT_AS, (base + limits.memory, base + limits.memory))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the server, which lets what runs finish
