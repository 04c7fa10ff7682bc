"""The command: reads the arguments, runs one sub-command, and prints every error as one line.

Exit status: 0 fine; 1 the subject of the question failed or is missing, or was done in part; 2 bad input or environment; 130
ended by Ctrl-C. A worker process also has those of its supervisor: 70, 71 and 75.
"""

from __future__ import annotations

import io
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from ..core.version import __version__
from ..errors import NotFound, ResultTimeout, TaskError, TaskQError
from .api import add_to as add_api
from .apps import error_location
from .arguments import Parser, add_common
from .completion import add_to as add_completion
from .dead_letters import add_to as add_dead_letters
from .doctor import add_to as add_doctor
from .enqueue import add_to as add_enqueue
from .init import add_to as add_init
from .local import add_to as add_local
from .metrics import add_to as add_metrics
from .output import flush_stdout, note, say
from .provision import add_to as add_provision
from .queues import add_to as add_queues
from .results import add_to as add_results
from .scheduler import add_to as add_scheduler
from .schedules import add_to as add_schedules
from .tasks import add_to as add_tasks
from .template import add_to as add_template
from .top import add_to as add_top
from .worker import add_to as add_worker

FINE, FAILED, BAD, INTERRUPTED = 0, 1, 2, 130

_COMMANDS = (
    add_init,
    add_worker,
    add_scheduler,
    add_local,
    add_provision,
    add_enqueue,
    add_results,
    add_tasks,
    add_dead_letters,
    add_queues,
    add_metrics,
    add_top,
    add_schedules,
    add_api,
    add_template,
    add_doctor,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``taskq`` with `argv` (default: the process's own arguments) and return the exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    _replace_closed_streams()
    _print_everything()
    try:
        status = _run(words, own_process=argv is None)
    except BrokenPipeError:
        _forget_output()
        return FINE
    except KeyboardInterrupt:
        return INTERRUPTED
    return status


def _run(words: list[str], *, own_process: bool) -> int:
    try:
        arguments = _parser().parse_args(words)
        # A program that calls `main` itself goes on after the command, which then must not end its process.
        arguments.own_process = own_process
        status: int = arguments.run(arguments)
        flush_stdout()
    except SystemExit as stop:  # --help and --version
        return stop.code if isinstance(stop.code, int) else FINE
    except TaskQError as error:
        _report(error, str(error), words)
        return FAILED if isinstance(error, TaskError | ResultTimeout | NotFound) else BAD
    except BrokenPipeError:
        raise
    except Exception as error:
        text = f"{type(error).__name__}: {error} ({error_location(error)}); --traceback shows all of it"
        _report(error, text, words)
        return BAD
    return status


def _report(error: Exception, text: str, words: list[str]) -> None:
    try:
        flush_stdout()
    except BrokenPipeError:
        raise
    except OSError:  # the disk is full, where stdout is a file
        _forget_output()
    if "--traceback" in words:
        say("".join(traceback.format_exception(error)), error=True, end="")
    note(f"error: {text}")


def _parser() -> Parser:
    parser = Parser(
        prog="taskq",
        description="Tasks on SQS, DynamoDB and Lambda.",
        epilog="Exit status: 0 fine; 1 what was asked about failed, is not there, or was done in part; 2 bad input or "
        "environment; 130 ended by Ctrl-C. Of workers also: 70 a task could not be stopped, or the event loop stood still; 71 a task's "
        "code ended the worker; 75 start me anew.",
    )
    parser.add_argument("--version", action="version", version=f"taskq {__version__}")
    add_common(parser)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for add in _COMMANDS:
        add(commands)
    add_completion(commands, parser)
    return parser


def _replace_closed_streams() -> None:
    """A stream that was closed when the process began is None in Python. Replace it; its output is lost."""
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("r" if name == "stdin" else "w", encoding="utf-8"))  # noqa: SIM115  # open to the end


def _print_everything() -> None:
    """Characters that stdout's encoding lacks are printed as escapes: a command must not fail after it has acted."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def _forget_output() -> None:
    """The reader of our output has gone: write nothing more, also not at the end of the process."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError):
        return  # stdout is no file
