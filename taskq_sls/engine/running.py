"""The function of a task and how it ended."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..core.clock import Clock
from ..core.context import _current
from ..core.delivery import DONE, LOST, DeadLetter, Outcome
from ..core.forks import end_fork
from ..core.message import Message
from ..core.redaction import mask_values, secret_values
from ..core.states import SUCCEEDED, State
from ..errors import ArgumentsError, AttemptStopped, ResultError, TaskTimeout
from ..middleware.logging import fields
from .attempt import error_info
from .recording import Attempt, Recorder
from .retention import Waits

if TYPE_CHECKING:
    from ..metrics.meter import Meter
    from ..serialization.signature import Signature

logger = logging.getLogger("taskq_sls.task")


class Execution:
    """Runs functions inside their hooks, and has stored how they ended.

    Args:
        meter: what counts the attempts, or None.
    """

    def __init__(self, recorder: Recorder, waits: Waits, clock: Clock, meter: Meter | None) -> None:
        self._recorder = recorder
        self._waits = waits
        self._clock = clock
        self._meter = meter

    async def run(self, attempt: Attempt, now: float, loop: asyncio.AbstractEventLoop) -> Outcome:
        """Run the function inside its hooks, and store how it ended.

        Args:
            now: epoch seconds.
            loop: the one that runs here.
        """
        context = attempt.context
        if self._meter is not None:
            # A repeated attempt, or one of a dead letter, did not wait since the enqueue.
            first = context.attempt == 1 and context.run == 0
            self._meter.started(
                context,
                now,
                (attempt.message.not_before or attempt.claim.enqueued_at) if first else None,
            )
        context._task = task = asyncio.current_task(loop)
        token = _current.set(context)
        result: object = None
        error: BaseException | None = None
        process = os.getpid()
        try:
            result = await attempt.plan.onion(context)
        except BaseException as raised:  # even SystemExit is only the end of an attempt
            if isinstance(raised, asyncio.CancelledError) and context._stop is None and task and task.cancelling():
                raise
            error = raised
        finally:
            context._task = None
            _current.reset(token)
            if context._stop is not None and task is not None:
                # Our own stop has done its work; what follows must be able to wait.
                while task.cancelling():
                    task.uncancel()
        if os.getpid() != process:  # its event loop shares the selector with ours
            end_fork(error)
        # From here on no stop can interrupt: the end must become durable.
        if error is None:
            try:
                result_json = attempt.plan.signature.encode_result(result)
                end = self._recorder.end(attempt, SUCCEEDED, result_json=result_json)
                return await self._recorder.store(attempt, end, DONE)
            except ArgumentsError as refused:
                error = ResultError(str(refused))
            except ResultError as refused:
                error = refused
        return await self._failed(attempt, error)

    async def _failed(self, attempt: Attempt, error: BaseException) -> Outcome:
        context = attempt.context
        stop = context._stop
        if stop == "lease_lost":
            return LOST
        if isinstance(error, asyncio.CancelledError):
            if stop == "shutdown":
                if attempt.plan.options.retry.max_attempts > 1:
                    return await self._recorder.give_back(attempt)
                # At most once: what has entered its function is not started again.
                error = AttemptStopped("the attempt was stopped because its worker shut down")
            elif stop == "cancelled":
                logger.info("%s cancelled", context.task, extra=fields(context, "task_cancelled"))
                return await self._recorder.store(
                    attempt, self._recorder.end(attempt, State.CANCELLED, reason="cancelled"), DONE
                )
            if stop == "deadline":
                error = TaskTimeout("the attempt was stopped by the deadline of its Lambda function")
        info = error_info(error)
        if (hide := context._hide) is not None:
            info = info._replace(message=hide(info.message), traceback=hide(info.traceback))
        retry = attempt.plan.options.retry
        reason = "result" if isinstance(error, ResultError) else retry.refuses(context.attempt, error)
        delay = retry.delay(context.attempt, error)
        if reason is None and self._waits.outlasts(attempt.delivery, delay):
            reason = "retention"
        again = (
            None if reason else self._waits.back_in(attempt.delivery, attempt.message, context.attempt, delay, "failed")
        )
        if again is not None and again.later is None and self._waits.is_last_receive(attempt.delivery):
            again, reason = None, "receives"  # SQS would move the message, and its record would wait for ever
        if again is not None:
            logger.warning(
                "%s failed (attempt %d of %d), again in %.1f s: %s: %s",
                context.task,
                context.attempt,
                retry.max_attempts,
                delay,
                info.type,
                info.message,
                extra={**fields(context, "task_retrying"), "delay": round(delay, 3)},
            )
            end = self._recorder.end(attempt, State.RETRYING, error=info, next_in=delay)
            try:
                return await self._recorder.store(attempt, end, again)
            except ResultError as refused:  # the record is full: no attempt of the task could be stored
                reason, info = "result", error_info(refused)
        assert reason is not None
        logger.error(
            "%s failed for good (%s, attempt %d): %s: %s",
            context.task,
            reason,
            context.attempt,
            info.type,
            info.message,
            extra={**fields(context, "task_failed"), "reason": reason, "traceback": info.traceback},
        )
        end = self._recorder.end(attempt, State.FAILED, error=info, reason=reason)
        recorded = attempt.plan.options.record != "none"
        return await self._recorder.fail(attempt, end, DeadLetter(reason, info, context.attempt, recorded))


def hiding(signature: Signature, message: Message) -> Callable[[str], str]:
    """Takes the values of arguments and labels that are hidden by name out of a text, such as that of an exception."""
    args = [{name: value} for name, value in zip(signature.positions(len(message.args)), message.args, strict=False)]
    values = set(secret_values([args, message.kwargs, message.labels], signature.redact))
    return lambda text: mask_values(text, values)
