"""``taskq local up``."""

from __future__ import annotations

import argparse
import contextlib
import shlex
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any

from ..app import TaskQ
from ..client.schedule_sync import sync
from ..core.flow import call_sync
from ..local_aws.stack import LocalStack
from ..logs import configure
from ..scheduler.sync import Applied
from ..worker.supervisor import Supervisor
from ..worker.worker_process import BAD_INPUT
from .apps import add_log_options, app_target, load_app_with_logs, log_arguments
from .arguments import add_command, add_group, port
from .deploy import provision_app
from .output import note, print_json, say

STDERR = 2
"""The descriptor of standard error."""

POLL_WAIT, GRACE, KILL_AFTER = 1, 3, 8
"""Seconds of the worker's long poll, for its running tasks after a stop, and until it is killed. Short, for Ctrl-C."""


def add_to(commands: Any) -> None:
    up = add_command(
        add_group(commands, "local", "run everything on this machine", "Run everything on this machine."),
        "up",
        run,
        "start a local AWS with an app's queues and table. Starts moto on a loopback port; creates the queues, tables and "
        "schedules of the given apps; fires the schedules; and prints the environment variables to use it. Ctrl-C ends it, "
        "and nothing is kept.",
        app=None,
        json=False,
    )
    up.add_argument("--app", metavar="MODULE:APP", help="create its queues and table")
    up.add_argument("--worker", metavar="MODULE:APP", help="the same, and run a worker of it")
    up.add_argument("--lambda", dest="function", metavar="MODULE:APP", help="the same, and run it as Lambda functions")
    up.add_argument("--port", type=port, default=0, metavar="N", help="default: a free one")
    up.add_argument("--json", action="store_true", help="print the variables as a JSON object")
    add_log_options(up)


def run(arguments: argparse.Namespace) -> int:
    configure(arguments.log_level, arguments.log_format)
    named = [arguments.app, arguments.worker, arguments.function]
    targets = list(dict.fromkeys(app_target(target) for target in named if target))
    try:
        with _interrupted_by_sigterm(), LocalStack(arguments.port) as stack:
            apps = {target: load_app_with_logs(arguments, target) for target in targets}
            for target, app in apps.items():
                made = provision_app(app)
                note(f"{target}: {', '.join(resource.name for resource in made)}")
                _sync(target, app)
            _print_environment(stack, apps, json=arguments.json)
            return _run(arguments, stack, apps)
    except KeyboardInterrupt:
        return 0


def _sync(target: str, app: TaskQ) -> None:
    """Create the schedules that the app declares."""
    done = call_sync("sync", _sync_and_close(app))
    if done.changed:
        note(f"{target}: {len(done.changed)} schedule{'s' if len(done.changed) > 1 else ''}")
    for name, error in done.failed:
        note(f"{target}: schedule {name} could not be created: {error}")


async def _sync_and_close(app: TaskQ) -> Applied:
    services = app.services.new_blocking()
    try:
        return Applied([], [], 0) if services.schedules is None else (await sync(app, services)).applied
    finally:
        await services.close()


def _run(arguments: argparse.Namespace, stack: LocalStack, apps: dict[str, TaskQ]) -> int:
    if arguments.function:
        stack.run_functions(arguments.function, apps[arguments.function])
    note("the local AWS is ready; Ctrl-C ends it")
    commands = [_worker_command(arguments)] if arguments.worker else []
    commands += [_scheduler_command(arguments, target) for target in _one_per_group(apps)]
    if commands:
        # On stderr, so that the output of tasks is not mixed with the exports that a shell reads.
        children = Supervisor(lambda number: commands[number], len(commands), kill_after=KILL_AFTER, output=STDERR)
        status = children.run()
        return status if status == BAD_INPUT else 0
    forever = threading.Event()
    # One second at a time: a signal just before a wait begins is handled only after that wait.
    while not forever.wait(1.0):
        continue
    return 0


def _worker_command(arguments: argparse.Namespace) -> list[str]:
    command = [sys.executable, "-m", "taskq_sls", "worker", arguments.worker]
    return [*command, "--poll-wait", str(POLL_WAIT), "--grace", str(GRACE), *log_arguments(arguments)]


def _scheduler_command(arguments: argparse.Namespace, target: str) -> list[str]:
    return [sys.executable, "-m", "taskq_sls", "scheduler", target, *log_arguments(arguments)]


def _one_per_group(apps: dict[str, TaskQ]) -> list[str]:
    """One app for each schedule group and table. An app with its own broker and results has no schedules here."""
    groups = {
        (app.settings.schedule_group, app.settings.table): target
        for target, app in reversed(apps.items())
        if app.services.blocking().schedules is not None
    }
    return list(groups.values())


def _print_environment(stack: LocalStack, apps: dict[str, TaskQ], *, json: bool) -> None:
    variables = stack.environment() | ({"TASKQ_APP": next(iter(apps))} if apps else {})
    groups = {app.settings.schedule_group for app in apps.values()} - {None}
    # Apps of several groups keep their own defaults; one variable would put all in one group.
    if len(groups) == 1:
        variables["TASKQ_SCHEDULE_GROUP"] = str(groups.pop())
    if json:
        print_json(variables)
    else:
        if stack.misleading:
            say(f"unset {' '.join(stack.misleading)}")
        for name, value in variables.items():
            say(f"export {name}={shlex.quote(value)}")
    sys.stdout.flush()


@contextlib.contextmanager
def _interrupted_by_sigterm() -> Iterator[None]:
    """SIGTERM ends things as Ctrl-C does."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
