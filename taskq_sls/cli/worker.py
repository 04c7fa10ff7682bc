"""``taskq worker``."""

from __future__ import annotations

import argparse
import logging
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..core.forced_end import ShutdownWatchdog
from ..errors import ConfigError
from ..logs import configure
from ..worker.options import GRACE_SECONDS, POLL_WAIT_SECONDS
from ..worker.supervisor import CHILD_VARIABLE, Supervisor, check_watchable
from ..worker.worker import FORCED_EXIT_SECONDS, Worker
from ..worker.worker_process import BAD_INPUT, FAULT, RECYCLE, STOPPED, STUCK
from .apps import add_log_options, app_target, load_app_with_logs
from .arguments import add_command, address, seconds, whole
from .output import flush_stdout

# Arguments that the supervisor passes on to its worker processes.
_PASSED_ON = (
    "concurrency",
    "threads",
    "queues",
    "max_tasks",
    "max_memory",
    "grace",
    "poll_wait",
    "log_level",
    "log_format",
)


EXIT_SECONDS = 4.0
"""Seconds for threads and exit handlers after the worker has ended; then the process ends without them."""

KILL_SECONDS = 10.0
"""Seconds after the time at which a worker process must have ended by itself, until its supervisor kills it."""

PARENT_SECONDS = 1.0
"""Seconds between two checks that the supervisor is still the parent of a worker process."""

logger = logging.getLogger("taskq_sls.worker")

_STATUS = {"stuck": STUCK, "recycle": RECYCLE, "fault": FAULT}


def add_to(commands: Any) -> None:
    parser = add_command(
        commands,
        "worker",
        run,
        "run tasks. Polls the queues of an app and runs their tasks until SIGTERM or Ctrl-C. A second signal ends it at once.",
        app="app",
        json=False,
    )
    parser.add_argument("--burst", action="store_true", help="end when the queues are empty")
    parser.add_argument("--concurrency", type=whole, metavar="N", help="most tasks in flight, per process")
    parser.add_argument("--threads", type=whole, metavar="N", help="most sync tasks at once, per process")
    parser.add_argument("--processes", type=whole, default=1, metavar="N", help="worker processes; default 1")
    parser.add_argument("--queues", type=_names, metavar="A,B", help="only these queues; default: all of the app")
    parser.add_argument("--max-tasks", type=whole, metavar="N", help="restart a process after this many tasks")
    parser.add_argument("--max-memory", type=whole, metavar="MB", help="restart a process that uses more memory")
    parser.add_argument("--grace", type=seconds, metavar="SECONDS", help="time for running tasks to end after a stop")
    parser.add_argument("--poll-wait", type=whole, metavar="SECONDS", help="wait of a long poll, 1 to 20")
    parser.add_argument(
        "--health",
        type=address,
        metavar="[HOST:]PORT",
        help="serve a health check, from the first process only; default host 127.0.0.1, in a container use 0.0.0.0",
    )
    parser.add_argument(
        "--reload",
        nargs="?",
        const=".",
        metavar="DIR",
        help="restart when a Python file in DIR (default: the current directory) changes; give it after MODULE:APP",
    )
    parser.add_argument("--no-report", action="store_true", help="do not write a report to the table once a minute")
    add_log_options(parser)
    parser.add_argument(
        "--json", action="store_const", dest="log_format", const="json", help="same as --log-format json"
    )


def run(arguments: argparse.Namespace) -> int:
    # Removed, so that a worker that a task starts is not taken for a supervised one.
    if os.environ.pop(CHILD_VARIABLE, None) is not None:
        stop_with_supervisor()
        return _work(arguments)
    supervised = (arguments.max_tasks, arguments.max_memory, arguments.reload)
    if arguments.processes == 1 and all(option is None for option in supervised):
        return _work(arguments)
    return _supervise(arguments)


