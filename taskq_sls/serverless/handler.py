"""The Lambda driver: an SQS event in, the exact list of failed records out."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Self

from ..aws.port import CALL_THREADS
from ..brokers.received import delivery_from_lambda_record
from ..client.services import Services
from ..core.delivery import Delivery
from ..core.forced_end import end_process
from ..core.number_checks import is_number, is_whole
from ..core.redaction import outline
from ..engine.executor import Executor
from ..errors import ConfigError, TaskQError
from .batch import Batch
from .loop import IdleSelector, new_event_loop, run_to_end
from .settling import Settling

if TYPE_CHECKING:
    from ..client.app import App
    from ..metrics.meter import Meter

logger = logging.getLogger("taskq_sls.serverless")

COUNTERS_PATIENCE = 1.0
"""Seconds that an invocation waits at most for its counters to be written; that happens once a minute."""

COUNTERS_NEED = 2.0
"""Seconds that must remain before the function's deadline to begin with it."""

STUCK_PATIENCE = 0.2
"""Seconds that attempts of an earlier invocation, which ignored its deadline, get to show that they have ended."""


class LambdaHandler:
    """What Lambda calls: ``handler = app.lambda_handler()``.

    Records run concurrently, those of a FIFO group in order. One event loop and one set of clients live as long
    as the container.

    Args:
        concurrency: most records at once, 1 to 10,000. Default: 16, the AWS calls that can be under way at once.
            More is for async tasks that wait for other services most of the time.
        margin: seconds before the function's deadline at which work must have ended. Default: 20 % of the
            function's timeout, at most 5.

    Raises:
        ConfigError: a value is out of range.
    """

    def __init__(self, app: App, *, concurrency: int | None = None, margin: float | None = None) -> None:
        if concurrency is not None and not is_whole(concurrency, 1, 10_000):
            raise ConfigError(
                f"lambda_handler(concurrency={concurrency!r}): give 1 to 10000, or None for {CALL_THREADS}"
            )
        if margin is not None and not is_number(margin, 0, 900):
            raise ConfigError(f"lambda_handler(margin={margin!r}): give 0 to 900 seconds, or None")
        self._app = app
        self._concurrency = CALL_THREADS if concurrency is None else concurrency
        self._margin = margin
        self._loop: asyncio.AbstractEventLoop | None = None
        self._selector: IdleSelector | None = None
        self._services: Services | None = None
        self._executor: Executor | None = None
        self._exits = AsyncExitStack()
        self._stuck: set[asyncio.Task[None]] = set()
        self._settling: Settling | None = None
        self._queues: dict[str, str] = {}
        if "AWS_LAMBDA_FUNCTION_NAME" in os.environ:
            self.warm_up()

    def warm_up(self) -> None:
        """Make what the first invocation needs. In Lambda it happens by itself, at import: start-up has more CPU.

        What goes wrong here is left to the first invocation, which says so in its answer and log.
        """
        if self._services is not None:
            return
        records = any(task.options.record != "none" for task in self._app.registry)
        try:
            self._services = self._app.services.new_async(threads=True, prepare=records)
            if records:
                _ = self._services.results  # its modules too are loaded now, not by the first invocation
                self._app.meter(self._services)
        except TaskQError as error:
            logger.warning("the clients could not be made at start-up: %s", error, extra={"action": "warm_up_fault"})

    def __call__(self, event: dict[str, Any], context: Any = None) -> dict[str, Any]:
        """Run the records of an SQS event.

        Returns:
            ``{"batchItemFailures": [{"itemIdentifier": id}, ...]}``: every record that must stay in the queue.

        Raises:
            ConfigError: the event is not one from SQS.
        """
        records = _records(event)
        if self._loop is None:
            self._loop, self._selector = new_event_loop()
        return run_to_end(self._loop, self._handle(records, context))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Leave the lifespan and close the loop. Lambda never does; a test does: ``with app.lambda_handler() as handler``."""
        if self._loop is None:
            return
        self._loop.run_until_complete(self._leave())
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()
        self._loop = self._services = self._executor = None

    async def _leave(self) -> None:
        if self._stuck and self._executor is not None:
            for attempt in list(self._executor.running.values()):
                self._executor.stop(attempt, "lease_lost")
        for task in self._stuck:
            task.cancel()
        self._app.threads.abandon()
        if self._app.children is not None:
            self._app.children.kill()
        await asyncio.gather(*self._stuck, return_exceptions=True)
        self._stuck = set()
        await self._exits.aclose()
        if self._services is not None:
            await self._services.close()
        self._app.threads.close()
        if self._app.children is not None:
            self._app.children.close()

    async def _handle(self, records: Sequence[dict[str, Any]], context: Any) -> dict[str, Any]:
        if self._stuck:
            await self._end_if_stuck()
        executor = self._executor or await self._start()
        deliveries = [self._delivery(record) for record in records]
        deadline = _deadline(context, self._app)
        batch = Batch(executor, self._app.clock, deadline, self._margin, self._concurrency, self._selector)
        outcomes = await batch.run(deliveries)
        self._stuck = batch.stuck
        assert self._settling is not None
        failed = await self._settling.carry_out(deliveries, outcomes, deadline)
        if executor.meter is not None:
            await self._write_counters(executor.meter, deadline)
        return {"batchItemFailures": [{"itemIdentifier": id} for id in failed]}

    async def _start(self) -> Executor:
        if self._services is None:
            self._services = self._app.services.new_async(threads=True)
        state = None
        if self._app.lifespan is not None:
            state = await self._exits.enter_async_context(self._app.lifespan(self._app))
        self._settling = Settling(self._services, self._app.clock)
        self._executor = self._app.executor(self._services, state)
        return self._executor

    async def _end_if_stuck(self) -> None:
        """End the process, before it touches its batch, if an attempt of an earlier invocation still runs.

        Lambda starts another container for the batch of this one, once its visibility timeout has ended.
        """
        _, self._stuck = await asyncio.wait(self._stuck, timeout=STUCK_PATIENCE)
        if self._stuck:
            end_process(
                1,
                f"{len(self._stuck)} attempts of an earlier invocation ignored its deadline and still run: this "
                "container ends",
                action="container_ended",
                logger=logger.name,
                with_stacks=True,
            )

    async def _write_counters(self, meter: Meter, deadline: float | None) -> None:
        """Once a minute; the next invocation may be far, so what a quiet container has counted is written at once."""
        now = self._app.clock.time()
        everything = meter.quiet(now)
        if not meter.due(now, everything=everything) or (deadline is not None and deadline - now < COUNTERS_NEED):
            return
        try:
            async with asyncio.timeout(COUNTERS_PATIENCE):
                await meter.flush(now, everything=everything)
        except TimeoutError:
            meter.give_up_for_now(now)

    def _delivery(self, record: dict[str, Any]) -> Delivery:
        delivery = delivery_from_lambda_record(record, self._queue_of(record))
        # Of unknown age is not of an age at which no retry would come back in time.
        return delivery if delivery.sent_at else delivery._replace(sent_at=self._app.clock.time())

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


def _records(event: Any) -> list[dict[str, Any]]:
    records = event.get("Records") if isinstance(event, dict) else None
    if not isinstance(records, list):
        raise ConfigError(f"this handler takes SQS events; it got {outline(event)}, without a list of Records")
    for record in records:
        source = record.get("eventSource", record.get("EventSource", "aws:sqs")) if isinstance(record, dict) else None
        if source != "aws:sqs" or not isinstance(record.get("messageId"), str):
            raise ConfigError(f"this handler takes SQS events; it got a record of {source!r:.80}: {outline(record)}")
    return records


def _deadline(context: Any, app: App) -> float | None:
    remaining = getattr(context, "get_remaining_time_in_millis", None)
    return None if remaining is None else app.clock.time() + remaining() / 1000
