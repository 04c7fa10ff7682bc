"""Which tasks a search is for, and a look for them that reads a bounded number of records.

The table can be asked for a state, or for a name, each by time. What else a search wants is compared here, record by
record; so a look may end before it has found a page full, and is gone on with from where it ended: at an older time, or
among other names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from ...client.app import App
from ...core.states import State
from ...results.base import Query
from ...results.layout import INDEXED_STATES, time_key
from ...results.records import TaskRecord
from ..request_context import RequestContext

PAGE = 50
"""Tasks of a page."""

MOST_READ = 300
"""Records that one look reads, where not all of them will fit."""

MOST_NAMES = 10
"""Names that one look asks for: each is eight queries, one for each shard of its index, and some milliseconds of ours."""

Key = Callable[[TaskRecord], str]

OPEN = frozenset({State.QUEUED, State.RUNNING})
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


class Found(NamedTuple):
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


def by_state(app: App, search: Search) -> list[State]:
    """The states by which a look goes; none where it goes by names."""
    if search.parent is not None:
        return []
    if len(search.states) == 1 and search.states <= INDEXED_STATES:
        # But of a name most tasks have succeeded, and few that have succeeded are of that name.
        return [] if search.name and State.SUCCEEDED in search.states else list(search.states)
    everything = not search.states and not search.name
    few = 0 < len(app.registry.names) <= MOST_NAMES
    return sorted(INDEXED_STATES) if everything and not few else []


async def find(call: RequestContext, search: Search) -> Found:
    """Look for tasks.

    Raises:
        ConfigError: the cursor or a time is malformed.
        AwsError: the table cannot be read.
    """
    names = _names(call.app, search.name)
    if states := by_state(call.app, search):
        wanted = frozenset(names) if search.name else None
        page, cursor = await _by_states(call, states, search, all_fit=wanted is None and not search.labels)
        return _compared(page, search._replace(states=frozenset()), wanted, Found([], cursor), _state_key)
    return await find_among(call, names, search)


async def find_among(call: RequestContext, names: Sequence[str], search: Search) -> Found:
    """Look for tasks of these names, a part of them at a time. Raises what :func:`find` does."""
    start = names.index(search.after) + 1 if search.after in names else 0
    part = tuple(names[start : start + MOST_NAMES])
    if not part:
        return Found([])
    all_fit = not (search.labels or search.states or search.parent)
    query = Query(part, None, search.since, search.until, PAGE if all_fit else MOST_READ, search.cursor)
    page = await call.services.results.list(query, now=call.now)
    behind = part[-1] if start + MOST_NAMES < len(names) else None
    found = Found([], page.cursor, 0, part if len(part) < len(names) else (), len(names), behind)
    return _compared(page, search, None, found, _name_key)


def _compared(
    page: Sequence[TaskRecord], search: Search, names: frozenset[str] | None, found: Found, key: Key
) -> Found:
    """The records that fit, a page of them."""
    if not (search.states or search.labels or search.parent or names):
        return found._replace(records=list(page))
    records = [one for one in page if _fits(one, search, names)]
    if len(records) > PAGE:
        records = records[:PAGE]
        return found._replace(records=records, cursor=key(records[-1]))
    return found._replace(records=records, read=len(page))


async def _by_states(
    call: RequestContext, states: Sequence[State], search: Search, *, all_fit: bool
) -> tuple[list[TaskRecord], str | None]:
    """The next records, of all states together."""
    step = PAGE if all_fit else MOST_READ // len(states) + PAGE

    async def one(state: State) -> tuple[list[TaskRecord], str | None]:
        query = Query((), state, search.since, search.until, step, search.cursor)
        page = await call.services.results.list(query, now=call.now)
        return list(page), page.cursor

    pages = await call.services.flow.map(one, states, len(states))
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
