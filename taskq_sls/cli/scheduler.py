"""``taskq scheduler``."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Iterator
from typing import Any

from ..app import TaskQ
from ..aws.blocking import aws_host
from ..core.forced_end import ShutdownWatchdog, end_process
from ..errors import ConfigError
from ..scheduler.spec import NO_SCHEDULER
from ..worker.supervisor import CHILD_VARIABLE
from .apps import add_log_options, load_app_with_logs
from .arguments import add_command
from .worker import EXIT_SECONDS, stop_with_supervisor

logger = logging.getLogger("taskq_sls.scheduler")


def add_to(commands: Any) -> None:
    parser = add_command(
        commands,
        "scheduler",
        run,
        "fire an app's schedules where EventBridge Scheduler does not. Runs until SIGTERM or Ctrl-C, over an endpoint that "
        "stores schedules without firing them, such as the local AWS. Several may run at once. `taskq local up` starts one.",
        app="app",
        json=False,
    )
    parser.add_argument("--group", metavar="NAME", help="the schedule group; default: the app's")
    parser.add_argument("--force", action="store_true", help="also in AWS, where EventBridge Scheduler fires them too")
    add_log_options(parser)


def run(arguments: argparse.Namespace) -> int:
    if os.environ.pop(CHILD_VARIABLE, None) is not None:
        stop_with_supervisor()
    app = _app(arguments)
    if not arguments.force:
        _refuse_aws()
    exit_guard = ShutdownWatchdog(
        "the scheduler has ended, but threads or exit handlers of the app's module keep the process alive: it ends without them",
        action="scheduler_exit_forced",
        logger=logger.name,
    )
    asyncio.run(_serve(app, exit_guard if arguments.own_process else None))
    return 0


def _app(arguments: argparse.Namespace) -> TaskQ:
    with _variable("TASKQ_SCHEDULE_GROUP", arguments.group):
        app = load_app_with_logs(arguments, arguments.app)
        group = app.settings.schedule_group
    if arguments.group and group != arguments.group:
        raise ConfigError(
            f"--group {arguments.group!r}: the app sets the schedule group {group!r}; remove the option, or schedule_group= of "
            "TaskQ(...)"
        )
    return app


@contextlib.contextmanager
def _variable(name: str, value: str | None) -> Iterator[None]:
    """Set an environment variable inside the block, unless `value` is None."""
    before = os.environ.get(name)
    if value is not None:
        os.environ[name] = value
    try:
        yield
    finally:
        if before is not None:
            os.environ[name] = before
        elif value is not None:
            del os.environ[name]


def _refuse_aws() -> None:
    if (host := aws_host("scheduler")) is not None:
        raise ConfigError(
            f"the schedules are in AWS ({host}), where EventBridge Scheduler fires them. For another endpoint set "
            "AWS_ENDPOINT_URL, as `taskq local up` prints it; --force fires them here too"
        )


async def _serve(app: TaskQ, exit_guard: ShutdownWatchdog | None) -> None:
    from ..scheduler.local_clock.clock import LocalClock  # used by this command only

    services = app.services.new_async()
    stop = _stopped_by_signals()
    try:
        store, last_firings = services.schedules, services.last_firings
        if store is None or last_firings is None:
            raise ConfigError(NO_SCHEDULER)
        clock = LocalClock(store, last_firings, services.broker, services.flow, app.clock)
        await clock.serve(stop)
        if exit_guard is not None:
            exit_guard.arm(EXIT_SECONDS, 0)
    finally:
        await services.close()


def _stopped_by_signals() -> asyncio.Event:
    """An event that SIGTERM or SIGINT sets; a second one ends the process at once."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()

    def handle(number: int) -> None:
        if stop.is_set():
            end_process(1, "stopping at once", action="scheduler_killed", logger=logger.name)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, handle, number)
    return stop
