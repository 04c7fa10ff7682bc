"""Lambda's SQS event source mapping, emulated: the part of AWS between a queue and a function."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self

from ..core.queues import Queue
from ..errors import ConfigError
from .container import Container, ContainerPool, InvocationFailed
from .event_records import InvalidAnswer, Record, event_of, failed_ids, group_of
from .queue_client import Collector, Source, connect

FUNCTION_TIMEOUT = 30.0
"""Default limit of an invocation, in seconds, for a queue without function_timeout."""

CONCURRENCY = 5
"""Default number of concurrent invocations: a new mapping starts with so many (Lambda developer guide)."""

PAUSE = 1.0
"""Seconds between two attempts to reach a queue that does not answer."""

logger = logging.getLogger("taskq_sls.offline")


class EventSourceMapping:
    """Polls a queue, calls the function with batches, and deletes the messages not reported as failed. A context manager.

    Follows the Lambda guide: batches and windows as the queue declares them, partial answers, the whole
    batch is redelivered after an error or a timeout, one batch per message group on FIFO queues. A batch that finds
    no free container within its visibility timeout is released and has cost a receive. The queue dead-letters by its
    own redrive policy. Messages released because the event would exceed 6 MB, or at the stop, also cost a receive.

    Args:
        queue: batch size, window and concurrency; its function timeout unless `function_timeout` is given.
        queue_url: the queue's URL.
        container: makes a container of the function, such as ``lambda: ProcessContainer(function)``.
        function_timeout: seconds (above 0, at most 900). Default the queue's, else 30.
        reserved_concurrency: most containers at once, if lower than the mapping's own concurrency:
            Lambda then throttles. Default no throttling.
        report_batch_item_failures: False leaves ReportBatchItemFailures out of the mapping: every answer deletes the whole batch.
        wait: WaitTimeSeconds of the polls, 0 to 20. Lambda's are 20; a stop takes this long, and here a
            request costs nothing.
        region: region of the client; default the environment's.
        endpoint: endpoint of the client; default the environment's.
        client: a boto3 SQS client to use instead; it is not closed.
    """

    def __init__(
        self,
        queue: Queue,
        queue_url: str,
        container: Callable[[], Container],
        *,
        function_timeout: float | None = None,
        reserved_concurrency: int | None = None,
        report_batch_item_failures: bool = True,
        wait: int = 1,
        region: str | None = None,
        endpoint: str | None = None,
        client: Any = None,
    ) -> None:
        self._timeout = function_timeout or queue.function_timeout or FUNCTION_TIMEOUT
        if not 0 < self._timeout <= 900:
            raise ConfigError(f"function_timeout={function_timeout!r} must be above 0 and at most 900 seconds")
        if reserved_concurrency is not None and reserved_concurrency < 1:
            raise ConfigError(f"reserved_concurrency={reserved_concurrency!r} must be 1 or more")
        if not 0 <= wait <= 20:
            raise ConfigError(f"wait={wait!r} must be 0 to 20 seconds")
        self.queue = queue
        self.queue_url = queue_url
        self._concurrency = queue.max_concurrency or CONCURRENCY
        self._pool = ContainerPool(container, min(self._concurrency, reserved_concurrency or self._concurrency))
        self._partial = report_batch_item_failures
        self._wait = wait
        self._client = client
        self._own_client = client is None
        self._region = region
        self._endpoint = endpoint
        self._stopping = threading.Event()
        self._slots = threading.Semaphore(self._concurrency)
        self._busy_groups: set[str] = set()
        self._guard = threading.Lock()
        self._poller: threading.Thread | None = None

    def start(self) -> None:
        """Begin to poll. A mapping starts once.

        Raises:
            MissingResource: there is no such queue.
            ConfigError: the queue's visibility timeout is below the function's timeout, which Lambda refuses too.
        """
        if self._poller is not None:
            raise ConfigError("this event source mapping was started before: make a new one")
        if self._client is None:
            self._client = connect(self._region, self._endpoint, self._concurrency + 1)
        self._source = Source.open(self._client, self.queue_url)
        if self._source.visibility < self._timeout:
            raise ConfigError(
                f"queue {self.queue.name!r}: its visibility timeout of {self._source.visibility:g} seconds is below the "
                f"function timeout of {self._timeout:g}; set it to {6 * self._timeout + self.queue.batch_window:g}"
            )
        self._collector = Collector(self._source, self.queue, self._wait, self._stopping)
        self._invokers = ThreadPoolExecutor(self._concurrency, thread_name_prefix="taskq-invoke")
        self._poller = threading.Thread(target=self._poll, name=f"taskq-poll-{self.queue.name}", daemon=True)
        self._poller.start()

    def stop(self) -> None:
        """Stop polling, release messages that no invocation has, wait for running invocations, end the containers."""
        self._stopping.set()
        self._slots.release()
        if self._poller is not None:
            self._pool.close()
            self._poller.join()
            self._invokers.shutdown(wait=True)
        if self._own_client and self._client is not None:
            self._client.close()
            self._client = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _poll(self) -> None:
        while True:
            # A slot first: a message that no container can take must not be received.
            self._slots.acquire()
            if self._stopping.is_set():
                return
            handed_over = False
            try:
                handed_over = self._hand_over(self._collector.collect())
            except Exception as error:
                logger.warning("polling %s failed: %s", self.queue.name, error, extra={"action": "mapping_poll_failed"})
                self._stopping.wait(PAUSE)
            finally:
                if not handed_over:
                    self._slots.release()

    def _hand_over(self, batch: list[Record]) -> bool:
        if self._stopping.is_set():
            self._source.give_back(batch)
            return False
        # On a FIFO queue a group can be received again while its batch still waits or runs; it stays invisible.
        with self._guard:
            batch = [record for record in batch if not self.queue.fifo or group_of(record) not in self._busy_groups]
            if not batch:
                return False
            groups = self._groups(batch)
            self._busy_groups |= groups
        self._invokers.submit(self._run, batch, groups)
        return True

    def _groups(self, batch: list[Record]) -> set[str]:
        return {group for group in map(group_of, batch) if group is not None} if self.queue.fifo else set()

    def _run(self, batch: list[Record], groups: set[str]) -> None:
        try:
            self._deliver(batch)
        except Exception:
            # Only messages whose delete SQS confirmed are gone; the rest is redelivered.
            logger.exception("a batch of %s was not settled", self.queue.name, extra={"action": "mapping_failed"})
        finally:
            with self._guard:
                self._busy_groups -= groups
            self._slots.release()

    def _deliver(self, batch: list[Record]) -> None:
        container = self._pool.acquire(self._source.visibility)
        if container is None:
            if self._stopping.is_set():
                self._source.give_back(batch)
            else:
                self._log(logging.WARNING, "throttled", batch, "no container was free within the visibility timeout")
            return
        request_id = str(uuid.uuid4())
        began = time.monotonic()
        try:
            answer = container.invoke(event_of(batch), timeout=self._timeout, request_id=request_id)
            failed = failed_ids(answer, {record["messageId"] for record in batch}) if self._partial else frozenset()
        except (InvocationFailed, InvalidAnswer) as error:
            trace = f"\n{error.traceback}" if isinstance(error, InvocationFailed) and error.traceback else ""
            self._log(logging.ERROR, "invocation_failed", batch, f"{error}{trace}", request_id, began)
            return
        finally:
            self._pool.release(container)
        self._source.delete([record for record in batch if record["messageId"] not in failed])
        self._log(logging.INFO, "invoked", batch, f"{len(failed)} reported as failed", request_id, began)

    def _log(
        self,
        level: int,
        action: str,
        batch: list[Record],
        text: str,
        request_id: str = "-",
        began: float | None = None,
    ) -> None:
        seconds = 0.0 if began is None else time.monotonic() - began
        logger.log(
            level,
            "%s: %s, %d records, request %s, %.3f s: %s",
            self.queue.name,
            action,
            len(batch),
            request_id,
            seconds,
            text,
            extra={"action": f"mapping_{action}", "records": len(batch), "request_id": request_id, "seconds": seconds},
        )
