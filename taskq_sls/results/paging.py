"""What a listing asks for, checked: the same for every backend."""

from __future__ import annotations

import re
from typing import NamedTuple

from ..core.number_checks import is_number, is_whole
from ..core.states import State
from ..errors import ConfigError
from .base import Query
from .layout import INDEXED_STATES, LAST_MILLISECOND, time_bound

MAX_LIMIT = 1_000
"""Most records of one page."""

CURSOR = re.compile(r"\d{13}#.+", re.DOTALL)


class Window(NamedTuple):
    """Time keys from `low` (inclusive) to `high` (exclusive), as text."""

    low: str
    high: str

    def holds(self, key: str) -> bool:
        """Whether a time key lies inside."""
        return self.low <= key < self.high


def by_status(query: Query) -> bool:
    """Whether the status index answers the query; else the name index does."""
    return query.status in INDEXED_STATES


def check_query(query: Query) -> Window:
    """The time keys to look at.

    Raises:
        ConfigError: limit, cursor, times or tasks are malformed, or the query needs task names.
    """
    if not is_whole(query.limit, 1, MAX_LIMIT):
        raise ConfigError(f"limit={query.limit!r} must be a whole number of 1 to {MAX_LIMIT:,} records a page")
    if query.status is not None and query.status not in list(State):
        raise ConfigError(f"status={query.status!r} is not a state; use one of {', '.join(State)}")
    if not isinstance(query.tasks, tuple):
        raise ConfigError(f"tasks={query.tasks!r} must be a tuple of task names")
    if not by_status(query) and not query.tasks:
        asked = "without a status" if query.status is None else f"of status {query.status}"
        raise ConfigError(
            f"listing tasks {asked} needs task names: the status index holds only "
            f"{', '.join(sorted(INDEXED_STATES))}; give task=..., or one of these states"
        )
    if query.cursor is not None and not (isinstance(query.cursor, str) and CURSOR.fullmatch(query.cursor)):
        raise ConfigError(f"cursor={query.cursor!r} is not a cursor; pass on the .cursor of the page before")
    low = time_bound(_seconds("since", query.since, 0.0))
    high = time_bound(_seconds("until", query.until, LAST_MILLISECOND / 1000))
    return Window(low, high if query.cursor is None else min(high, query.cursor))


def _seconds(name: str, value: float | None, default: float) -> float:
    if value is None:
        return default
    if not is_number(value, 0, LAST_MILLISECOND / 1000):
        raise ConfigError(
            f"{name}={value!r} must be epoch seconds, 0 to {LAST_MILLISECOND // 1000:,} (milliseconds are too large)"
        )
    return value
