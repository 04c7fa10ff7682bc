"""Waiting for tasks to end: polls the table at growing intervals."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from ..core.backoff import Backoff
from ..core.number_checks import is_number
from ..core.states import UNREADABLE, State
from ..errors import AwsError, ConfigError, PayloadMissing, ResultTimeout
from ..results.records import TaskRecord
from .services import Services

if TYPE_CHECKING:
    from ..core.clock import Clock

FIRST_POLL_SECONDS = 0.05
MAX_POLL_SECONDS = 2.0
"""The first and the longest pause between two polls. A poll costs half a read unit per KB of each record."""

PARALLEL_FETCHES = 8
"""Large results that one poll reads at once."""


async def wait_for_records(
    clock: Clock,
    services: Services,
    ids: Iterable[str],
    timeout: float | None,
    on_progress: Callable[[int, int], None] | None = None,
) -> dict[str, TaskRecord]:
    """Wait until all have ended (or stalled), with one batched read per poll.

    Raises:
        ConfigError: `timeout` is not a number of 0 or more.
        ResultTimeout: some have not ended in time.
    """
    if timeout is not None and not is_number(timeout, 0):
        raise ConfigError(f"timeout={timeout!r} must be 0 or more seconds, or None to wait without a limit")
    until = None if timeout is None else clock.time() + timeout
    ended: dict[str, TaskRecord] = {}
    waiting = list(dict.fromkeys(ids))
    total = len(waiting)
    backoff = Backoff(FIRST_POLL_SECONDS, MAX_POLL_SECONDS, factor=1.5)
    last: dict[str, TaskRecord] = {}
    while True:
        newly, records, fault = await _poll(clock, services, waiting)
        last = records or last
        now = clock.time()
        ended |= newly
        waiting = [id for id in waiting if id not in ended]
        if newly:
            backoff.reset()
            if on_progress is not None:
                on_progress(len(ended), total)
        if not waiting:
            return ended
        if until is not None and now >= until:
            raise _timed_out(waiting, total, last, timeout, fault)
        pause = backoff.next()
        await services.flow.sleep(pause if until is None else max(0.001, min(pause, until - now)))


def _has_ended(record: TaskRecord, now: float) -> bool:
    return record.status.terminal or record.stalled(now) or record.status == UNREADABLE


async def _poll(
    clock: Clock, services: Services, ids: Sequence[str]
) -> tuple[dict[str, TaskRecord], dict[str, TaskRecord], AwsError | None]:
    """One batched read: the records of tasks that have ended, all records, and the transient fault if there was one."""
    try:
        records = await services.results.get_many(ids, now=clock.time())
    except AwsError as error:
        if not error.transient:
            raise
        return {}, {}, error
    now = clock.time()
    ended = {id: record for id, record in records.items() if _has_ended(record, now)}
    if not any(record.result_key is not None for record in ended.values()):
        return ended, records, None
    ended, fault = await _with_results(services, ended)
    return ended, records, fault


async def _with_results(
    services: Services, records: dict[str, TaskRecord]
) -> tuple[dict[str, TaskRecord], AwsError | None]:
    """The records with results from the bucket. After a transient fault a record is left out: the next poll reads it."""
    from ..payloads.claim_check import fetch_result  # hardly any result is that large

    faults: list[AwsError] = []

    async def fetch(record: TaskRecord) -> TaskRecord | None:
        try:
            return await fetch_result(services.payloads, record)
        except PayloadMissing:
            return record  # its handle raises this; the wait for the others goes on
        except AwsError as error:
            if not error.transient:
                raise
            faults.append(error)
            return None

    fetched = await services.flow.map(fetch, list(records.values()), PARALLEL_FETCHES)
    return {record.id: record for record in fetched if record is not None}, faults[-1] if faults else None


def _timed_out(
    waiting: Sequence[str],
    total: int,
    last: dict[str, TaskRecord],
    timeout: float | None,
    fault: AwsError | None,
) -> ResultTimeout:
    record = last.get(waiting[0])
    state = record.status if record else State.QUEUED
    text = f"{len(waiting)} of {total} tasks had not ended after {timeout:g} s; " if total > 1 else ""
    text += f"task {waiting[0]} is {state}" + ("" if total > 1 else f" after {timeout:g} s")
    if fault is not None:
        text += f"; the last poll failed: {fault}"
    elif state is State.QUEUED:
        text += "; is a worker consuming its queue?"
    return ResultTimeout(text)
