"""The next run of a dead letter: its number, its arguments, and the end of the run before.

A dead-letter copy of ours opens the next run of a task that has FAILED. A message that SQS itself moved has the old
run, and its record may still be waiting, or RUNNING under an expired lease. Such a record is first marked FAILED,
reason ``redriven``; only then can the new run be claimed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from ..client.app import App
from ..client.services import Services
from ..core.envelope import label_problem
from ..core.message import ErrorInfo, Message
from ..core.states import State
from ..core.times import DAY, MIN_RESULT_TTL
from ..errors import ArgumentsError, AwsError
from ..payloads.claim_check import fetch_message
from ..results.base import free_unique_key
from ..results.records import AttemptEnd, TaskRecord
from ..results.rules import id_taken_by, is_unclaimed
from .dead_letter_view import MOVED_BY_SQS, DeadLetterView

MAX_PARALLEL_CLOSES = 8


class Blocked(NamedTuple):
    """The reason why a dead letter cannot be redriven now."""

    code: str
    message: str


async def runs_to_open(
    app: App, services: Services, dead_letters: Sequence[DeadLetterView], *, dry_run: bool = False
) -> list[int | Blocked]:
    """The run that the redriven message of each dead letter must have.

    Ends tasks without a lease whose record would keep that run from being claimed.

    Args:
        dry_run: end no task.

    Raises:
        AwsError, ConfigError: the table cannot be read.
    """
    records = await records_of(app, services, dead_letters)

    async def run(view: DeadLetterView) -> int | Blocked:
        target = view.run + view.moved
        record = records.get(view.id or "")
        # A firing or late retry that a schedule could not send opens no new run.
        if record is None or view.source is None or view.message is None:
            return target
        if not _of_its_task(app, record, view):
            return Blocked("IdTaken", id_taken_by(record, view.message.task))
        if record.status is State.FAILED:
            return record.run + 1
        # Any other terminal state: the claim will treat the message as done. A record already in this run means that
        # an earlier copy was sent.
        if record.status.terminal or record.run >= target:
            return target
        return (await _close(app, services, record, view, dry_run)) or target

    return await services.flow.map(run, dead_letters, MAX_PARALLEL_CLOSES)


async def close_records(app: App, services: Services, dead_letters: Sequence[DeadLetterView]) -> None:
    """End the tasks of messages that SQS moved, if they have no lease: no message will ever bring them back.

    Raises:
        AwsError, ConfigError: the table cannot be read.
    """
    moved = [view for view in dead_letters if view.moved and view.id]
    records = await records_of(app, services, moved)

    async def close(view: DeadLetterView) -> None:
        record = records.get(view.id or "")
        if record is None or record.status.terminal or record.run > view.run:
            return
        if _of_its_task(app, record, view):
            await _close(app, services, record, view)

    await services.flow.map(close, moved, MAX_PARALLEL_CLOSES)


def _of_its_task(app: App, record: TaskRecord, view: DeadLetterView) -> bool:
    """True if the record is of the dead letter's task, and not of another task that used the id first."""
    return view.task is not None and app.registry.same_task(record.task, view.task)


async def records_of(app: App, services: Services, dead_letters: Sequence[DeadLetterView]) -> dict[str, TaskRecord]:
    """The records of dead letters, by task id. Empty if no task of the app is recorded: then a table may not exist."""
    ids = list(dict.fromkeys(view.id for view in dead_letters if view.id))
    if not ids or (len(app.registry) and all(task.options.record == "none" for task in app.registry)):
        return {}
    return await services.results.get_many(ids, now=app.clock.time())


async def _close(
    app: App, services: Services, record: TaskRecord, view: DeadLetterView, dry_run: bool = False
) -> Blocked | None:
    """End a task that has no lease. Returns None on success."""
    now = app.clock.time()
    if not is_unclaimed(record, now):
        return Blocked("Running", f"task {record.id} is running: its lease has not ended; try again after that")
    if dry_run:
        return None
    # A cancel was requested: end as CANCELLED, not FAILED.
    state, reason = (State.CANCELLED, "cancelled") if record.cancel_requested else (State.FAILED, MOVED_BY_SQS)
    end = AttemptEnd(state, now, now + _result_ttl(app, record), error=_error(record, view), reason=reason)
    try:
        closed = await services.results.close_idle(record, end)
    except AwsError as error:
        return Blocked(error.code, f"task {record.id} could not be marked FAILED: {error.message}")
    if not closed:
        return Blocked("Changed", f"task {record.id} has just changed; try again")
    if record.unique_key is not None:
        await free_unique_key(services.results, record.task, record.unique_key, record.id)
    return None


def _error(record: TaskRecord, view: DeadLetterView) -> ErrorInfo:
    if record.error is not None:
        return record.error
    point = f"after {record.attempt} attempts" if record.attempt else "before its first attempt"
    if view.moved:
        return ErrorInfo(
            "Redriven", f"SQS moved its message to the dead-letter queue {point}, because no consumer settled it"
        )
    return ErrorInfo(view.error_type or "Redriven", view.error_message or f"dead-lettered {point}: {view.reason}")


def _result_ttl(app: App, record: TaskRecord) -> float:
    task = app.registry.get(record.task)
    return MIN_RESULT_TTL + DAY if task is None else task.options.result_ttl


class Edit(NamedTuple):
    """New arguments (JSON values) or labels of a message; None leaves that part as it is."""

    args: list[Any] | None = None
    kwargs: dict[str, Any] | None = None
    labels: dict[str, str] | None = None

    async def apply(self, app: App, services: Services, message: Message) -> Message:
        """The message with the changes.

        Raises:
            ArgumentsError: the arguments do not fit the task (checked if the app has it), or a label is not text, has
                no name, or the labels are too large.
            PayloadMissing: part of the arguments is to stay, and their object is missing from the bucket.
        """
        if self.args is not None or self.kwargs is not None:
            message = await self._with_arguments(app, services, message)
        if self.labels is not None:
            for name, value in self.labels.items():
                if not isinstance(value, str):
                    raise ArgumentsError(f"label {name!r} is {value!r:.60}: labels are text, write it in quotes")
            if problem := label_problem(self.labels):
                raise ArgumentsError(problem)
            message = message._replace(labels=dict(self.labels))
        return message

    async def _with_arguments(self, app: App, services: Services, message: Message) -> Message:
        if message.payload is not None and (self.args is None or self.kwargs is None):
            message = await fetch_message(services.payloads, message)
        message = message._replace(
            args=message.args if self.args is None else self.args,
            kwargs=message.kwargs if self.kwargs is None else self.kwargs,
            payload=None,
        )
        if (task := app.registry.get(message.task)) is not None:
            task.plan.signature.decode(message.args, message.kwargs)
        return message
