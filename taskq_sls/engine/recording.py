"""How the end of an attempt becomes durable."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from ..aws.codes import DENIED_CODES, is_item_too_large
from ..core.backoff import Backoff
from ..core.clock import Clock
from ..core.context import TaskContext
from ..core.delivery import DONE, LOST, DeadLetter, Delivery, Outcome, Release
from ..core.fault_log import FaultLog
from ..core.flow import Flow
from ..core.message import ErrorInfo, Message
from ..core.states import CANCELLED, RETRYING, State
from ..errors import AwsError, ConfigError, MissingResource, PayloadTooLarge, ResultError, TaskQError
from ..middleware.logging import fields
from ..results.base import ResultBackend
from ..results.limits import oversize
from ..results.records import AttemptEnd, Claim
from .plan import CompiledTask

if TYPE_CHECKING:
    from ..metrics.meter import Meter
    from ..payloads.base import PayloadStore

logger = logging.getLogger("taskq_sls.task")

PERSIST_FOR = 15 * 60.0
"""Seconds for which storing the end of an attempt is retried, under the lease that is held meanwhile."""

T = TypeVar("T")


def _is_transient(error: Exception) -> bool:
    if isinstance(error, AwsError):
        return error.transient
    # The claim was written a moment ago: credentials that are lost since come back, and odd exceptions come from code
    # such as a `credential_process`.
    return not isinstance(error, TaskQError) or (
        isinstance(error, ConfigError) and not isinstance(error, MissingResource)
    )


def _may_pass(error: Exception) -> bool:
    # For the same reason, rights that are gone are somebody's to mend.
    return _is_transient(error) or (isinstance(error, AwsError) and error.code in DENIED_CODES)


class Attempt(NamedTuple):
    """One delivery on its way through the executor."""

    delivery: Delivery
    message: Message
    plan: CompiledTask
    context: TaskContext
    deadline: float | None
    claim: Claim


class Recorder:
    """Stores ends of attempts, over transient faults, before anybody acts on them.

    Args:
        payloads: where a result that is too large for the table goes, or None; asked when there is one.
        meter: what counts them, or None.
    """

    def __init__(
        self,
        results: ResultBackend,
        flow: Flow,
        clock: Clock,
        payloads: Callable[[], PayloadStore | None],
        meter: Meter | None = None,
    ) -> None:
        self._meter = meter
        self._results = results
        self._payloads = payloads
        self._flow = flow
        self._clock = clock
        self._faults = FaultLog(logger, "ends of attempts cannot be stored", "finish_delayed")

    def end(
        self,
        attempt: Attempt,
        state: State,
        *,
        result_json: str | None = None,
        error: ErrorInfo | None = None,
        reason: str | None = None,
        next_in: float | None = None,
    ) -> AttemptEnd:
        """The end of an attempt, now. `next_in` seconds from now a RETRYING task is due."""
        now = self._clock.time()
        next_at = None if next_in is None else now + next_in
        due = now if next_at is None else next_at
        if (not_before := attempt.message.not_before) is not None and not_before > due:
            due = not_before
        return AttemptEnd(
            state,
            now,
            due + attempt.plan.options.result_ttl,
            result_json,
            error,
            reason,
            next_at,
            attempt.context._progress,
            None,
            attempt.claim.now,
        )

    async def store(self, attempt: Attempt, end: AttemptEnd, outcome: Outcome) -> Outcome:
        """Make the end durable; only then is `outcome` the answer.

        Raises:
            ResultError: the result is too large for the table and there is no bucket that takes it, or the whole
                record is too large.
        """
        context = attempt.context
        fence = context._fence
        if fence is None and (end.state is RETRYING or attempt.plan.options.record == "none"):
            if self._meter is not None:
                self._meter.ended(context, end.now, end.state, end.reason)
            return outcome
        try:
            if oversize(end.result_json):
                end = await self._put_result(attempt, end)
            if fence is None:
                await self._insist(
                    lambda: self._results.put_finished(attempt.claim, context.attempt, end),
                    _until(attempt, end),
                    _may_pass,
                )
                state: State | None = end.state
            else:
                try:
                    state = await self._results.finish(fence, end)
                except Exception as error:
                    if not _may_pass(error):
                        raise
                    state = await self._insist(
                        lambda: self._results.finish(fence, end), _until(attempt, end), _may_pass
                    )
        except PayloadTooLarge as error:
            raise ResultError(str(error)) from None
        except ResultError:
            raise
        except Exception as error:
            if isinstance(error, AwsError) and is_item_too_large(error.code, error.message):
                raise ResultError(f"the end of attempt {context.attempt} does not fit its record: {error}") from None
            logger.error(
                "%s: the end of attempt %d could not be stored, its message stays: %s",
                context.task,
                context.attempt,
                error,
                extra=fields(context, "finish_fault"),
            )
            return LOST
        if state is None:
            logger.warning("%s: another holder took over", context.task, extra=fields(context, "lease_lost"))
            return LOST
        if self._faults.active:
            self._faults.recovered()
        if self._meter is not None:
            self._meter.ended(context, end.now, state, end.reason)
        return DONE if state is CANCELLED else outcome

    async def fail(self, attempt: Attempt, end: AttemptEnd, letter: DeadLetter) -> Outcome:
        """Make a failure durable. If the record has no room for its error, it is stored without; else it is dead-lettered
        unrecorded: in no case is the function run again.
        """
        for shorter in (end, end._replace(error=end.error and end.error._replace(message="", traceback=""))):
            try:
                return await self.store(attempt, shorter, letter)
            except ResultError as error:
                full = error
        context = attempt.context
        logger.error("%s: %s", context.task, full, extra=fields(context, "finish_fault"))
        return letter._replace(recorded=False)

    async def _put_result(self, attempt: Attempt, end: AttemptEnd) -> AttemptEnd:
        """Put the result into the bucket; the end that points to it."""
        try:
            payloads = self._payloads()
            if payloads is None:
                return end  # the backend refuses it, and says what to do
            from ..payloads.claim_check import offload_result

            pointing, (key, body) = offload_result(attempt.claim, end)
            await self._insist(lambda: payloads.put(key, body), _until(attempt, end))
        except (AwsError, ConfigError) as error:
            if isinstance(error, AwsError) and error.transient:
                raise
            # Running the function again would not mend it.
            raise ResultError(
                f"the result is too large for the table and could not be put into the bucket: {error}"
            ) from None
        return pointing

    async def give_back(self, attempt: Attempt) -> Outcome:
        """The attempt never entered its function, or was really stopped by shutdown: it does not count."""
        context = attempt.context
        logger.info("%s given back", context.task, extra=fields(context, "task_released"))
        fence = context._fence
        if fence is None:
            return Release(0)
        now = self._clock.time()
        try:
            released = await self._insist(lambda: self._results.release(fence, now=now), now + 10)
        except Exception:
            return LOST
        return Release(0) if released else LOST

    async def _insist(
        self, write: Callable[[], Awaitable[T]], until: float, may_pass: Callable[[Exception], bool] = _is_transient
    ) -> T:
        """Repeat a write over faults that may pass until `until`: the function is never run again for it."""
        backoff = Backoff(0.1, 30.0)
        while True:
            try:
                return await write()
            except Exception as error:
                delay = backoff.next()
                if not may_pass(error) or self._clock.time() + delay > until:
                    raise
                self._faults.failed(error)
            await self._flow.sleep(delay)


def _until(attempt: Attempt, end: AttemptEnd) -> float:
    return end.now + PERSIST_FOR if attempt.deadline is None else attempt.deadline
