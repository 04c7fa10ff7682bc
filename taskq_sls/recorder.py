"""How the end of an attempt becomes durable."""

from __future__ import annotations

import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from .clock import Clock
from .context import TaskContext
from .delivery import DONE, LOST, Delivery, Outcome, Release
from .errors import AwsError, ConfigError, PayloadTooLarge, ResultError
from .flow import Flow
from .message import ErrorInfo, Message
from .middleware.logging import fields
from .plan import Plan
from .results.base import ResultBackend
from .results.records import Claim, Finish, State

logger = logging.getLogger("taskq_sls.task")

PERSIST_FOR = 15 * 60.0
"""Seconds for which storing the end of an attempt is retried, under the lease that is held meanwhile."""

T = TypeVar("T")


@dataclass(slots=True)
class Attempt:
    """One delivery on its way through the executor."""

    delivery: Delivery
    message: Message
    plan: Plan
    context: TaskContext
    deadline: float | None
    claim: Claim


class Recorder:
    """Stores ends of attempts, over transient faults, before anybody acts on them."""

    def __init__(self, results: ResultBackend, flow: Flow, clock: Clock) -> None:
        self._results = results
        self._flow = flow
        self._clock = clock

    def end(
        self,
        attempt: Attempt,
        state: State,
        *,
        result_json: str | None = None,
        error: ErrorInfo | None = None,
        reason: str | None = None,
        next_in: float | None = None,
    ) -> Finish:
        """The end of an attempt, now. `next_in` seconds from now a RETRYING task is due."""
        now = self._clock.time()
        return Finish(
            state,
            now,
            max(now, attempt.message.not_before or 0.0) + attempt.plan.options.result_ttl,
            result_json,
            error,
            reason,
            None if next_in is None else now + next_in,
            attempt.context._progress,
        )

    async def store(self, attempt: Attempt, end: Finish, outcome: Outcome) -> Outcome:
        """Make the end durable; only then is `outcome` the answer.

        Raises:
            ResultError: the result is too large for the table.
        """
        context = attempt.context
        if attempt.plan.options.record == "none" or (context._fence is None and end.state is State.RETRYING):
            return outcome
        try:
            state = await self._persist(attempt, end)
        except PayloadTooLarge as error:
            raise ResultError(str(error)) from None
        except (AwsError, ConfigError) as error:
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
        return DONE if state is State.CANCELLED else outcome

    async def _persist(self, attempt: Attempt, end: Finish) -> State | None:
        fence = attempt.context._fence
        until = end.now + PERSIST_FOR if attempt.deadline is None else attempt.deadline
        if fence is not None:
            try:
                return await self._results.finish(fence, end)
            except AwsError as error:
                if not error.transient:
                    raise
            return await self._insist(lambda: self._results.finish(fence, end), until)
        await self._insist(lambda: self._results.put_finished(attempt.claim, attempt.context.attempt, end), until)
        return end.state

    async def give_back(self, attempt: Attempt) -> Outcome:
        """The attempt never entered its function, or was really stopped by shutdown: it does not count."""
        context = attempt.context
        logger.info("%s given back at shutdown", context.task, extra=fields(context, "task_released"))
        fence = context._fence
        if fence is None:
            return Release(0)
        now = self._clock.time()
        try:
            released = await self._insist(lambda: self._results.release(fence, now=now), now + 10)
        except (AwsError, ConfigError):
            return LOST
        return Release(0) if released else LOST

    async def _insist(self, write: Callable[[], Awaitable[T]], until: float) -> T:
        """Repeat a write over transient faults until `until`: the function is never run again for it."""
        delay = 0.1
        while True:
            try:
                return await write()
            except AwsError as error:
                if not error.transient or self._clock.time() + delay > until:
                    raise
            await self._flow.sleep(delay * random.uniform(0.5, 1.5))
            delay = min(delay * 2, 30.0)
