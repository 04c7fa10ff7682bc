"""What waits and runs now in an app of many tasks.

No index holds the states QUEUED and RUNNING, and to ask for every name would take too long. So what the workers have
reported is read by its id, and a few names are asked for: those that were busy just now, then those whose tasks are
recorded when they are sent.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import NamedTuple

from ...operations.overview import live_workers
from ...results.base import Query
from ...results.records import TaskRecord
from ...results.workers import RunningTask
from ..request_context import RequestContext
from .search import OPEN

NAMES = 5
"""Names that are asked for, beside the states of the same page."""

NEWEST = 100
"""Of these names, the records that are read."""

BUSY = timedelta(minutes=15)
"""Time in which tasks count as busy, by their counters; containers and workers write those once a minute."""


class Unended(NamedTuple):
    """Tasks that are QUEUED or RUNNING, the newest first.

    Args:
        names: that were asked for.
        total: names that have such records at all.
        more: whether there are older records of these names that were not read.
    """

    records: list[TaskRecord]
    names: tuple[str, ...]
    total: int
    more: bool


async def unended(call: RequestContext) -> Unended:
    """Look for them.

    Raises:
        AwsError: the table cannot be read.
    """
    running, busy = await asyncio.gather(_running(call), _busy(call))
    levels = {task.name: task.options.record for task in call.app.registry}
    recorded = [name for name, level in levels.items() if level in ("started", "queued")]
    first = {name: None for name in busy if name in recorded}
    first |= dict.fromkeys(sorted(recorded, key=lambda name: levels[name] != "queued"))
    names = tuple(first)[:NAMES]
    found = await call.services.results.get_many([one.id for one in running], now=call.now)
    more = False
    if names:
        page = await call.services.results.list(Query(names, limit=NEWEST), now=call.now)
        found |= {one.id: one for one in page}
        more = page.cursor is not None
    records = [one for one in found.values() if one.status in OPEN]
    records.sort(key=lambda one: one.enqueued_at or one.started_at or 0.0, reverse=True)
    return Unended(records, names, len(recorded), more)


async def _running(call: RequestContext) -> list[RunningTask]:
    """What workers named in their last reports, the longest-running tasks of each."""
    if call.services.results.workers is None:
        return []
    return [one for worker in await live_workers(call.app, call.services) for one in worker.oldest]


async def _busy(call: RequestContext) -> list[str]:
    """Names of tasks of which attempts began a short while ago, most of them first."""
    window = await call.app.metrics.awindow(since=BUSY)
    return [one.name for one in sorted(window.tasks, key=lambda one: -one.counters.started)]
