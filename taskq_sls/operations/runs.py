"""What the records say of dead letters: the run that a redriven copy opens, and tasks that nobody has ended.

A copy of ours opens the next run of a task that has FAILED. A message that SQS itself moved says nothing: its record,
if there is one, may still be waiting or running under a lease that has ended. It is marked FAILED, reason
``redriven``, before the message is sent in a new run, so that this run can be claimed and really runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ..client.app import App
from ..client.services import Services
from ..core.lifetimes import DAY, MIN_RESULT_TTL
from ..core.message import ErrorInfo
from ..core.states import State
from ..errors import AwsError
from ..results.base import give_back
from ..results.claim_refused import id_taken_by
from ..results.records import AttemptEnd, TaskRecord, is_unclaimed
from .dead_letter_view import MOVED_BY_SQS, DeadLetterView

MAX_PARALLEL_CLOSES = 8


class Blocked(NamedTuple):
    """Why a dead letter is better left where it is."""

    code: str
    message: str


async def runs_to_open(
    app: App, services: Services, dead_letters: Sequence[DeadLetterView], *, dry_run: bool = False
) -> list[int | Blocked]:
    """The run that the redriven copy of each has to carry.

    Ends the tasks that nobody works on any more, and that would keep that run from being claimed.

    Args:
        dry_run: end nothing.

    Raises:
        AwsError, ConfigError: the table cannot be read.
    """
    records = await records_of(app, services, dead_letters)

    async def run(one: DeadLetterView) -> int | Blocked:
        target = one.run + one.moved
        record = records.get(one.id or "")
        # The firing or the late retry that a schedule could not send is no new run.
        if record is None or one.source is None or one.message is None:
            return target
        if not _of_its_task(app, record, one):
            return Blocked("IdTaken", id_taken_by(record, one.message.task))
        if record.status is State.FAILED:
            return record.run + 1
        # Ended otherwise, it is recognised when it comes. The run that is open already is that of a copy sent before.
        if record.status.terminal or record.run >= target:
            return target
        return (await _close(app, services, record, one, dry_run)) or target

    return await services.flow.map(run, dead_letters, MAX_PARALLEL_CLOSES)


async def close_records(app: App, services: Services, dead_letters: Sequence[DeadLetterView]) -> None:
    """End the tasks of messages that SQS moved and that nobody works on: nothing will ever bring them back.

    Raises:
        AwsError, ConfigError: the table cannot be read.
    """
    moved = [one for one in dead_letters if one.moved and one.id]
    records = await records_of(app, services, moved)

    async def close(one: DeadLetterView) -> None:
        record = records.get(one.id or "")
        if (
            record is not None
            and not record.status.terminal
            and record.run <= one.run
            and _of_its_task(app, record, one)
        ):
            await _close(app, services, record, one)

    await services.flow.map(close, moved, MAX_PARALLEL_CLOSES)


def _of_its_task(app: App, record: TaskRecord, one: DeadLetterView) -> bool:
    """True if a record is of the dead letter's task, and not of another one that has used the id first."""
    return one.task is not None and app.registry.same_task(record.task, one.task)


async def records_of(app: App, services: Services, dead_letters: Sequence[DeadLetterView]) -> dict[str, TaskRecord]:
    """The records of dead letters, by task id. An app that records nothing may have no table."""
    ids = list(dict.fromkeys(one.id for one in dead_letters if one.id))
    if not ids or (len(app.registry) and all(task.options.record == "none" for task in app.registry)):
        return {}
    return await services.results.get_many(ids, now=app.clock.time())


async def _close(
    app: App, services: Services, record: TaskRecord, one: DeadLetterView, dry_run: bool = False
) -> Blocked | None:
    """End a task that nobody works on; None when that is done."""
    now = app.clock.time()
    if not is_unclaimed(record, now):
        return Blocked(
            "Running", f"task {record.id} runs at this moment: its lease has not ended; try again when it has"
        )
    if dry_run:
        return None
    # Who was asked to cancel it is answered at last.
    state, reason = (State.CANCELLED, "cancelled") if record.cancel_requested else (State.FAILED, MOVED_BY_SQS)
    finish = AttemptEnd(state, now, now + _result_ttl(app, record), error=_error(record, one), reason=reason)
    try:
        closed = await services.results.close_idle(record, finish)
    except AwsError as error:
        return Blocked(error.code, f"task {record.id} could not be marked FAILED: {error.message}")
    if not closed:
        return Blocked("Changed", f"task {record.id} changed at this moment; try again")
    if record.unique_key is not None:
        await give_back(services.results, record.task, record.unique_key, record.id)
    return None


def _error(record: TaskRecord, one: DeadLetterView) -> ErrorInfo:
    if record.error is not None:
        return record.error
    where = f"after {record.attempt} attempts" if record.attempt else "before its first attempt"
    if one.moved:
        return ErrorInfo("Redriven", f"SQS moved its message to the dead-letter queue {where}: nobody ever settled it")
    return ErrorInfo(one.error_type or "Redriven", one.error_message or f"given up {where}: {one.reason}")


def _result_ttl(app: App, record: TaskRecord) -> float:
    task = app.registry.get(record.task)
    return MIN_RESULT_TTL + DAY if task is None else task.options.result_ttl
