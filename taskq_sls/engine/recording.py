"""Makes the end of an attempt durable, before anybody acts on it."""

from __future__ import annotations

import functools
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from ..aws.port import DENIED_CODES, is_item_too_large
from ..core.backoff import Backoff
from ..core.delivery import DONE, LOST, DeadLetter, Outcome, Release
from ..core.error_info import error_info
from ..core.message import ErrorInfo
from ..core.states import CANCELLED, FAILED, RETRYING, State
from ..errors import AwsError, ConfigError, MissingResource, PayloadTooLarge, ResultError, TaskQError
from ..middleware.logging import fields
from ..results.layout import oversize
from ..results.records import AttemptEnd
from .attempt import Attempt, Engine

logger = logging.getLogger("taskq_sls.task")

STORE_SECONDS = 15 * 60.0
"""How long storing the end of an attempt is tried again, under the lease that is held meanwhile."""

RELEASE_SECONDS = 10.0
"""The same for returning an attempt that has not run."""

FIRST_BACKOFF_SECONDS, MAX_BACKOFF_SECONDS = 0.1, 30.0
"""Between two tries, doubling."""

T = TypeVar("T")


def new_end(
    engine: Engine,
    attempt: Attempt,
    state: State,
    *,
    result_json: str | None = None,
    error: ErrorInfo | None = None,
    reason: str | None = None,
    next_in: float | None = None,
) -> AttemptEnd:
    """The end of an attempt, now. A RETRYING task is due `next_in` seconds from now."""
    now = engine.clock.time()
    next_at = None if next_in is None else now + next_in
    due = next_at or now
    if (not_before := attempt.message.not_before) is not None and not_before > due:
        due = not_before
    # Positional, since keywords cost a microsecond per attempt.
    return AttemptEnd(
        state,
        now,
        due + attempt.compiled.options.result_ttl,
        result_json,
        error,
        reason,
        next_at,
        attempt.execution.progress,
        None,
        attempt.claim.now,
    )


async def record(engine: Engine, attempt: Attempt, end: AttemptEnd, outcome: Outcome) -> Outcome:
    """Store the end, over transient faults, and only then return the outcome of the message.

    LOST if the end could not be stored: the message stays. The function is never run again for that.
    """
    if attempt.fence is not None or (end.state is not RETRYING and attempt.compiled.options.record != "none"):
        try:
            if oversize(end.result_json):
                end = await _offload_result(engine, attempt, end)
            write = _write(engine, attempt, end)
            try:
                state = await write()
            except Exception as error:
                state = await _retry_until(engine, write, _give_up_at(attempt, end), _may_pass, error)
        except Exception as error:
            return await _not_stored(engine, attempt, end, outcome, error)
        if state is None:
            engine.observers.notify("attempt_dropped", attempt, "lease_lost")
            return LOST
        if state is not end.state:
            end = end._replace(state=state)
        engine.record_faults.recovered()
    engine.observers.notify("attempt_ended", attempt, end)
    return DONE if end.state is CANCELLED else outcome


def _write(engine: Engine, attempt: Attempt, end: AttemptEnd) -> Callable[[], Awaitable[State | None]]:
    """A function that stores the end. It returns the state that the record has then; None if the lease is lost."""
    if attempt.fence is not None:
        return functools.partial(engine.results.finish, attempt.fence, end)

    async def put() -> State:
        await engine.results.put_finished(attempt.claim, attempt.context.attempt, end)
        return end.state

    return put


async def _not_stored(engine: Engine, attempt: Attempt, end: AttemptEnd, outcome: Outcome, error: Exception) -> Outcome:
    """The outcome after a fault that did not pass. An end that is too large is recorded in another form."""
    number = attempt.context.attempt
    if isinstance(error, PayloadTooLarge | ResultError):
        return await _record_too_large(engine, attempt, end, outcome, ResultError(str(error)))
    if isinstance(error, AwsError) and is_item_too_large(error.code, error.message):
        refusal = ResultError(f"the end of attempt {number} does not fit its record: {error}")
        return await _record_too_large(engine, attempt, end, outcome, refusal)
    text = "%s: the end of attempt %d could not be stored, its message stays: %s"
    logger.error(text, attempt.context.task, number, error, extra=fields(attempt.context, "finish_fault"))
    return LOST


