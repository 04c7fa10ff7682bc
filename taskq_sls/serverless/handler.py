"""The Lambda handler of SQS events: runs the records and returns the ids of those that stay in the queue."""

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
from .batch import RecordBatch
from .loop import IdleSelector, new_event_loop, run_to_end
from .settling import RecordSettler

if TYPE_CHECKING:
    from ..client.app import App
    from ..metrics.meter import Meter

logger = logging.getLogger("taskq_sls.serverless")

MAX_COUNTERS_SECONDS = 1.0
"""Longest time in which an invocation writes its counters, once a minute."""

COUNTERS_NEEDED_SECONDS = 2.0
"""Time that must remain before the function's deadline to write them."""

STUCK_CHECK_SECONDS = 0.2
"""Time that attempts which ignored the deadline of an earlier invocation have to end."""


class LambdaHandler:
    """The handler of a Lambda function that consumes a queue: ``handler = app.lambda_handler()``.

    Records run concurrently, those of a FIFO group in order. The container uses one event loop and one set of clients
    for all its invocations.

    Args:
        concurrency: most records at once, 1 to 10,000. Default: 16, the number of parallel AWS calls. More is useful
            for async tasks that mostly wait for other services.
        margin: seconds before the function's deadline at which work must have ended, 0 to 900. Default: 20 % of the
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
        self._settler: RecordSettler | None = None
        self._queues: dict[str, str] = {}
        if "AWS_LAMBDA_FUNCTION_NAME" in os.environ:
            self.warm_up()

    def warm_up(self) -> None:
        """Make the clients for the first invocation. In Lambda this happens at import, where there is more CPU.

        Errors are only logged: the first invocation meets them again.
        """
        if self._services is not None:
            return
        records = any(task.options.record != "none" for task in self._app.registry)
        try:
            self._services = self._app.services.new_async(threads=True, prepare=records)
            if records:
                _ = self._services.results  # loads its modules too
                self._app.meter(self._services)
        except TaskQError as error:
            logger.warning("the clients could not be made at start-up: %s", error, extra={"action": "warm_up_fault"})

    def __call__(self, event: dict[str, Any], context: Any = None) -> dict[str, Any]:
        """Run the records of an SQS event.

        Returns:
            ``{"batchItemFailures": [{"itemIdentifier": id}, ...]}``: every record that must stay in the queue.

        Raises:
            ConfigError: the event does not come from SQS.
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
        """Leave the lifespan and close the loop. For tests: ``with app.lambda_handler() as handler``."""
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
        self._app.threads.interrupt_all()
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
        batch = RecordBatch(executor, self._app.clock, deadline, self._margin, self._concurrency, self._selector)
        outcomes = await batch.run(deliveries)
        self._stuck = batch.stuck
        assert self._settler is not None
        failed = await self._settler.settle(deliveries, outcomes, deadline)
        if executor.meter is not None:
            await self._write_counters(executor.meter, deadline)
        return {"batchItemFailures": [{"itemIdentifier": id} for id in failed]}

    async def _start(self) -> Executor:
        if self._services is None:
            self._services = self._app.services.new_async(threads=True)
        state = None
        if self._app.lifespan is not None:
            state = await self._exits.enter_async_context(self._app.lifespan(self._app))
        self._settler = RecordSettler(self._services, self._app.clock)
        self._executor = self._app.executor(self._services, state)
        return self._executor

    async def _end_if_stuck(self) -> None:
        """End the process if an attempt of an earlier invocation still runs.

        The batch of this invocation has not begun. Another container gets it after its visibility timeout.
        """
        _, self._stuck = await asyncio.wait(self._stuck, timeout=STUCK_CHECK_SECONDS)
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
        """Write the counters once a minute; at once in a quiet container, since its next invocation may be far away."""
        now = self._app.clock.time()
        everything = meter.flush_partial_minute(now)
        if not meter.due(now, everything=everything) or (
            deadline is not None and deadline - now < COUNTERS_NEEDED_SECONDS
        ):
            return
        try:
            async with asyncio.timeout(MAX_COUNTERS_SECONDS):
                await meter.flush(now, everything=everything)
        except TimeoutError:
            meter.give_up_for_now(now)

    def _delivery(self, record: dict[str, Any]) -> Delivery:
        delivery = delivery_from_lambda_record(record, self._queue_of(record))
        # Without SentTimestamp, assume that the message is new: sent_at=0 would look older than the queue's retention, and
        # rule out every retry.
        return delivery if delivery.sent_at else delivery._replace(sent_at=self._app.clock.time())

    def _queue_of(self, record: dict[str, Any]) -> str:
        """The logical queue of a record, by its ARN; the physical name if the app does not declare the queue."""
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
        raise ConfigError(f"this handler takes SQS events; it got {outline(event)}, which has no list of Records")
    for record in records:
        source = record.get("eventSource", record.get("EventSource", "aws:sqs")) if isinstance(record, dict) else None
        if source != "aws:sqs" or not isinstance(record.get("messageId"), str):
            raise ConfigError(f"this handler takes SQS events; it got a record of {source!r:.80}: {outline(record)}")
    return records


def _deadline(context: Any, app: App) -> float | None:
    remaining = getattr(context, "get_remaining_time_in_millis", None)
    return None if remaining is None else app.clock.time() + remaining() / 1000
