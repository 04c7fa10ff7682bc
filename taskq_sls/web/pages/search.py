"""Which tasks a search is for, and a look for them that reads a bounded number of records.

The table can be asked for a state, or for a name, each by time. What else a search wants is compared here, record by
record; so a look may end before it has found a page full, and is gone on with from where it ended: at an older time, or
among other names.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import NamedTuple

from ...client.app import App
from ...core.states import State
from ...operations.overview import live_workers
from ...results.base import Query
from ...results.layout import INDEXED_STATES, time_key
from ...results.records import TaskRecord
from ...results.workers import RunningTask
from ..request_context import RequestContext

PAGE_SIZE = 50
"""Tasks of a page."""

MAX_RECORDS_READ = 300
"""Records that one look reads, where not all of them will fit."""

MAX_NAMES = 10
"""Names that one look asks for: each is eight queries, one for each shard of its index, and some milliseconds of ours."""

Key = Callable[[TaskRecord], str]

ACTIVE_STATES = frozenset({State.QUEUED, State.RUNNING})
"""States that the status index does not hold; the other states that have not ended and the ended ones it does."""


class Search(NamedTuple):
    """What to look for.

    Args:
        states: any of these; any at all where there is none.
        name: part of a task's name.
        since, until: epoch seconds: of the state's begin where a look goes by state, else of the enqueue.
        parent: id of the task that enqueued them; such a look never goes by state.
        cursor: ``Found.cursor`` of the look before.
        after: ``Found.after`` of the look before.
    """

    states: frozenset[State] = frozenset()
    name: str = ""
    since: float | None = None
    until: float | None = None
    labels: Mapping[str, str] = {}
    parent: str | None = None
    cursor: str | None = None
    after: str | None = None


class SearchResult(NamedTuple):
    """What a look found, newest first.

    Args:
        cursor: goes on to older tasks; None where there are none.
        read: records that were compared with the search; 0 where all that were read fit.
        names: of these tasks alone, where more names fit.
        total: names that fit.
        after: goes on to the names behind this one.
    """

    records: list[TaskRecord]
    cursor: str | None = None
    read: int = 0
    names: tuple[str, ...] = ()
    total: int = 0
    after: str | None = None


def indexed_states(app: App, search: Search) -> list[State]:
    """The states by which a look goes; none where it goes by names."""
    if search.parent is not None:
        return []
    if len(search.states) == 1 and search.states <= INDEXED_STATES:
        # But of a name most tasks have succeeded, and few that have succeeded are of that name.
        return [] if search.name and State.SUCCEEDED in search.states else list(search.states)
    everything = not search.states and not search.name
    few = 0 < len(app.registry.names) <= MAX_NAMES
    return sorted(INDEXED_STATES) if everything and not few else []


async def search_tasks(context: RequestContext, search: Search) -> SearchResult:
    """Look for tasks.

    Raises:
        ConfigError: the cursor or a time is malformed.
        AwsError: the table cannot be read.
    """
    names = _names(context.app, search.name)
    if states := indexed_states(context.app, search):
        wanted = frozenset(names) if search.name else None
        page, cursor = await _by_states(context, states, search, all_fit=wanted is None and not search.labels)
        return _compared(page, search._replace(states=frozenset()), wanted, SearchResult([], cursor), _state_key)
    return await search_names(context, names, search)


async def search_names(context: RequestContext, names: Sequence[str], search: Search) -> SearchResult:
    """Look for tasks of these names, a part of them at a time. Raises what :func:`search_tasks` does."""
    start = names.index(search.after) + 1 if search.after in names else 0
    part = tuple(names[start : start + MAX_NAMES])
    if not part:
        return SearchResult([])
    all_fit = not (search.labels or search.states or search.parent)
    query = Query(part, None, search.since, search.until, PAGE_SIZE if all_fit else MAX_RECORDS_READ, search.cursor)
    page = await context.services.results.list(query, now=context.now)
    behind = part[-1] if start + MAX_NAMES < len(names) else None
    found = SearchResult([], page.cursor, 0, part if len(part) < len(names) else (), len(names), behind)
    return _compared(page, search, None, found, _name_key)


def _compared(
    page: Sequence[TaskRecord], search: Search, names: frozenset[str] | None, found: SearchResult, key: Key
) -> SearchResult:
    """The records that fit, a page of them."""
    if not (search.states or search.labels or search.parent or names):
        return found._replace(records=list(page))
    records = [record for record in page if _fits(record, search, names)]
    if len(records) > PAGE_SIZE:
        records = records[:PAGE_SIZE]
        return found._replace(records=records, cursor=key(records[-1]))
    return found._replace(records=records, read=len(page))


async def _by_states(
    context: RequestContext, states: Sequence[State], search: Search, *, all_fit: bool
) -> tuple[list[TaskRecord], str | None]:
    """The next records, of all states together."""
    step = PAGE_SIZE if all_fit else MAX_RECORDS_READ // len(states) + PAGE_SIZE

    async def one(state: State) -> tuple[list[TaskRecord], str | None]:
        query = Query((), state, search.since, search.until, step, search.cursor)
        page = await context.services.results.list(query, now=context.now)
        return list(page), page.cursor

    pages = await context.services.flow.map(one, states, len(states))
    if len(pages) == 1:
        return pages[0]
    merged = sorted((record for records, _ in pages for record in records), key=_state_key, reverse=True)
    more = len(merged) > step or any(cursor is not None for _, cursor in pages)
    merged = merged[:step]
    return merged, _state_key(merged[-1]) if more and merged else None


def _names(app: App, part: str) -> tuple[str, ...]:
    """Registered names that hold `part`; where there is none, `part` itself may be the name of a task elsewhere."""
    names = app.registry.names
    if not part or part in names:
        return (part,) if part else tuple(names)
    folded = part.casefold()
    return tuple(name for name in names if folded in name.casefold()) or (part,)


def _fits(record: TaskRecord, search: Search, names: frozenset[str] | None) -> bool:
    return (
        (names is None or record.task in names)
        and (not search.states or record.status in search.states)
        and (search.parent is None or record.parent == search.parent)
        and all(record.labels.get(name) == value for name, value in search.labels.items())
    )


def _state_key(record: TaskRecord) -> str:
    """Where a record stands in the index of states."""
    return time_key(record.updated_at, record.id)


def _name_key(record: TaskRecord) -> str:
    """Where a record stands in the index of names."""
    return time_key(record.enqueued_at or 0.0, record.id)


ACTIVE_NAMES = 5
"""Names that are asked for, beside the states of the same page."""

ACTIVE_RECORDS = 100
"""Of these names, the records that are read."""

BUSY_WINDOW = timedelta(minutes=15)
"""Time in which tasks count as busy, by their counters; containers and workers write those once a minute."""


class ActiveTasks(NamedTuple):
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


async def active_tasks(context: RequestContext) -> ActiveTasks:
    """Look for them.

    Raises:
        AwsError: the table cannot be read.
    """
    running, busy = await asyncio.gather(_running(context), _busy(context))
    levels = {task.name: task.options.record for task in context.app.registry}
    recorded = [name for name, level in levels.items() if level in ("started", "queued")]
    first = {name: None for name in busy if name in recorded}
    first |= dict.fromkeys(sorted(recorded, key=lambda name: levels[name] != "queued"))
    names = tuple(first)[:ACTIVE_NAMES]
    found = await context.services.results.get_many([task.id for task in running], now=context.now)
    more = False
    if names:
        page = await context.services.results.list(Query(names, limit=ACTIVE_RECORDS), now=context.now)
        found |= {record.id: record for record in page}
        more = page.cursor is not None
    records = [record for record in found.values() if record.status in ACTIVE_STATES]
    records.sort(key=lambda record: record.enqueued_at or record.started_at or 0.0, reverse=True)
    return ActiveTasks(records, names, len(recorded), more)


async def _running(context: RequestContext) -> list[RunningTask]:
    """What workers named in their last reports, the longest-running tasks of each."""
    if context.services.results.workers is None:
        return []
    return [task for worker in await live_workers(context.app, context.services) for task in worker.oldest]


async def _busy(context: RequestContext) -> list[str]:
    """Names of tasks of which attempts began a short while ago, most of them first."""
    window = await context.app.metrics.awindow(since=BUSY_WINDOW)
    return [task.name for task in sorted(window.tasks, key=lambda task: -task.counters.started)]
