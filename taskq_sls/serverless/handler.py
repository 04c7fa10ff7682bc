"""The Lambda driver: an SQS event in, the exact list of failed records out."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

from ..brokers.normalise import delivery_from_lambda_record
from ..delivery import LOST, DeadLetter, Delivery, Done, Outcome, Release, RetryIn
from ..errors import ConfigError
from ..executor import Executor
from ..groups import chains, settles
from ..message import decode
from ..services import Services
from ..settle import bury, hidden_for, hide

if TYPE_CHECKING:
    from ..app import TaskQ

logger = logging.getLogger("taskq_sls.serverless")

LONGEST_MARGIN = 5.0
MARGIN_SHARE = 0.2
"""The deadline margin: 20 % of the function's timeout, at most 5 seconds."""

UNTIMED_NEED = 1.0
"""Seconds that must remain before the margin to start a record whose task has no timeout."""


class LambdaHandler:
    """What Lambda calls: ``handler = app.lambda_handler()``.

    Records run concurrently, those of a FIFO group in order. One event loop and one set of clients live as long
    as the container.

    Args:
        concurrency: most records at once, 1 to 10,000. Default: the whole batch.
        margin: seconds before the function's deadline at which work must have ended. Default: 20 % of the
            function's timeout, at most 5.

    Raises:
        ConfigError: a value is out of range.
    """

    def __init__(self, app: TaskQ, *, concurrency: int | None = None, margin: float | None = None) -> None:
        if concurrency is not None and (isinstance(concurrency, bool) or not 1 <= concurrency <= 10_000):
            raise ConfigError(f"lambda_handler(concurrency={concurrency!r}): give 1 to 10000, or None for the batch")
        if margin is not None and not 0 <= margin <= 900:
            raise ConfigError(f"lambda_handler(margin={margin!r}): give 0 to 900 seconds, or None")
        self._app = app
        self._concurrency = concurrency
        self._margin = margin
        self._loop: asyncio.AbstractEventLoop | None = None
        self._services: Services | None = None
        self._executor: Executor | None = None
        self._exits = AsyncExitStack()
        self._queues: dict[str, str] = {}

    def __call__(self, event: dict[str, Any], context: Any = None) -> dict[str, Any]:
        """Run the records of an SQS event.

        Returns:
            ``{"batchItemFailures": [{"itemIdentifier": id}, ...]}``: every record that must stay in the queue.

        Raises:
            ConfigError: the event is not one from SQS.
        """
        records = event.get("Records") if isinstance(event, dict) else None
        if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
            raise ConfigError(f"this handler takes SQS events; it got {str(event)[:200]!r} without a list of Records")
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
        return self._loop.run_until_complete(self._handle(records, context))

    def close(self) -> None:
        """Leave the lifespan and close the loop. Lambda never does; tests may."""
        if self._loop is None:
            return
        self._loop.run_until_complete(self._exits.aclose())
        if self._services is not None:
            self._loop.run_until_complete(self._services.close())
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()
        self._loop = self._services = self._executor = None

    async def _handle(self, records: Sequence[dict[str, Any]], context: Any) -> dict[str, Any]:
        executor = self._executor or await self._start()
        deliveries = [delivery_from_lambda_record(record, self._queue_of(record)) for record in records]
        batch = _Batch(self._app, executor, _deadline(context, self._app), self._margin, self._concurrency)
        outcomes = await batch.run(deliveries)
        failed = await self._carry_out(deliveries, outcomes)
        return {"batchItemFailures": [{"itemIdentifier": id} for id in failed]}

    async def _start(self) -> Executor:
        self._services = self._app.services.new_async(light=True)
        state = None
        if self._app.lifespan is not None:
            state = await self._exits.enter_async_context(self._app.lifespan(self._app))
        self._executor = self._app.executor(self._services, state)
        return self._executor

    async def _carry_out(self, deliveries: Sequence[Delivery], outcomes: Sequence[Outcome]) -> list[str]:
        """Visibility and dead-letter copies; answers the ids of the records that stay."""
        assert self._services is not None
        broker = self._services.broker
        stay: list[str] = []
        hides: list[tuple[Delivery, int]] = []
        letters: list[tuple[Delivery, DeadLetter]] = []
        for delivery, outcome in zip(deliveries, outcomes, strict=True):
            if isinstance(outcome, Done):
                continue
            if isinstance(outcome, DeadLetter):
                letters.append((delivery, outcome))
                continue
            stay.append(delivery.message_id)
            if isinstance(outcome, RetryIn | Release):
                hides.append((delivery, hidden_for(outcome)))
        try:
            if letters:
                buried = await bury(broker, letters)
                stay += [delivery.message_id for (delivery, _), done in zip(letters, buried, strict=True) if not done]
        except Exception:
            logger.exception("dead-letter copies failed", extra={"action": "dead_letter_fault"})
            stay += [delivery.message_id for delivery, _ in letters]
        try:
            if hides:
                await hide(broker, hides)
        except Exception:
            logger.exception("visibility changes failed", extra={"action": "hide_fault"})
        return stay

    def _queue_of(self, record: dict[str, Any]) -> str:
        """The logical queue of a record, by its ARN; the physical name where the app declares none like it."""
        arn = str(record.get("eventSourceARN", ""))
        if arn not in self._queues:
            name = arn.rpartition(":")[2]
            settings = self._app.settings
            self._queues[arn] = next(
                (
                    queue
                    for queue in self._app.queues
                    if name == settings.queue_name(queue)
                    or settings.queue_urls.get(queue, "").rpartition("/")[2] == name
                ),
                name,
            )
        return self._queues[arn]


