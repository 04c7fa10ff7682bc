"""Waiting for tasks to end: looks at the table at growing intervals."""

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

FIRST_POLL = 0.05
LONGEST_POLL = 2.0
"""Seconds between two looks at a result: the first, and the longest; each is half a read unit per KB."""

FETCHES_AT_ONCE = 8
"""Large results that one look reads side by side."""


async def wait_for_records(
    clock: Clock,
    services: Services,
    ids: Iterable[str],
    timeout: float | None,
    on_progress: Callable[[int, int], None] | None = None,
) -> dict[str, TaskRecord]:
    """Wait until all have ended (or stalled), with one batched read per look.

    Raises:
        ResultTimeout: some have not ended in time.
    """
    if timeout is not None and not is_number(timeout, 0):
        raise ConfigError(f"timeout={timeout!r} must be 0 or more seconds, or None to wait as long as it takes")
    until = None if timeout is None else clock.time() + timeout
    ended: dict[str, TaskRecord] = {}
    waiting = list(dict.fromkeys(ids))
    total = len(waiting)
    backoff = Backoff(FIRST_POLL, LONGEST_POLL, factor=1.5)
    fault: AwsError | None = None
    last: dict[str, TaskRecord] = {}
    while True:
        try:
            found = last = await services.results.get_many(waiting, now=clock.time())
            fault = None
            if any(record.result_key is not None for record in last.values()):
                found, fault = await _with_results(services, last)
        except AwsError as error:
            if not error.transient:
                raise
            found, fault = {}, error
        now = clock.time()
        before = len(ended)
        for id, record in found.items():
            if record.status.terminal or record.stalled(now) or record.status == UNREADABLE:
                ended[id] = record
        waiting = [id for id in waiting if id not in ended]
        if on_progress is not None and len(ended) > before:
            on_progress(len(ended), total)
        if not waiting:
            return ended
        if until is not None and now >= until:
            raise _timed_out(waiting, total, last, timeout, fault)
        if len(ended) > before:
            backoff.reset()
        pause = backoff.next()
        await services.flow.sleep(pause if until is None else max(0.001, min(pause, until - now)))


async def _with_results(
    services: Services, records: dict[str, TaskRecord]
) -> tuple[dict[str, TaskRecord], AwsError | None]:
    """The records with results from the bucket. One that cannot be fetched now is left out: it is looked at again."""
    from ..payloads.claim_check import fetch_result  # hardly any result is that large

    faults: list[AwsError] = []

    async def redeem(record: TaskRecord) -> TaskRecord | None:
        try:
            return await fetch_result(services.payloads, record)
        except PayloadMissing:
            return record  # the others are waited for all the same
        except AwsError as error:
            if not error.transient:
                raise
            faults.append(error)
            return None

    redeemed = await services.flow.map(redeem, list(records.values()), FETCHES_AT_ONCE)
    return {record.id: record for record in redeemed if record is not None}, faults[-1] if faults else None


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
        text += f"; the last look failed: {fault}"
    elif state is State.QUEUED:
        text += "; is a worker consuming its queue?"
    return ResultTimeout(text)
