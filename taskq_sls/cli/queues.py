"""``taskq queues`` and ``taskq workers``."""

from __future__ import annotations

import argparse
from typing import Any

from ..core.flow import call_sync
from ..core.queues import SCHEDULES_DEAD_LETTERS
from ..operations.overview import QueueStats, queue_stats, recent_workers
from ..operations.presenters import worker_fields
from ..results.workers import WorkerReport
from .apps import load_app
from .arguments import add_command
from .output import age, note, print_json, print_table, span

QUEUE_HEADER = ("QUEUE", "WAITING", "IN FLIGHT", "DELAYED", "OLDEST", "DEAD LETTERS")
WORKER_HEADER = ("WORKER", "UP", "BEAT", "RUNNING", "DONE", "VERSION", "QUEUES", "STATE")

CLOCK_SKEW_SECONDS = 5.0
"""A report may be this far in the future without a warning about the worker's clock."""


def add_to(commands: Any) -> None:
    queues = add_command(
        commands,
        "queues",
        run_queues,
        "show how full the queues are. Shows how many messages wait, are in flight, are delayed and are dead letters, as SQS "
        "counts them, and the age of the oldest message if CloudWatch has it.",
    )
    queues.add_argument("--no-ages", action="store_true", help="do not read ages from CloudWatch")
    add_command(
        commands,
        "workers",
        run_workers,
        "show which workers are alive. Shows the workers that have reported in the last 150 seconds, and those lost in the "
        "last hour, which stopped reporting without unregistering. Lambda functions are not shown. Exit status 1 if no worker "
        "is alive.",
    )


def run_queues(arguments: argparse.Namespace) -> int:
    app = load_app(arguments.app)
    found = call_sync("queue_stats", queue_stats(app, app.services.blocking(), ages=not arguments.no_ages))
    if arguments.json:
        print_json([stats._asdict() for stats in found])
    else:
        print_table(QUEUE_HEADER, [queue_cells(stats) for stats in found])
    return 0


def run_workers(arguments: argparse.Namespace) -> int:
    app = load_app(arguments.app)
    found = call_sync("recent_workers", recent_workers(app, app.services.blocking()))
    now = app.clock.time()
    if arguments.json:
        print_json([worker_fields(report, now) for report in found])
    elif found:
        print_table(WORKER_HEADER, [worker_cells(report, now) for report in found])
    alive = any(report.state(now) != "lost" for report in found)
    if not alive:
        note(
            "no worker has reported in the last 150 seconds: none is running, or they run with --no-report, or no task is "
            "recorded"
        )
    return 0 if alive else 1


def queue_cells(stats: QueueStats) -> tuple[str, ...]:
    letters = "no DLQ" if stats.dead_letters is None else str(stats.dead_letters)
    return (
        stats.name,
        str(stats.visible),
        str(stats.in_flight),
        str(stats.delayed),
        span(stats.oldest_age) or "-",
        "" if stats.name == SCHEDULES_DEAD_LETTERS else letters,
    )


def worker_cells(report: WorkerReport, now: float) -> tuple[str, ...]:
    clock_is_ahead = report.beat_at >= now + CLOCK_SKEW_SECONDS
    return (
        f"{report.host} {report.pid}",
        age(report.started_at, now),
        f"in {span(report.beat_at - now)}: its clock is ahead" if clock_is_ahead else f"{age(report.beat_at, now)} ago",
        f"{report.running} of {report.concurrency}",
        str(report.done),
        report.version,
        ",".join(report.queues),
        report.state(now),
    )
