"""Searches for tasks that read a bounded number of records.

The table has one index by status and one by task name, both by time; other conditions are compared record by record. So a
search may stop before its page is full. It continues from a cursor: at an older time, or with other names.
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
"""Records that one search reads if not all of them will match."""

MAX_NAMES = 10
"""Task names of one search. Each is eight queries, one for each shard of the index, and some milliseconds here."""

ACTIVE_STATES = frozenset({State.QUEUED, State.RUNNING})
"""States missing from the status index."""

ACTIVE_NAMES = 5
"""Task names of a search for active tasks, which runs beside a search by status."""

ACTIVE_RECORDS = 100
"""Records of these names that are read."""

BUSY_WINDOW = timedelta(minutes=15)
"""A task name is busy if its counters show attempts in this time. Containers and workers write them once a minute."""

Key = Callable[[TaskRecord], str]


class Search(NamedTuple):
    """Conditions of a search.

    Args:
        states: empty for any.
        name: part of a task name.
        since, until: epoch seconds: of the state's start in a search by status, else of the enqueue.
        parent: id of the task that enqueued them. Such a search never goes by status.
        cursor: ``SearchResult.cursor`` of the search before.
        after: ``SearchResult.after`` of the search before.
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
    """Tasks that match, newest first.

    Args:
        cursor: continues with older tasks; None if there are none.
        read: records that were compared; 0 if all records matched.
        names: the searched names, if they are not all that match.
        total: names that match.
        after: continues with the names after this one.
    """

    records: list[TaskRecord]
    cursor: str | None = None
    read: int = 0
    names: tuple[str, ...] = ()
    total: int = 0
    after: str | None = None


def indexed_states(app: App, search: Search) -> list[State]:
    """Return the states to search by; empty if the search goes by names."""
    if search.parent is not None:
        return []
    if len(search.states) == 1 and search.states <= INDEXED_STATES:
        # Except SUCCEEDED with a name: the name index is more selective there.
        return [] if search.name and State.SUCCEEDED in search.states else list(search.states)
    everything = not search.states and not search.name
    few_names = 0 < len(app.registry.names) <= MAX_NAMES
    return sorted(INDEXED_STATES) if everything and not few_names else []


async def search_tasks(context: RequestContext, search: Search) -> SearchResult:
    """Search for tasks.

    Raises:
        ConfigError: the cursor or a time is malformed.
        AwsError: the table cannot be read.
    """
    names = _matching_names(context.app, search.name)
    if states := indexed_states(context.app, search):
        wanted = frozenset(names) if search.name else None
        all_match = wanted is None and not search.labels
        page, cursor = await _read_by_states(context, states, search, all_match=all_match)
        return _filtered(page, search._replace(states=frozenset()), wanted, SearchResult([], cursor), _state_key)
    return await search_names(context, names, search)


async def search_names(context: RequestContext, names: Sequence[str], search: Search) -> SearchResult:
    """Search for tasks of these names, `MAX_NAMES` at a time. Raises the errors of :func:`search_tasks`."""
    start = names.index(search.after) + 1 if search.after in names else 0
    part = tuple(names[start : start + MAX_NAMES])
    if not part:
        return SearchResult([])
    all_match = not (search.labels or search.states or search.parent)
    query = Query(
        tasks=part,
        since=search.since,
        until=search.until,
        limit=PAGE_SIZE if all_match else MAX_RECORDS_READ,
        cursor=search.cursor,
    )
    page = await context.services.results.list(query, now=context.now)
    found = SearchResult(
        records=[],
        cursor=page.cursor,
        names=part if len(part) < len(names) else (),
        total=len(names),
        after=part[-1] if start + MAX_NAMES < len(names) else None,
    )
    return _filtered(page, search, None, found, _name_key)


def _filtered(
    page: Sequence[TaskRecord], search: Search, names: frozenset[str] | None, found: SearchResult, key: Key
) -> SearchResult:
    """Return `found` with the records that match, at most a page of them."""
    if not (search.states or search.labels or search.parent or names):
        return found._replace(records=list(page))
    records = [record for record in page if _matches(record, search, names)]
    if len(records) > PAGE_SIZE:
        records = records[:PAGE_SIZE]
        return found._replace(records=records, cursor=key(records[-1]))
    return found._replace(records=records, read=len(page))


