"""The overview: queues, charts, failures and workers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import TypeVar
from weakref import WeakKeyDictionary

from starlette.requests import Request

from ...client.app import App
from ...client.services import Services
from ...core.states import State
from ...errors import TaskQError
from ...metrics.window import Window
from ...operations.overview import QueueStats, live_workers, oldest_ages, queue_stats
from ...results.base import Query
from ...results.records import TaskRecord
from ...results.workers import WorkerReport
from ..limits import clipped
from ..request_context import RequestContext
from .charts import Line, bar, chart
from .components import alert, duration, section, table, time
from .html import Child, Html, link, markup, tag
from .layout import View, problem_details

UPDATE_SECONDS = 15
"""Time between two updates. Each reads every queue, the counters of the time shown, and the reports of workers."""

AGES_SECONDS = 60.0
"""Time between two requests to CloudWatch, which bills each metric and has new data once a minute."""

SPANS = {"1h": (3_600, "hour"), "6h": (21_600, "6 hours"), "24h": (86_400, "24 hours"), "7d": (604_800, "7 days")}
"""Time spans of the charts: seconds and name."""

MAX_FAILURES_SHOWN = 8
"""Failures in the list."""

MAX_WORKERS_SHOWN = 100
"""Workers in the list."""

T = TypeVar("T")

_ages: WeakKeyDictionary[App, tuple[float, dict[str, float]]] = WeakKeyDictionary()


async def show(context: RequestContext, request: Request) -> View:
    """Return the page. A section that cannot be read shows the error, and does not hide the others."""
    span = request.query_params.get("span", "1h")
    if span not in SPANS:
        span = "1h"
    app, services = context.app, context.services
    since = timedelta(seconds=SPANS[span][0])
    queues, workers, failed, window = parts = await asyncio.gather(
        _read(_queues(app, services)),
        _read(_workers(app, services)),
        _read(services.results.list(Query(status=State.FAILED, limit=MAX_FAILURES_SHOWN), now=context.now)),
        _read(app.metrics.awindow(since=since)),
    )
    if len(errors := [part for part in parts if isinstance(part, TaskQError)]) == len(parts):
        raise errors[0]
    live = [
        section("Queues", _shown(queues, _queue_table), id="queues"),
        section(f"The last {SPANS[span][1]}", _shown(window, _charts), id="charts"),
        section("Most failures", _shown(window, _failing), id="failing"),
        section("Latest failures", _shown(failed, _failures), id="failures"),
        section("Workers", _shown(workers, _worker_table), id="workers"),
    ]
    return View("Overview", "./", before=_spans(span), live=markup(live), every=UPDATE_SECONDS)


async def _read(request: Awaitable[T]) -> T | TaskQError:
    try:
        return await request
    except TaskQError as error:
        return error


def _shown(found: T | TaskQError, show: Callable[[T], Html]) -> Html:
    if not isinstance(found, TaskQError):
        return show(found)
    problem = problem_details(found)
    return alert(f"{problem['title']}: {problem.get('detail') or 'no details'}", bad=True)


async def _queues(app: App, services: Services) -> list[QueueStats]:
    """Return the queues. The ages of their oldest messages are up to a minute old."""
    queues = await queue_stats(app, services, ages=False)
    now = app.clock.time()
    read_at, ages = _ages.get(app, (float("-inf"), {}))
    if not 0 <= now - read_at < AGES_SECONDS:
        ages = await oldest_ages(app, services, [queue.name for queue in queues])
        _ages[app] = (now, ages)
    return [queue._replace(oldest_age=ages.get(queue.name)) for queue in queues]


async def _workers(app: App, services: Services) -> Sequence[WorkerReport]:
    return [] if services.results.workers is None else await live_workers(app, services)


def _spans(chosen: str) -> Html:
    entries = [
        tag("li", tag("a", f"Last {text}", href=f"./?span={name}", aria_current="true" if name == chosen else None))
        for name, (_, text) in SPANS.items()
    ]
    return tag("nav", tag("ul", entries), aria_label="Time span of the charts", class_="spans")


def _queue_table(queues: Sequence[QueueStats]) -> Html:
    most = max((queue.visible for queue in queues), default=0) or 1
    rows = [
        (
            queue.name,
            tag("span", f"{queue.visible:,} ", bar(queue.visible / most, "waiting")),
            f"{queue.in_flight:,}",
            f"{queue.delayed:,}",
            duration(queue.oldest_age),
            _dead_letters(queue),
        )
        for queue in queues
    ]
    header = ("Queue", "Waiting", "In flight", "Delayed", "Oldest message", "Dead letters")
    return table("Queues; SQS counts are approximate", header, rows)


def _dead_letters(queue: QueueStats) -> Child:
    if queue.dead_letters is None:
        return "-"
    if not queue.dead_letters:
        return "0"
    return tag("strong", link(f"{queue.dead_letters:,}", "dead-letters", queue=queue.name))


def _charts(window: Window) -> Html:
    points = window.points
    times, counters = [point.time for point in points], [point.counters for point in points]
    ends = [
        Line("succeeded", "good", [counter.succeeded for counter in counters]),
        Line("failed", "bad", [counter.failed for counter in counters]),
        Line("retried", "warn", [counter.retried for counter in counters]),
    ]
    durations = [
        Line("p50", "good", [counter.p50 for counter in counters]),
        Line("p95", "warn", [counter.p95 for counter in counters]),
    ]
    waits = [Line("average", "good", [counter.mean_wait for counter in counters])]
    step = window.step
    return tag(
        "div",
        chart("Tasks", times, ends, step=step),
        chart("Duration of attempts", times, durations, step=step, form=duration),
        chart("Time in the queue", times, waits, step=step, form=duration),
        class_="charts",
    )


def _failing(window: Window) -> Html:
    rows = [
        (
            link(task.name, "tasks", q=task.name),
            link(f"{task.counters.failed:,}", "tasks", q=task.name, status=State.FAILED),
            f"{task.counters.retried:,}",
            _rate(task.counters.failure_rate),
        )
        for task in window.failing(10)
    ]
    header = ("Task", "Failed for good", "Retried", "Failure rate")
    return table("Tasks that failed in this time", header, rows, empty="No failures in this time.")


def _rate(share: float | None) -> Child:
    return "-" if share is None else tag("span", f"{share:.0%} ", bar(share, "failed"))


def _failures(failed: Sequence[TaskRecord]) -> Html:
    rows = [
        (
            link(record.id, "task", id=record.id),
            record.task,
            time(record.finished_at),
            clipped(f"{record.error.type}: {record.error.message}" if record.error else record.reason or "", 200),
        )
        for record in failed
    ]
    return table("Latest failed tasks", ("Id", "Task", "Failed at (UTC)", "Error"), rows, empty="No failed tasks.")


def _worker_table(workers: Sequence[WorkerReport]) -> Html:
    rows = [
        (
            f"{worker.host} {worker.pid}",
            ", ".join(worker.queues),
            tag(
                "span",
                f"{worker.running} of {worker.concurrency} ",
                bar(worker.running / max(1, worker.concurrency), "good"),
            ),
            f"{worker.done:,}",
            tag("ul", [tag("li", link(task.task, "task", id=task.id)) for task in worker.oldest[:5]])
            if worker.oldest
            else "-",
            time(worker.started_at),
            "stopping" if worker.stopping else time(worker.beat_at),
            worker.version,
        )
        for worker in workers[:MAX_WORKERS_SHOWN]
    ]
    header = ("Worker", "Queues", "Running", "Done", "Longest running", "Since (UTC)", "Reported (UTC)", "Version")
    found = table("Workers that reported in the last 150 seconds", header, rows, empty="No worker has reported.")
    if len(workers) > MAX_WORKERS_SHOWN:
        return markup([found, tag("p", f"{len(workers) - MAX_WORKERS_SHOWN} more.", class_="muted")])
    return found
