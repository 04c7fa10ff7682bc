"""``app.results``: reading records from user code."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

from ..core.flow import call_sync
from ..core.number_checks import is_whole
from ..core.option_checks import checked_labels
from ..core.states import State
from ..core.times import TimeLike, epoch_seconds
from ..errors import ArgumentsError, ConfigError
from ..results.base import Page, Query
from ..results.records import TaskRecord
from .runtime import Runtime
from .services import Services


class Results:
    """Records of tasks, for reading. Async methods have the prefix ``a``."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def get(self, id: str) -> TaskRecord | None:
        """The record of a task, or None if it is not recorded (yet), or has expired.

        A result that was too large for the table is read from the bucket.

        Raises:
            PayloadMissing: the result is missing in the bucket.
        """
        return call_sync("get", self._get(self._runtime.services.blocking(), id))

    async def aget(self, id: str) -> TaskRecord | None:
        """`get` for async code."""
        return await self._get(await self._runtime.services.on_loop(), id)

    def get_many(self, ids: Iterable[str]) -> dict[str, TaskRecord]:
        """The records that exist, by id; one read per 100 ids. Results in the bucket are not read, as in `list`."""
        return call_sync("get_many", self._get_many(self._runtime.services.blocking(), ids))

    async def aget_many(self, ids: Iterable[str]) -> dict[str, TaskRecord]:
        """`get_many` for async code."""
        return await self._get_many(await self._runtime.services.on_loop(), ids)

    def list(
        self,
        *,
        status: str | None = None,
        task: str | None = None,
        since: TimeLike | None = None,
        until: TimeLike | None = None,
        limit: int = 50,
        cursor: str | None = None,
        labels: Mapping[str, str] | None = None,
        most_read: int | None = None,
    ) -> Page:
        """A page of records, newest first.

        Results in the bucket are not read: such a record has a `result_key`, and no `result`.

        Args:
            status: only tasks in this state. QUEUED tasks are recorded only at ``record="queued"``.
            task: only tasks of this name. Without it, the tasks registered in this app.
            since: an aware datetime, epoch seconds, or a timedelta back from now. Compared with the time the state
                was entered if `status` is RETRYING or terminal, else with the time of the enqueue.
            until: the same, exclusive.
            limit: 1 to 1,000.
            cursor: ``page.cursor`` of the page before.
            labels: only tasks that have all of these.
            most_read: maximum records to read, 1 or more, if a filter is not covered by an index: labels, `status`
                together with `task`, RUNNING, QUEUED. The page may then be shorter than `limit` and still have a
                cursor. None: no maximum; that may read all records.

        Raises:
            ConfigError: a filter is malformed.
        """
        query = self._query(status, task, since, until, limit, cursor, labels, most_read)
        return call_sync("list", self._list(self._runtime.services.blocking(), query))

    async def alist(
        self,
        *,
        status: str | None = None,
        task: str | None = None,
        since: TimeLike | None = None,
        until: TimeLike | None = None,
        limit: int = 50,
        cursor: str | None = None,
        labels: Mapping[str, str] | None = None,
        most_read: int | None = None,
    ) -> Page:
        """`list` for async code."""
        return await self._list(
            await self._runtime.services.on_loop(),
            self._query(status, task, since, until, limit, cursor, labels, most_read),
        )

    def _query(
        self,
        status: str | None,
        task: str | None,
        since: TimeLike | None,
        until: TimeLike | None,
        limit: int,
        cursor: str | None,
        labels: Mapping[str, str] | None,
        most_read: int | None,
    ) -> Query:
        if not is_whole(limit, 1, 1000):
            raise ConfigError(f"limit={limit!r} must be a whole number of 1 to 1000")
        if most_read is not None and not is_whole(most_read, 1):
            raise ConfigError(f"most_read={most_read!r} must be a whole number of 1 or more, or None")
        state = _state(status)
        return Query(
            tasks=self._tasks(task, state),
            status=state,
            since=self._seconds("since", since),
            until=self._seconds("until", until),
            limit=limit,
            cursor=cursor,
            labels=checked_labels("list()", "labels", labels or {}),
            most_read=most_read,
        )

    def _tasks(self, task: str | None, state: State | None) -> tuple[str, ...]:
        """The names to list by; none for states with an index of their own."""
        if task is not None:
            return (task,)
        if state not in (None, State.QUEUED, State.RUNNING):
            return ()
        if not (tasks := self._runtime.registry.names):
            raise ConfigError("list() without task= lists the app's tasks, and none is registered: give task=")
        return tasks

    def _seconds(self, name: str, when: TimeLike | None) -> float | None:
        return None if when is None else epoch_seconds(name, when, self._runtime.clock.time())

    async def _get(self, services: Services, id: str) -> TaskRecord | None:
        record = await services.results.get(_text(id), now=self._runtime.clock.time())
        if record is not None and record.result_key is not None:
            from ..payloads.claim_check import fetch_result  # hardly any result is that large

            record = await fetch_result(services.payloads, record)
        return None if record is None else self._decoded(record)

    async def _get_many(self, services: Services, ids: Iterable[str]) -> dict[str, TaskRecord]:
        records = await services.results.get_many(list(dict.fromkeys(map(_text, ids))), now=self._runtime.clock.time())
        return {id: self._decoded(record) for id, record in records.items()}

    async def _list(self, services: Services, query: Query) -> Page:
        page = await services.results.list(query, now=self._runtime.clock.time())
        return Page([self._decoded(record) for record in page], page.cursor)

    def _decoded(self, record: TaskRecord) -> TaskRecord:
        if record.result_json is None:
            return record
        task = self._runtime.registry.get(record.task)
        value = json.loads(record.result_json)
        if task is not None:
            try:
                value = task.plan.signature.decode_result(record.result_json)
            except ArgumentsError:
                pass  # written by another version of the task: return the plain JSON
        return record._replace(result=value)


def _text(id: str) -> str:
    if not isinstance(id, str):
        raise ConfigError(f"id={id!r:.80} is {type(id).__name__}: a task's id is a str, such as handle.id")
    return id


def _state(status: str | None) -> State | None:
    if status is None:
        return None
    try:
        return State(status.upper())
    except (ValueError, AttributeError):
        raise ConfigError(f"status={status!r} is not a state; use one of {', '.join(State)}") from None
