"""Runs the function of an attempt, and decides how the attempt ends."""

from __future__ import annotations

import asyncio
from typing import cast

from ..core import forks
from ..core.context import _current, uncancel
from ..core.delivery import DONE, DeadLetter, Outcome
from ..core.error_info import error_info
from ..core.states import FAILED, RETRYING, SUCCEEDED, State
from ..errors import ArgumentsError, AttemptStopped, ResultError, TaskTimeout
from ..results.records import AttemptEnd
from .attempt import Attempt, Engine
from .recording import new_end

Ending = tuple[AttemptEnd, Outcome]

_STOPPED: dict[str | None, BaseException] = {
    "shutdown": AttemptStopped("the attempt was stopped because its worker shut down"),
    "deadline": TaskTimeout("the attempt was stopped by the deadline of its Lambda function"),
}
"""The error of a stopped attempt, by the reason of the stop."""


async def run(engine: Engine, attempt: Attempt, loop: asyncio.AbstractEventLoop) -> Ending | None:
    """Run the function inside its hooks.

    Args:
        loop: the running one.

    Returns:
        The end, to be stored, and the outcome that then follows. None if the attempt does not count: its lease was lost,
        or the worker's shutdown stopped it.
    """
    engine.observers.notify("attempt_started", attempt)
    execution = attempt.execution
    execution.asyncio_task = task = cast("asyncio.Task[object]", asyncio.current_task(loop))
    token = _current.set(attempt.context)
    result: object = None
    error: BaseException | None = None
    try:
        result = await attempt.compiled.onion(attempt.context)
    except BaseException as raised:  # even SystemExit is only the end of an attempt
        if isinstance(raised, asyncio.CancelledError) and execution.stop_reason is None and task.cancelling():
            raise
        error = raised
    finally:
        execution.asyncio_task = None
        _current.reset(token)
        # Our own stop has done its work; the code below must be able to wait.
        if execution.stop_reason is not None:
            uncancel(task)
    if forks.generation != engine.process:  # the function forked; the child's event loop shares the selector with ours
        forks.end_fork(error)
    # From here on no stop can interrupt: the end must become durable.
    if error is None:
        try:
            result_json = attempt.compiled.signature.encode_result(result)
            return new_end(engine, attempt, SUCCEEDED, result_json=result_json), DONE
        except (ArgumentsError, ResultError) as refused:
            error = ResultError(str(refused))
    ending = _failure(engine, attempt, error)
    if ending is not None:
        engine.observers.notify("attempt_failing", attempt, ending[0])
    return ending


def _failure(engine: Engine, attempt: Attempt, error: BaseException) -> Ending | None:
    """The end of an attempt whose function raised, or was stopped."""
    retry = attempt.compiled.options.retry
    stop_reason = attempt.execution.stop_reason
    if stop_reason == "lease_lost":
        return None
    if isinstance(error, asyncio.CancelledError):
        if stop_reason == "cancelled":
            return new_end(engine, attempt, State.CANCELLED, reason="cancelled"), DONE
        # At most once: a function that was entered is not started again.
        if stop_reason == "shutdown" and retry.max_attempts > 1:
            return None
        error = _STOPPED.get(stop_reason, error)
    return _retry_or_fail(engine, attempt, error)


def _retry_or_fail(engine: Engine, attempt: Attempt, error: BaseException) -> Ending:
    retry = attempt.compiled.options.retry
    info, mask = error_info(error), attempt.execution.mask
    if mask is not None:
        info = info._replace(message=mask(info.message), traceback=mask(info.traceback))
    number, delivery = attempt.context.attempt, attempt.delivery
    reason = "result" if isinstance(error, ResultError) else retry.refuses(number, error)
    delay = retry.delay(number, error)
    if reason is None and engine.exceeds_retention(delivery, delay):
        reason = "retention"
    if reason is None:
        again = engine.retry_in(delivery, attempt.message, number, delay, "failed")
        if again.later is not None or not engine.is_last_receive(delivery):
            return new_end(engine, attempt, RETRYING, error=info, next_in=delay), again
        reason = "receives"  # SQS would move the message, and its record would wait for ever
    letter = DeadLetter(reason, info, number, recorded=attempt.compiled.options.record != "none")
    return new_end(engine, attempt, FAILED, error=info, reason=reason), letter