def _work(arguments: argparse.Namespace) -> int:
    exit_guard = ShutdownWatchdog(
        "the worker has ended, but threads or exit handlers of its tasks keep the process alive: it ends without them",
        action="worker_exit_forced",
        logger="taskq_sls.worker",
    )
    worker = _worker(arguments)
    if not arguments.own_process:
        return _STATUS.get(worker.run(), STOPPED)
    worker.when_ended = lambda why: exit_guard.arm(EXIT_SECONDS, _STATUS.get(why, STOPPED))
    try:
        why = worker.run()
    except BaseException as error:
        if not (worker.has_received and isinstance(error, Exception)):
            exit_guard.arm(EXIT_SECONDS, BAD_INPUT)
            raise
        exit_guard.arm(EXIT_SECONDS, FAULT)
        logger.error(
            "the event loop of the worker failed; the worker ends", exc_info=error, extra={"action": "worker_fault"}
        )
        return FAULT
    status = _STATUS.get(why, STOPPED)
    exit_guard.arm(EXIT_SECONDS, status)
    if why == "stuck":
        # A normal exit waits for all threads, and one of them does not end.
        logging.shutdown()
        flush_stdout()
        os._exit(STUCK)
    return status


def _worker(arguments: argparse.Namespace) -> Worker:
    app = load_app_with_logs(arguments, arguments.app)
    names = ("concurrency", "threads", "queues", "burst", "max_tasks", "max_memory", "grace", "poll_wait", "health")
    given = {name: value for name in names if (value := getattr(arguments, name)) is not None}
    if arguments.no_report:
        given["report"] = False
    return app.worker(**given)


def _supervise(arguments: argparse.Namespace) -> int:
    arguments.app = app_target(arguments.app)
    watch = None
    grace = GRACE_SECONDS if arguments.grace is None else arguments.grace
    poll_wait = POLL_WAIT_SECONDS if arguments.poll_wait is None else arguments.poll_wait
    if arguments.reload is not None:
        watch = Path(arguments.reload)
        if ":" in arguments.reload and not watch.exists():
            raise ConfigError(f"--reload {arguments.reload!r} is not a directory: give MODULE:APP before --reload")
        check_watchable(watch)
        configure(arguments.log_level, arguments.log_format)
    else:
        _worker(arguments)  # so that an error is reported once, and not by every process
    return Supervisor(
        lambda number: child_command(arguments, number),
        arguments.processes,
        burst=arguments.burst,
        watch=watch,
        kill_after=grace + poll_wait + FORCED_EXIT_SECONDS + KILL_SECONDS,
    ).run()


def child_command(arguments: argparse.Namespace, number: int) -> Sequence[str]:
    """The command line of the worker process with this number."""
    command = [sys.executable, "-m", "taskq_sls", "worker", arguments.app]
    for name in _PASSED_ON:
        value = getattr(arguments, name)
        if value is not None:
            text = ",".join(value) if isinstance(value, list) else str(value)
            command += [f"--{name.replace('_', '-')}", text]
    flags = ("burst", "traceback", "no_report")
    command += [f"--{name.replace('_', '-')}" for name in flags if getattr(arguments, name)]
    if arguments.health is not None and number == 0:
        host, port = arguments.health
        command += ["--health", f"[{host}]:{port}" if ":" in host else f"{host}:{port}"]
    return command


def stop_with_supervisor() -> None:
    """Stop cleanly when the supervisor has ended: our stdin, a pipe, then ends, or the process has another parent.

    The parent is checked because another child of the supervisor may keep the pipe open. If a task closes stdin, the
    descriptor may become one of its connections, which must not be read.
    """
    supervisor, pipe = os.getppid(), os.fstat(0)

    def is_pipe() -> bool:
        return os.path.samestat(pipe, os.fstat(0))

    def wait() -> None:
        while os.getppid() == supervisor:
            try:
                if not is_pipe():
                    time.sleep(PARENT_SECONDS)
                elif select.select([0], [], [], PARENT_SECONDS)[0] and is_pipe() and not os.read(0, 1):
                    break
            except OSError:  # a task has closed it
                time.sleep(PARENT_SECONDS)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, name="taskq-supervisor-watch", daemon=True).start()


def _names(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    if not all(names):
        raise argparse.ArgumentTypeError(f"{text!r} must be names of queues, separated by commas")
    return names
