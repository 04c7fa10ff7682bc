"""``taskq metrics``: counts, durations and failures of tasks over time."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from ..metrics.counters import Counters
from ..metrics.window import DAY, Named, Window
from .apps import find_task, load_app
from .arguments import add_command, duration, when
from .output import iso_time, note, print_json, print_table, say, span

BARS = "▁▂▃▄▅▆▇█"
PLAIN_BARS = ".:-=+*#@"
"""For an encoding without the others."""

HEADER = ("", "STARTED", "SUCCEEDED", "RETRIED", "FAILED", "P50", "P95", "LONGEST", "WAIT")

MAX_ROWS = 30
"""Most rows of the table by time; the chart above it shows all of them."""


def add_to(commands: Any) -> None:
    parser = add_command(
        commands,
        "metrics",
        run,
        "show counts, durations and failures of tasks over time. Workers and Lambda functions count attempts, their durations "
        "and the time that tasks waited. The last minute may be missing. Exit status 1 if nothing was counted.",
    )
    parser.add_argument("--task", metavar="NAME", help="only this task")
    parser.add_argument("--queue", metavar="NAME", help="only tasks from this queue")
    hour = timedelta(hours=1)
    parser.add_argument(
        "--since", type=when, default=hour, metavar="WHEN", help="90s, 15m, 1h, 2d ago, or a time; default 1h"
    )
    parser.add_argument("--until", type=when, metavar="WHEN", help="the same; default now")
    parser.add_argument(
        "--step", type=duration, metavar="SPAN", help="time of one row: 1m, 5m, 1h, 1d; default: fits --since"
    )


def run(arguments: argparse.Namespace) -> int:
    app = load_app(arguments.app)
    task = arguments.task
    if task is not None and app.registry.get(task) is None and ":" not in task:
        task = find_task(app, task).name  # a full name may be of a task that the app had before
    window = app.metrics.window(
        task=task,
        queue=arguments.queue,
        since=arguments.since,
        until=arguments.until,
        step=arguments.step,
    )
    if arguments.json:
        print_json(window_fields(window))
    elif window.tasks:
        show(window)
    else:
        note(
            "nothing was counted in that time: no task ran, or none is counted (TASKQ_METRICS=off, or no task is recorded). "
            "Minutes are kept for 8 days, hours for 60"
        )
    return 0 if window.tasks else 1


def show(window: Window) -> None:
    """Print a chart over time, the last rows, and the tasks and queues."""
    counters = [point.counters for point in window.points]
    say(f"{iso_time(window.since)} to {iso_time(window.until)}, {span(window.step)} a column\n")
    _print_chart("succeeded", [entry.succeeded for entry in counters], str)
    _print_chart("failed", [entry.failed + entry.retried for entry in counters], str)
    _print_chart("p95", [entry.p95 or 0.0 for entry in counters], span)
    say()
    busy = [point for point in window.points if point.counters != Counters()]
    rows = [(_clock_time(point.time, window.step), *cells(point.counters)) for point in busy[-MAX_ROWS:]]
    print_table(("TIME", *HEADER[1:]), [*rows, ("all", *cells(window.totals))])
    _print_totals("TASK", window.tasks)
    _print_totals("QUEUE", window.queues)


def _print_totals(header: str, named: Sequence[Named]) -> None:
    most_first = sorted(named, key=lambda entry: (-entry.counters.started, entry.name))
    say()
    print_table((header, *HEADER[1:]), [(entry.name, *cells(entry.counters)) for entry in most_first])


def _print_chart(name: str, values: Sequence[float], text: Callable[[float], str]) -> None:
    most = max(values)
    say(f"{name:<9}  {sparkline(values)}  at most {text(most) if most else '0'}")


def sparkline(values: Sequence[float]) -> str:
    """One character for each value, as high as the value; a space for 0."""
    try:
        BARS.encode(sys.stdout.encoding or "ascii")
        bars = BARS
    except UnicodeEncodeError:
        bars = PLAIN_BARS
    most = max(values, default=0.0)
    return "".join(bars[min(7, int(value / most * 8))] if value else " " for value in values)


def cells(counters: Counters) -> tuple[str, ...]:
    """Counters as columns of a table."""
    return (
        str(counters.started),
        str(counters.succeeded),
        str(counters.retried),
        str(counters.failed),
        span(counters.p50) or "-",
        span(counters.p95) or "-",
        span(counters.longest) if counters.timed else "-",
        span(counters.mean_wait) or "-",
    )


def window_fields(window: Window) -> dict[str, Any]:
    """A window as JSON values: times in ISO 8601, UTC, durations in seconds."""
    return {
        "since": iso_time(window.since),
        "until": iso_time(window.until),
        "step": window.step,
        "points": [{"time": iso_time(point.time), **counter_fields(point.counters)} for point in window.points],
        "totals": counter_fields(window.totals),
        "tasks": [{"task": entry.name, **counter_fields(entry.counters)} for entry in window.tasks],
        "queues": [{"queue": entry.name, **counter_fields(entry.counters)} for entry in window.queues],
    }


def counter_fields(counters: Counters) -> dict[str, Any]:
    """Counters as JSON values, with means and percentiles."""
    more = {"mean": counters.mean, "mean_wait": counters.mean_wait}
    more |= {"p50": counters.p50, "p95": counters.p95, "p99": counters.p99}
    return {
        **counters._asdict(),
        "duration": round(counters.duration, 6),
        "wait": round(counters.wait, 6),
        "histogram": list(counters.histogram),
        **{name: None if value is None else round(value, 6) for name, value in more.items()},
    }


def _clock_time(epoch: int, step: int) -> str:
    at = datetime.fromtimestamp(epoch, UTC)
    return at.strftime("%Y-%m-%d" if step % DAY == 0 else "%m-%d %H:%MZ")
