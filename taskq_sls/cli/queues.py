"""``taskq queues`` and ``taskq workers``."""

from __future__ import annotations

import argparse
from typing import Any

from ..core.flow import call_sync
from ..operations.overview import QueueStats, queue_stats, recent_workers
from ..results.workers import WorkerReport
from .apps import load_app
from .arguments import add_app_option, add_common, add_json
from .output import age, moment, note, print_json, print_table, span

QUEUE_HEADER = ("QUEUE", "WAITING", "IN FLIGHT", "DELAYED", "OLDEST", "DEAD LETTERS")
WORKER_HEADER = ("WORKER", "UP", "BEAT", "RUNNING", "DONE", "VERSION", "QUEUES", "STATE")


CLOCK_SKEW_SECONDS = 5.0
"""Seconds by which clocks may differ unnoticed."""


def add_to(commands: Any) -> None:
    queues = commands.add_parser(
        "queues",
        help="show how full the queues are",
        description="Show how many messages wait, are in flight, are delayed and were given up, as SQS counts them, and "
        "how old the oldest is, where CloudWatch tells.",
        allow_abbrev=False,
    )
    add_app_option(queues)
    queues.add_argument("--no-ages", action="store_true", help="do not ask CloudWatch")
    add_json(queues)
    add_common(queues)
    queues.set_defaults(run=run_queues)
    workers = commands.add_parser(
        "workers",
        help="show which workers are alive",
        description="Show the workers that have reported in the last 150 seconds, and those lost in the last hour, which "
        "ended without a word. What Lambda runs is not among them. Exit status 1 when none is alive.",
        allow_abbrev=False,
    )
    add_app_option(workers)
    add_json(workers)
    add_common(workers)
    workers.set_defaults(run=run_workers)


def run_queues(arguments: argparse.Namespace) -> int:
    app = load_app(arguments.app)
    found = call_sync("queue_stats", queue_stats(app, app.services.blocking(), ages=not arguments.no_ages))
    if arguments.json:
        print_json([one._asdict() for one in found])
    else:
        print_table(QUEUE_HEADER, [queue_cells(one) for one in found])
    return 0


def run_workers(arguments: argparse.Namespace) -> int:
    app = load_app(arguments.app)
    found = call_sync("recent_workers", recent_workers(app, app.services.blocking()))
    now = app.clock.time()
    if arguments.json:
        print_json([worker_fields(one, now) for one in found])
    elif found:
        print_table(WORKER_HEADER, [worker_cells(one, now) for one in found])
    alive = any(one.state(now) != "lost" for one in found)
    if not alive:
        note(
            "no worker has reported in the last 150 seconds: none runs, or they run with --no-report, or with tasks that "
            "record nothing"
        )
    return 0 if alive else 1


def queue_cells(one: QueueStats) -> tuple[str, ...]:
    """A queue as columns of a table."""
    letters = "none kept" if one.dead_letters is None else str(one.dead_letters)
    return (
        one.name,
        str(one.visible),
        str(one.in_flight),
        str(one.delayed),
        span(one.oldest_age) or "-",
        "" if one.name == "schedules-dlq" else letters,
    )


def worker_fields(one: WorkerReport, now: float) -> dict[str, Any]:
    """A worker as JSON values; times in ISO 8601, UTC."""
    return {
        **one._asdict(),
        "state": one.state(now),
        "queues": list(one.queues),
        "started_at": moment(one.started_at),
        "beat_at": moment(one.beat_at),
        "oldest": [task._asdict() for task in one.oldest],
    }


def worker_cells(one: WorkerReport, now: float) -> tuple[str, ...]:
    """A worker as columns of a table."""
    return (
        f"{one.host} {one.pid}",
        age(one.started_at, now),
        f"{age(one.beat_at, now)} ago"
        if one.beat_at < now + CLOCK_SKEW_SECONDS
        else f"in {span(one.beat_at - now)}: its clock is ahead",
        f"{one.running} of {one.concurrency}",
        str(one.done),
        one.version,
        ",".join(one.queues),
        one.state(now),
    )
