"""``taskq top``: queues, workers and tasks, drawn again and again."""

from __future__ import annotations

import argparse
import contextlib
import functools
import os
import sys
from collections.abc import Mapping
from typing import Any

from ..app import TaskQ
from ..core.flow import call_sync
from ..core.safe_text import escaped
from ..errors import AwsError, ConfigError
from ..operations.overview import Overview, Running, overview
from ..operations.presenters import record_fields, shown_record, utc_time, worker_fields
from ..results.records import TaskRecord
from .apps import load_app
from .arguments import add_app_option, add_common, add_json, seconds
from .output import age, coloured, iso_time, print_json, progress_text, table_lines
from .queues import QUEUE_HEADER, WORKER_HEADER, queue_cells, worker_cells
from .screen import Screen, draw

AGES_INTERVAL_SECONDS = 60.0
"""Time between two reads from CloudWatch, which bills each metric and gets a new value no more often."""


def add_to(commands: Any) -> None:
    parser = commands.add_parser(
        "top",
        help="watch queues, workers and running tasks",
        description="Show queues, workers, the longest-running tasks and the last failures, again and again, until "
        "q or Ctrl-C. If stdout is not a terminal, print one picture after the other.",
        allow_abbrev=False,
    )
    add_app_option(parser)
    parser.add_argument("--once", action="store_true", help="show one picture, then end")
    parser.add_argument(
        "--interval", type=seconds, default=2.0, metavar="SECONDS", help="between two pictures; default 2"
    )
    add_json(parser)
    add_common(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    if arguments.interval < 0.2:
        raise ConfigError(f"--interval {arguments.interval:g} is below 0.2 seconds: each picture reads every queue")
    app = load_app(arguments.app)
    drawing = sys.stdout.isatty() and os.environ.get("TERM") != "dumb" and not (arguments.once or arguments.json)
    try:
        with Screen() if drawing else contextlib.nullcontext() as screen:
            return _watch(app, arguments, screen)
    except KeyboardInterrupt:
        return 0


def _watch(app: TaskQ, arguments: argparse.Namespace, screen: Screen | None) -> int:
    services = app.services.blocking()
    ages: dict[str, float | None] = {}
    ages_at = float("-inf")
    seen: Overview | None = None
    while True:
        now = app.clock.time()
        reads_ages = now - ages_at >= AGES_INTERVAL_SECONDS
        fault: AwsError | None = None
        try:
            found = call_sync("overview", overview(app, services, ages=reads_ages))
        except AwsError as error:
            if not error.transient or arguments.once or seen is None:
                raise
            fault = error
        else:
            if reads_ages:
                ages, ages_at = {queue.name: queue.oldest_age for queue in found.queues}, now
            seen = _shown(app, found, ages)
        show = functools.partial(_show, app.name, seen, fault, drawing=screen is not None, json=arguments.json)
        show()
        if arguments.once:
            return 0
        if screen is None:
            call_sync("sleep", services.flow.sleep(arguments.interval))
        elif not screen.wait(arguments.interval, show):
            return 0


def _shown(app: TaskQ, seen: Overview, ages: Mapping[str, float | None]) -> Overview:
    """The overview with the ages read last, and without values that the app hides by name."""
    return seen._replace(
        queues=[queue._replace(oldest_age=ages.get(queue.name)) for queue in seen.queues],
        running=[task._replace(record=task.record and shown_record(app, task.record)) for task in seen.running],
        failed=[shown_record(app, record) for record in seen.failed],
    )


def _show(app: str, seen: Overview, fault: AwsError | None, *, drawing: bool, json: bool) -> None:
    if json:
        print_json({**_fields(seen), "fault": None if fault is None else str(fault)})
    elif drawing:
        draw(frame(app, seen, fault), bold=coloured())
    else:
        print("\n".join([*frame(app, seen, fault), ""]), flush=True)


def frame(app: str, seen: Overview, fault: AwsError | None = None) -> list[str]:
    """One picture as lines of text."""
    lines = [f"{app}  {(iso_time(seen.at) or '')[:19]}Z" + (f"  cannot be read now: {fault}" if fault else ""), ""]
    lines += table_lines(QUEUE_HEADER, [queue_cells(queue) for queue in seen.queues])
    lines += ["", *table_lines(WORKER_HEADER, [worker_cells(report, seen.at) for report in seen.workers])]
    if not seen.workers:
        lines.append("none has reported in the last 150 seconds")
    if seen.running:
        rows = [_running_cells(task, seen.at) for task in seen.running]
        lines += ["", *table_lines(("RUNNING", "TASK", "ATTEMPT", "FOR", "WORKER", "PROGRESS"), rows)]
    if seen.failed:
        rows = [_failed_cells(record, seen.at) for record in seen.failed]
        lines += ["", *table_lines(("FAILED", "TASK", "AGO", "ERROR"), rows)]
    return [escaped(line, one_line=True) for line in lines]


def _running_cells(task: Running, now: float) -> tuple[str, ...]:
    record = task.record
    return (
        task.id,
        task.task,
        str(record.attempt) if record else "-",
        age(record.started_at, now) if record else "-",
        f"{task.worker.host} {task.worker.pid}",
        (record and progress_text(record)) or "",
    )


def _failed_cells(record: TaskRecord, now: float) -> tuple[str, ...]:
    text = f"{record.error.type}: {record.error.message}" if record.error else record.reason or ""
    return (record.id, record.task, age(record.finished_at, now), " ".join(text.split()))


def _fields(seen: Overview) -> dict[str, Any]:
    return {
        "at": utc_time(seen.at),
        "queues": [queue._asdict() for queue in seen.queues],
        "workers": [worker_fields(report, seen.at) for report in seen.workers],
        "running": [
            {
                "id": task.id,
                "task": task.task,
                "worker": task.worker.id,
                "record": task.record and record_fields(task.record, seen.at),
            }
            for task in seen.running
        ],
        "failed": [record_fields(record, seen.at) for record in seen.failed],
    }
