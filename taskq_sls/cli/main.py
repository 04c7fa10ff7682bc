"""The command: reads the arguments, runs one sub-command, and prints every error as one line.

The epilog of ``taskq --help`` lists the exit statuses.
"""

from __future__ import annotations

import argparse
import io
import os
import shlex
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..core.version import __version__
from ..errors import ConfigError, NotFound, ResultTimeout, TaskError, TaskQError
from .api import add_to as add_api
from .apps import error_location
from .arguments import Parser, add_command, add_traceback
from .dead_letters import add_to as add_dead_letters
from .deploy import add_to as add_deploy
from .enqueue import add_to as add_enqueue
from .local import add_to as add_local
from .metrics import add_to as add_metrics
from .output import flush_stdout, note, say
from .queues import add_to as add_queues
from .scheduler import add_to as add_scheduler
from .schedules import add_to as add_schedules
from .tasks import add_to as add_tasks
from .template import add_to as add_template
from .top import add_to as add_top
from .worker import add_to as add_worker

FINE, FAILED, BAD, INTERRUPTED = 0, 1, 2, 130

SHELLS = ("bash", "zsh", "fish")

_COMMANDS = (
    add_deploy,
    add_worker,
    add_scheduler,
    add_local,
    add_enqueue,
    add_tasks,
    add_dead_letters,
    add_queues,
    add_metrics,
    add_top,
    add_schedules,
    add_api,
    add_template,
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
        epilog="Exit status: 0 success; 1 the task failed, was not found, or only part was done; 2 bad input or environment; "
        "130 ended by Ctrl-C. Workers also: 70 a task could not be stopped, or the event loop was blocked; 71 a task's code ended "
        "the worker; 75 restart the worker.",
    )
    parser.add_argument("--version", action="version", version=f"taskq {__version__}")
    add_traceback(parser)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for add in _COMMANDS:
        add(commands)
    completion = add_command(
        commands,
        "completion",
        lambda arguments: _print_completion(arguments.shell, parser),
        "print the completion script of a shell. bash: `source <(taskq completion bash)` in ~/.bashrc; zsh: the same in "
        "~/.zshrc, after compinit; fish: `taskq completion fish > ~/.config/fish/completions/taskq.fish`.",
        app=None,
        json=False,
    )
    completion.add_argument("shell", choices=SHELLS)
    return parser


def _print_completion(shell: str, root: argparse.ArgumentParser) -> int:
    """Print the script that shtab generates from the command's parser."""
    try:
        import shtab  # of an extra, and needed by this command only
    except ImportError:
        raise ConfigError("completion needs shtab: pip install 'taskq-sls[cli]'") from None
    _complete_files(root, shtab.FILE)
    script = shtab.complete(root, shell=shell)
    if shell == "bash":
        # Values without choices are completed as files, as bash does for unknown commands.
        script += "\ncomplete -o bashdefault -o default -F _shtab_taskq taskq"
    elif shell == "zsh":
        # shtab's script registers itself only inside of `eval`, but users `source` it.
        script = f"#compdef taskq\neval {shlex.quote(script)}"
    say(script)
    return 0


def _complete_files(parser: argparse.ArgumentParser, files: Any) -> None:
    """Complete file names for options that take one."""
    for action in parser._actions:
        if isinstance(action.choices, dict):  # of a command, its sub-commands
            for command in action.choices.values():
                _complete_files(command, files)
        elif action.metavar in ("FILE", "DIR", "FOLDER"):
            action.complete = files  # type: ignore[attr-defined]  # read by shtab


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
        return  # stdout is not a file
