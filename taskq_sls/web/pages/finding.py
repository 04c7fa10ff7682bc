"""Which tasks a search is for, and a look for them that reads a bounded number of records.

The table can be asked for a state, or for a name, each by time. What else a search wants is compared here, record by
record; so a look may end before it has found a page full, and is gone on with from its cursor.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ...app import TaskQ
from ...errors import ConfigError
from ...results.base import Query
from ...results.layout import INDEXED_STATES, SHARDS, time_key
from ...results.records import State, TaskRecord
from ..calls import Call

PAGE = 50
"""Tasks of a page."""

STEP = 100
"""Records of one read, where not all of them will fit."""

MOST_READ = 300
"""Records that one look reads."""

FEW_NAMES = 5
"""Names that are asked for together as a matter of course: each is eight queries, one for each shard of its index."""

MOST_NAMES = 12
"""Names that one look asks for at all."""

MOST_QUERIES = SHARDS * FEW_NAMES
"""Queries after which a look ends: some hundred milliseconds, most of them the client's own."""


class Search(NamedTuple):
    """What to look for.

    Args:
        name: part of a task's name.
        since, until: epoch seconds: of the state's begin where a look goes by state, else of the enqueue.
    """

    status: State | None = None
    name: str = ""
    since: float | None = None
    until: float | None = None
    labels: Mapping[str, str] = {}
    cursor: str | None = None


class Found(NamedTuple):
    """What a look found, newest first.

    Args:
        cursor: goes on from here; None at the end.
        hint: what the look leaves out.
    """

    records: list[TaskRecord]
    cursor: str | None
    hint: str | None = None


async def find(call: Call, search: Search) -> Found:
    """Look for tasks.

    Raises:
        ConfigError: the cursor or a time is malformed, or no task is registered.
        AwsError: the table cannot be read.
    """
    names = _names(call.app, search.name)
    hint: str | None = None
    states: Sequence[State | None] = (None,)
    asked: tuple[str, ...] = ()
    if search.status in INDEXED_STATES and not (search.name and search.status is State.SUCCEEDED):
        # But of a name most tasks have succeeded, and few that have succeeded are of that name.
        states = (search.status,)
    elif search.status is None and not search.name and len(names) > FEW_NAMES:
        states = sorted(INDEXED_STATES)
        hint = "Tasks that have ended or wait for a retry. Give a name, to see those that are queued or running too."
    elif len(names) > MOST_NAMES:
        raise ConfigError(
            f"{len(names)} names fit {search.name!r:.80}; at most {MOST_NAMES} are looked for: give more of it"
        )
    else:
        asked = names
    by_state = not asked
    wanted = frozenset(names) if by_state and search.name else None
    all_fit = not search.labels and wanted is None and (by_state or search.status is None)
    found: list[TaskRecord] = []
    read, queries, cursor = 0, 0, search.cursor
    while True:
        step = PAGE if all_fit or len(asked) > FEW_NAMES else STEP
        page, cursor = await _read(call, asked, states, search._replace(cursor=cursor), step)
        read += len(page)
        found += [one for one in page if all_fit or _fits(one, search, wanted)]
        if cursor is None or len(found) >= PAGE:
            return Found(found, cursor, hint)
        queries += SHARDS * (len(asked) or len(states))
        if read >= MOST_READ or queries >= MOST_QUERIES:
            return Found(found, cursor, f"{read} tasks were looked at; older ones were not.")


async def _read(
    call: Call, names: tuple[str, ...], states: Sequence[State | None], search: Search, step: int
) -> tuple[list[TaskRecord], str | None]:
    """The next records, of all states together."""

    async def one(state: State | None) -> tuple[list[TaskRecord], str | None]:
        query = Query(names, state, search.since, search.until, step, search.cursor)
        page = await call.services.results.list(query, now=call.now)
        return list(page), page.cursor

    pages = await call.services.flow.map(one, states, len(states))
    if len(pages) == 1:
        return pages[0]
    merged = sorted((record for records, _ in pages for record in records), key=_key, reverse=True)
    more = len(merged) > step or any(cursor is not None for _, cursor in pages)
    merged = merged[:step]
    return merged, _key(merged[-1]) if more and merged else None


def _names(app: TaskQ, part: str) -> tuple[str, ...]:
    """Registered names that hold `part`; where there is none, `part` itself may be the name of a task elsewhere."""
    names = app.registry.names
    if not part or part in names:
        return (part,) if part else tuple(names)
    folded = part.casefold()
    return tuple(name for name in names if folded in name.casefold()) or (part,)


def _fits(record: TaskRecord, search: Search, names: frozenset[str] | None) -> bool:
    return (
        (names is None or record.task in names)
        and (search.status is None or record.status is search.status)
        and all(record.labels.get(name) == value for name, value in search.labels.items())
    )


def _key(record: TaskRecord) -> str:
    return time_key(record.updated_at, record.id)
