"""Follow tasks as they end or retry."""

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
"""Time between two polls: each queries 8 shards of every watched state."""

OVERLAP_SECONDS = 10.0
"""How far a poll reaches back before the previous one: indexes lag behind the table, and clocks differ."""

PAGE_SIZE = 200


class Tail:
    """Polls the status index, which holds RETRYING and the terminal states.

    Args:
        tasks: only tasks of these names.
        states: only these states; default: all in the index.
        since: epoch seconds; only tasks that entered their state at this time or later. Default: now.

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
                    f"status {state}: a tail shows tasks that end or retry; use {', '.join(sorted(INDEXED_STATES))}"
                )
        self._clock = app.clock
        self._results = services.results
        self._tasks = tuple(tasks)
        self._states = tuple(states) or tuple(sorted(INDEXED_STATES))
        self._begin = self._since = app.clock.time() if since is None else since
        self._returned: set[tuple[str, State, float]] = set()

    async def poll(self) -> list[TaskRecord]:
        """Tasks that ended or retried since the last poll, in the order of their times.

        Raises:
            AwsError, ConfigError: the table cannot be read; the next poll returns the records that this one missed.
        """
        now = self._clock.time()
        found: list[TaskRecord] = []
        for state in self._states:
            cursor: str | None = None
            while True:
                query = Query(self._tasks, state, since=self._since, limit=PAGE_SIZE, cursor=cursor)
                page = await self._results.list(query, now=now)
                found += page
                if (cursor := page.cursor) is None:
                    break
        self._since = max(self._begin, now - OVERLAP_SECONDS)
        keyed = {(record.id, record.status, record.updated_at): record for record in found}
        new = [record for key, record in keyed.items() if key not in self._returned]
        self._returned = {key for key in self._returned | keyed.keys() if key[2] >= self._since}
        return sorted(new, key=lambda record: record.updated_at)