class _Batch:
    """The records of one invocation."""

    def __init__(
        self, app: TaskQ, executor: Executor, deadline: float | None, margin: float | None, concurrency: int | None
    ) -> None:
        self._app = app
        self._executor = executor
        self._deadline = deadline
        self._margin = margin
        self._gate = asyncio.Semaphore(concurrency) if concurrency is not None else None
        self._first = True
        self._end: float | None = None
        self._outcomes: dict[str, Outcome] = {}

    async def run(self, deliveries: Sequence[Delivery]) -> list[Outcome]:
        now = self._app.clock.time()
        if self._deadline is not None:
            margin = self._margin
            if margin is None:
                margin = min(LONGEST_MARGIN, MARGIN_SHARE * (self._deadline - now))
            self._end = self._deadline - margin
        timer = None
        loop = asyncio.get_running_loop()
        if self._end is not None:
            timer = loop.call_later(max(0.0, self._end - now), self._stop_all)
        try:
            chained = chains(deliveries, lambda queue: queue.endswith(".fifo"))
            await asyncio.gather(*(self._chain(chain) for chain in chained))
        finally:
            if timer is not None:
                timer.cancel()
        return [self._outcomes.get(delivery.receipt, LOST) for delivery in deliveries]

    async def _chain(self, chain: Sequence[Delivery]) -> None:
        blocked = False
        for delivery in chain:
            if blocked:
                self._outcomes[delivery.receipt] = Release(0)
                continue
            outcome = await self._one(delivery)
            blocked = not settles(outcome)
            self._outcomes[delivery.receipt] = outcome

    async def _one(self, delivery: Delivery) -> Outcome:
        if self._gate is None:
            return await self._guarded(delivery)
        async with self._gate:
            return await self._guarded(delivery)

    async def _guarded(self, delivery: Delivery) -> Outcome:
        if not self._may_start(delivery):
            return Release(0)
        try:
            return await self._executor.process(delivery, self._deadline)
        except Exception:
            logger.exception("message %s was not processed", delivery.message_id, extra={"action": "process_fault"})
            return LOST

    def _may_start(self, delivery: Delivery) -> bool:
        """The first record is always started; later ones when what remains covers their timeout."""
        if self._first or self._end is None:
            self._first = False
            return True
        need = UNTIMED_NEED
        try:
            task = self._app.registry.get(decode(delivery.body).task)
            if task is not None and task.options.timeout is not None:
                need = task.options.timeout
        except Exception:
            pass  # what cannot be decoded needs no time; the executor says what becomes of it
        return self._end - self._app.clock.time() >= need

    def _stop_all(self) -> None:
        for context in list(self._executor.running.values()):
            self._executor.stop(context, "deadline")


def _deadline(context: Any, app: TaskQ) -> float | None:
    remaining = getattr(context, "get_remaining_time_in_millis", None)
    return None if remaining is None else app.clock.time() + remaining() / 1000
