"""Carries out the outcomes of an invocation before it must answer."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

from ..brokers.settling import change_visibility, hide_faults, send_to_dlq, visibility_seconds
from ..client.services import Services
from ..core.clock import Clock
from ..core.delivery import DeadLetter, Delivery, Done, Outcome, Release, RetryIn

logger = logging.getLogger("taskq_sls.serverless")

ANSWER_SECONDS = 0.2
"""Time before the function's deadline at which it answers, even if calls are under way. After a kill, the whole batch
would be redelivered."""

T = TypeVar("T")
U = TypeVar("U")


class RecordSettler:
    """Changes visibilities, sends dead-letter copies and makes schedules. Lambda itself deletes the done messages."""

    def __init__(self, services: Services, clock: Clock) -> None:
        self._services = services
        self._clock = clock
        self._change_faults = hide_faults()

    async def settle(
        self, deliveries: Sequence[Delivery], outcomes: Sequence[Outcome], deadline: float | None
    ) -> list[str]:
        """Carry out outcomes. Returns the ids of the messages that stay in the queue.

        Args:
            deadline: epoch seconds at which Lambda kills the process, or None.
        """
        stay: list[tuple[Delivery, Outcome]] = []
        letters: list[tuple[Delivery, DeadLetter]] = []
        later: list[tuple[Delivery, RetryIn]] = []
        for delivery, outcome in zip(deliveries, outcomes, strict=True):
            if isinstance(outcome, DeadLetter):
                letters.append((delivery, outcome))
            elif isinstance(outcome, RetryIn) and outcome.later is not None:
                later.append((delivery, outcome))
            elif not isinstance(outcome, Done):
                stay.append((delivery, outcome))
        if letters:
            stay += await self._not_done(letters, send_to_dlq(self._services.broker, letters), deadline)
        if later:
            from ..scheduler.delays import reschedule  # few tasks wait that long

            stay += await self._not_done(later, reschedule(self._services.schedules, later), deadline)
        await self._change_visibility(stay, deadline)
        return list(dict.fromkeys(delivery.message_id for delivery, _ in stay))

    async def _change_visibility(self, stay: Sequence[tuple[Delivery, Outcome]], deadline: float | None) -> None:
        changes = [
            (delivery, visibility_seconds(outcome))
            for delivery, outcome in stay
            if isinstance(outcome, RetryIn | Release)
        ]
        if changes:
            await self._in_time(deadline, change_visibility(self._services.broker, changes, self._change_faults), None)

    async def _not_done(
        self,
        entries: Sequence[tuple[Delivery, T]],
        calls: Coroutine[Any, Any, Sequence[bool]],
        deadline: float | None,
    ) -> list[tuple[Delivery, T]]:
        """Make the calls. Returns the entries for which they failed, or came too late."""
        done = await self._in_time(deadline, calls, [False] * len(entries))
        return [entry for entry, succeeded in zip(entries, done, strict=True) if not succeeded]

    async def _in_time(self, deadline: float | None, calls: Coroutine[Any, Any, U], otherwise: U) -> U:
        """The answers of the calls, or `otherwise` if they come too late for the answer of the function."""
        left = None if deadline is None else max(0.0, deadline - ANSWER_SECONDS - self._clock.time())
        try:
            async with asyncio.timeout(left):
                return await calls
        except TimeoutError:
            logger.error(
                "the deadline came before all messages were settled: the rest is redelivered",
                extra={"action": "settle_fault"},
            )
            return otherwise