async def _read_by_states(
    context: RequestContext, states: Sequence[State], search: Search, *, all_match: bool
) -> tuple[list[TaskRecord], str | None]:
    """Return the next records of all these states, newest first, and the cursor behind them."""
    step = PAGE_SIZE if all_match else MAX_RECORDS_READ // len(states) + PAGE_SIZE

    async def read(state: State) -> tuple[list[TaskRecord], str | None]:
        query = Query(status=state, since=search.since, until=search.until, limit=step, cursor=search.cursor)
        page = await context.services.results.list(query, now=context.now)
        return list(page), page.cursor

    pages = await context.services.flow.map(read, states, len(states))
    if len(pages) == 1:
        return pages[0]
    merged = sorted((record for records, _ in pages for record in records), key=_state_key, reverse=True)
    more = len(merged) > step or any(cursor is not None for _, cursor in pages)
    merged = merged[:step]
    return merged, _state_key(merged[-1]) if more and merged else None


def _matching_names(app: App, part: str) -> tuple[str, ...]:
    """Return the registered names that contain `part`. If none does, `part` may be the name of another app's task."""
    names = app.registry.names
    if not part or part in names:
        return (part,) if part else tuple(names)
    folded = part.casefold()
    return tuple(name for name in names if folded in name.casefold()) or (part,)


def _matches(record: TaskRecord, search: Search, names: frozenset[str] | None) -> bool:
    return (
        (names is None or record.task in names)
        and (not search.states or record.status in search.states)
        and (search.parent is None or record.parent == search.parent)
        and all(record.labels.get(name) == value for name, value in search.labels.items())
    )


def _state_key(record: TaskRecord) -> str:
    return time_key(record.updated_at, record.id)


def _name_key(record: TaskRecord) -> str:
    return time_key(record.enqueued_at or 0.0, record.id)


class ActiveTasks(NamedTuple):
    """Tasks that are QUEUED or RUNNING, newest first.

    Args:
        names: that were searched.
        total: names of tasks that are recorded before they end.
        more: older records of these names were not read.
    """

    records: list[TaskRecord]
    names: tuple[str, ...]
    total: int
    more: bool


async def active_tasks(context: RequestContext) -> ActiveTasks:
    """Search for queued and running tasks in an app with many task names.

    No index has these states, and searching every name takes too long. So this reads the tasks that workers have
    reported, by id, and the newest tasks of a few names: the busiest, then those recorded at the enqueue.

    Raises:
        AwsError: the table cannot be read.
    """
    reported, busy = await asyncio.gather(_reported(context), _busy_names(context))
    names, total = _names_to_search(context.app, busy)
    found = await context.services.results.get_many([task.id for task in reported], now=context.now)
    more = False
    if names:
        page = await context.services.results.list(Query(names, limit=ACTIVE_RECORDS), now=context.now)
        found |= {record.id: record for record in page}
        more = page.cursor is not None
    records = [record for record in found.values() if record.status in ACTIVE_STATES]
    records.sort(key=lambda record: record.enqueued_at or record.started_at or 0.0, reverse=True)
    return ActiveTasks(records, names, total, more)


def _names_to_search(app: App, busy: Sequence[str]) -> tuple[tuple[str, ...], int]:
    """Return the names to search, and the number of names recorded before their tasks end."""
    levels = {task.name: task.options.record for task in app.registry}
    recorded = [name for name, level in levels.items() if level in ("started", "queued")]
    ordered = {name: None for name in busy if name in recorded}
    ordered |= dict.fromkeys(sorted(recorded, key=lambda name: levels[name] != "queued"))
    return tuple(ordered)[:ACTIVE_NAMES], len(recorded)


async def _reported(context: RequestContext) -> list[RunningTask]:
    """Return the longest-running tasks of each worker's last report."""
    if context.services.results.workers is None:
        return []
    return [task for worker in await live_workers(context.app, context.services) for task in worker.oldest]


async def _busy_names(context: RequestContext) -> list[str]:
    """Return the names of tasks with recent attempts, busiest first."""
    window = await context.app.metrics.awindow(since=BUSY_WINDOW)
    return [task.name for task in sorted(window.tasks, key=lambda task: -task.counters.started)]