async def _record_too_large(
    engine: Engine, attempt: Attempt, end: AttemptEnd, outcome: Outcome, error: ResultError
) -> Outcome:
    """Record an end that does not fit as a failure, or a failure without its error, or dead-letter it unrecorded."""
    if end.state is not FAILED:
        info = error_info(error)
        recorded = attempt.compiled.options.record != "none"
        end = new_end(engine, attempt, FAILED, error=info, reason="result")
        engine.observers.notify("attempt_failing", attempt, end)
        letter = DeadLetter("result", info, attempt.context.attempt, recorded)
        return await record(engine, attempt, end, letter)
    assert isinstance(outcome, DeadLetter)
    if end.error is not None and (end.error.message or end.error.traceback):
        shorter = end._replace(error=end.error._replace(message="", traceback=""))
        return await record(engine, attempt, shorter, outcome)
    logger.error("%s: %s", attempt.context.task, error, extra=fields(attempt.context, "finish_fault"))
    return outcome._replace(recorded=False)


async def release(engine: Engine, attempt: Attempt) -> Outcome:
    """Return an attempt to the queue that never entered its function, or was really stopped: it does not count."""
    if attempt.execution.stop_reason == "lease_lost":
        engine.observers.notify("attempt_dropped", attempt, "lease_lost")
        return LOST
    engine.observers.notify("attempt_dropped", attempt, "released")
    fence = attempt.fence
    if fence is None:
        return Release(0)
    now = engine.clock.time()
    try:
        released = await _retry_until(engine, lambda: engine.results.release(fence, now=now), now + RELEASE_SECONDS)
    except Exception:
        return LOST
    return Release(0) if released else LOST


async def _offload_result(engine: Engine, attempt: Attempt, end: AttemptEnd) -> AttemptEnd:
    """Put the result into the bucket, and return the end that points to it."""
    try:
        payloads = engine.payloads()
        if payloads is None:
            return end  # the backend refuses it, and names the fix
        from ..payloads.claim_check import offload_result  # few results are that large

        pointing, (key, body) = offload_result(attempt.claim, end)
        await _retry_until(engine, lambda: payloads.put(key, body), _give_up_at(attempt, end))
    except (AwsError, ConfigError) as error:
        if isinstance(error, AwsError) and error.transient:
            raise
        # Running the function again would not help.
        raise ResultError(
            f"the result is too large for the table and could not be put into the bucket: {error}"
        ) from None
    return pointing


def _give_up_at(attempt: Attempt, end: AttemptEnd) -> float:
    return end.now + STORE_SECONDS if attempt.deadline is None else attempt.deadline


def _is_transient(error: Exception) -> bool:
    if isinstance(error, AwsError):
        return error.transient
    # The claim was written a moment ago: credentials that are lost since come back, and other exceptions come from
    # code such as a `credential_process`.
    return not isinstance(error, TaskQError) or (
        isinstance(error, ConfigError) and not isinstance(error, MissingResource)
    )


def _may_pass(error: Exception) -> bool:
    # For the same reason, missing rights will be granted again.
    return _is_transient(error) or (isinstance(error, AwsError) and error.code in DENIED_CODES)


async def _retry_until(
    engine: Engine,
    write: Callable[[], Awaitable[T]],
    until: float,
    may_pass: Callable[[Exception], bool] = _is_transient,
    error: Exception | None = None,
) -> T:
    """Repeat a write over faults that may pass, up to `until` (epoch seconds).

    Args:
        error: the fault of the first try; None if this is to make it.
    """
    backoff = Backoff(FIRST_BACKOFF_SECONDS, MAX_BACKOFF_SECONDS)
    while True:
        if error is not None:
            delay = backoff.next()
            if not may_pass(error) or engine.clock.time() + delay > until:
                raise error
            engine.record_faults.failed(error)
            await engine.flow.sleep(delay)
        try:
            return await write()
        except Exception as fault:
            error = fault
