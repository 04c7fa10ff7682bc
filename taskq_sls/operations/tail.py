"""Tasks as they end, or are put off to another attempt."""

from __future__ import annotations

from collections.abc import Sequence

from ..client.app import App
from ..client.services import Services
from ..core.states import State
from ..errors import ConfigError
from ..results.base import Query
from ..results.layout import INDEXED_STATES
from ..results.records import TaskRecord

INTERVAL_SECONDS = 2.0
"""Seconds between two looks: each queries 8 shards of every state that is watched."""

OVERLAP_SECONDS = 10.0
"""Seconds that a look reaches back behind the one before: indexes lag the table, and clocks differ."""

PAGE_SIZE = 200


class Tail:
    """Follows the tasks of the table by the status index, which holds RETRYING and the terminal states.

    Args:
        tasks: only tasks of these names.
        states: only these states; default: all that the index holds.
        since: epoch seconds; what happened before is not told. Default: now.

    Raises:
        ConfigError: a state is not in the index.
    """

    def __init__(
        self,
        app: App,
        services: Services,
        *,
        tasks: Sequence[str] = (),
        states: Sequence[State] = (),
        since: float | None = None,
    ) -> None:
        for state in states:
            if state not in INDEXED_STATES:
                raise ConfigError(
                    f"status {state}: a tail shows what ends or retries; use {', '.join(sorted(INDEXED_STATES))}"
                )
        self._clock = app.clock
        self._results = services.results
        self._tasks = tuple(tasks)
        self._states = tuple(states) or tuple(sorted(INDEXED_STATES))
        self._begin = self._since = app.clock.time() if since is None else since
        self._told: dict[tuple[str, State, float], None] = {}

    async def poll(self) -> list[TaskRecord]:
        """What has happened since the look before, in the order of its time.

        Raises:
            AwsError, ConfigError: the table cannot be read; the next look finds what this one missed.
        """
        now = self._clock.time()
        found: list[TaskRecord] = []
        for state in self._states:
            cursor: str | None = None
            while True:
                query = Query(self._tasks, state, self._since, None, PAGE_SIZE, cursor)
                page = await self._results.list(query, now=now)
                found += page
                if (cursor := page.cursor) is None:
                    break
        self._since = max(self._begin, now - OVERLAP_SECONDS)
        fresh = {key: one for one in found if (key := (one.id, one.status, one.updated_at)) not in self._told}
        self._told.update(dict.fromkeys(fresh))
        self._told = {key: None for key in self._told if key[2] >= self._since}
        return sorted(fresh.values(), key=lambda one: one.updated_at)
