"""``taskq top``: queues, workers and tasks, drawn again and again."""

from __future__ import annotations

import argparse
import contextlib
import functools
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from ..app import TaskQ
from ..core.flow import call_sync
from ..core.safe_text import escaped
from ..errors import AwsError, ConfigError
from ..operations.overview import Overview, Running, overview
from ..results.records import TaskRecord
from .apps import load_app
from .arguments import add_app_option, add_common, add_json, seconds
from .output import age, coloured, moment, print_json, progress_text, record_fields
from .queues import QUEUE_HEADER, WORKER_HEADER, queue_cells, worker_cells, worker_fields
from .redaction import shown_record
from .screen import Screen, draw

AGES_INTERVAL_SECONDS = 60.0
"""Seconds between two questions to CloudWatch, which bills each metric and learns of nothing more often."""


def add_to(commands: Any) -> None:
    parser = commands.add_parser(
        "top",
        help="watch queues, workers and running tasks",
        description="Show queues, workers, the longest-running tasks and the last failures, again and again, until "
        "q or Ctrl-C. Where stdout is no terminal, one picture after the other.",
        allow_abbrev=False,
    )
    add_app_option(parser)
    parser.add_argument("--once", action="store_true", help="show one picture, and end")
    parser.add_argument("--interval", type=seconds, default=2.0, metavar="SECONDS", help="between pictures; default 2")
    add_json(parser)
    add_common(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    if arguments.interval < 0.2:
        raise ConfigError(f"--interval {arguments.interval:g} is below 0.2 seconds: each picture asks every queue")
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
        asked = now - ages_at >= AGES_INTERVAL_SECONDS
        fault: AwsError | None = None
        try:
            found = call_sync("overview", overview(app, services, ages=asked))
        except AwsError as error:
            if not error.transient or arguments.once or seen is None:
                raise
            fault = error
        else:
            if asked:
                ages, ages_at = {one.name: one.oldest_age for one in found.queues}, now
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
    """The picture with the ages that are known, and without what the app hides by name."""
    return seen._replace(
        queues=[one._replace(oldest_age=ages.get(one.name)) for one in seen.queues],
        running=[
            one._replace(record=one.record and shown_record(app, one.record, secrets=False)) for one in seen.running
        ],
        failed=[shown_record(app, one, secrets=False) for one in seen.failed],
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
    lines = [f"{app}  {(moment(seen.at) or '')[:19]}Z" + (f"  cannot be read now: {fault}" if fault else ""), ""]
    lines += _table(QUEUE_HEADER, [queue_cells(one) for one in seen.queues])
    lines += ["", *_table(WORKER_HEADER, [worker_cells(one, seen.at) for one in seen.workers])]
    if not seen.workers:
        lines.append("none has reported in the last 150 seconds")
    if seen.running:
        rows = [_running_cells(one, seen.at) for one in seen.running]
        lines += ["", *_table(("RUNNING", "TASK", "ATTEMPT", "FOR", "WORKER", "PROGRESS"), rows)]
    if seen.failed:
        rows = [_failed_cells(one, seen.at) for one in seen.failed]
        lines += ["", *_table(("FAILED", "TASK", "AGO", "ERROR"), rows)]
    return [escaped(line, one_line=True) for line in lines]


def _running_cells(one: Running, now: float) -> tuple[str, ...]:
    record = one.record
    return (
        one.id,
        one.task,
        str(record.attempt) if record else "-",
        age(record.started_at, now) if record else "-",
        f"{one.worker.host} {one.worker.pid}",
        (record and progress_text(record)) or "",
    )


def _failed_cells(one: TaskRecord, now: float) -> tuple[str, ...]:
    text = f"{one.error.type}: {one.error.message}" if one.error else one.reason or ""
    return (one.id, one.task, age(one.finished_at, now), " ".join(text.split()))


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    rows = [[escaped(cell, one_line=True) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (header, *rows)
    ]


def _fields(seen: Overview) -> dict[str, Any]:
    return {
        "at": moment(seen.at),
        "queues": [one._asdict() for one in seen.queues],
        "workers": [worker_fields(one, seen.at) for one in seen.workers],
        "running": [
            {
                "id": one.id,
                "task": one.task,
                "worker": one.worker.id,
                "record": None if one.record is None else record_fields(one.record, seen.at),
            }
            for one in seen.running
        ],
        "failed": [record_fields(one, seen.at) for one in seen.failed],
    }
