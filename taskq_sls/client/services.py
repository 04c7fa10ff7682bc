"""Services: broker, result backend and stores over a port; one set for sync callers, one for each event loop."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import importlib.util
import sys
import weakref
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any

from ..aws.port import AwsClient, AwsPort
from ..brokers.base import Broker
from ..core.clock import Clock
from ..core.flow import AsyncFlow, BlockingFlow, Flow
from ..core.settings import Settings
from ..errors import ConfigError
from ..results.base import ResultBackend

if TYPE_CHECKING:
    from ..payloads.base import PayloadStore
    from ..scheduler.last_firings import LastFirings
    from ..scheduler.store import ScheduleStore

POLL_CLIENT_OPTIONS: dict[str, Any] = {"connect_timeout": 2.0, "read_timeout": 3.0, "max_attempts": 1}
"""Options of clients that poll for results, times in seconds: ``result(timeout=5)`` must not wait 30 s in one call."""


class Services:
    """Broker, result backend and stores of a producer or a driver, each made at first use.

    A Lambda invocation that succeeds needs no queue client, a producer no table, and few apps a bucket.

    Attributes:
        client: makes the client of another AWS service, by its name; None without AWS.
    """

    def __init__(
        self,
        flow: Flow,
        make_broker: Callable[[], Broker],
        make_results: Callable[[], ResultBackend],
        close: Callable[[], Coroutine[Any, Any, None]],
        make_payloads: Callable[[], PayloadStore | None] = lambda: None,
        make_schedules: Callable[[Services], tuple[ScheduleStore, LastFirings] | None] = lambda _: None,
        client: Callable[[str], AwsClient] | None = None,
    ) -> None:
        self.client = client
        self.flow = flow
        self.close = close
        self._make_schedules = make_schedules
        self._make_broker = make_broker
        self._make_results = make_results
        self._make_payloads = make_payloads

    @functools.cached_property
    def broker(self) -> Broker:
        return self._make_broker()

    @functools.cached_property
    def results(self) -> ResultBackend:
        return self._make_results()

    @functools.cached_property
    def payloads(self) -> PayloadStore | None:
        """The store of large payloads; None if no bucket is configured."""
        return self._make_payloads()

    @property
    def schedules(self) -> ScheduleStore | None:
        """The store of schedules; None if no scheduler is configured."""
        return None if self._scheduling is None else self._scheduling[0]

    @property
    def last_firings(self) -> LastFirings | None:
        """The last firings of the local clock; None without a scheduler."""
        return None if self._scheduling is None else self._scheduling[1]

    @functools.cached_property
    def _scheduling(self) -> tuple[ScheduleStore, LastFirings] | None:
        return self._make_schedules(self)


class ServiceFactory:
    """Makes services from the app's settings.

    Args:
        broker: a broker to use instead of SQS, or None.
        results: a result backend to use instead of DynamoDB, or None.
        payloads: a payload store to use instead of S3, or None.
        schedules: a schedule store to use instead of EventBridge Scheduler, or None.
        aws_options: options of the AWS clients (see ``taskq_sls.aws.config.ClientOptions``).
    """

    def __init__(
        self,
        settings: Callable[[], Settings],
        clock: Clock,
        broker: Broker | None,
        results: ResultBackend | None,
        aws_options: dict[str, Any],
        payloads: PayloadStore | None = None,
        schedules: ScheduleStore | None = None,
    ) -> None:
        self._settings = settings
        self._payloads = payloads
        self._schedules = schedules
        self._clock = clock
        self._broker = broker
        self._results = results
        self._aws_options = aws_options
        self._blocking: dict[bool, Services] = {}
        self._by_loop: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, dict[bool, Services]] = (
            weakref.WeakKeyDictionary()
        )
        self._closers: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, AsyncGenerator[None, None]] = (
            weakref.WeakKeyDictionary()
        )

    def blocking(self, *, waiting: bool = False, prepare: Sequence[str] = ()) -> Services:
        """Services for sync callers: they never suspend, are shared by all threads, and are safe after a fork.

        Args:
            waiting: for polls of a result: calls time out soon, since the poll is repeated anyway.
            prepare: AWS services whose clients are made now instead of at their first calls.
        """
        services = self._blocking.get(waiting)
        if services is None:
            services = self._blocking[waiting] = self.new_blocking(
                prepare=prepare, **(POLL_CLIENT_OPTIONS if waiting else {})
            )
        return services

    def new_blocking(self, *, prepare: Sequence[str] = (), **aws_options: Any) -> Services:
        """Blocking services with clients of their own, such as the heartbeat's."""
        if self._broker is not None and self._results is not None:
            return self._build(None, BlockingFlow(self._clock))
        from ..aws.blocking import BlockingAws

        port = BlockingAws(self._clock, **{**self._aws_options, **aws_options})
        for service in prepare:
            port.prepare(service)
        return self._build(port, port.flow)

    async def on_loop(self, *, waiting: bool = False) -> Services:
        """Services for the running loop; closed with it. `waiting` as in `blocking`."""
        loop = asyncio.get_running_loop()
        made = self._by_loop.get(loop)
        if made is None:
            made = self._by_loop[loop] = {}
            # asyncio.run closes async generators before the loop: the one hook that runs in time.
            closer = _closing(made)
            await closer.__anext__()
            self._closers[loop] = closer
            await self._close_ended()
        services = made.get(waiting)
        if services is None:
            services = made[waiting] = self.new_async(**(POLL_CLIENT_OPTIONS if waiting else {}))
        return services

    async def _close_ended(self) -> None:
        """Close the services of loops that were closed without their async generators."""
        for loop in [loop for loop in list(self._closers) if loop.is_closed()]:
            self._by_loop.pop(loop, None)
            if (closer := self._closers.pop(loop, None)) is not None:
                with contextlib.suppress(Exception):  # connections of a closed loop may not close in order
                    await closer.aclose()

    def new_async(self, *, threads: bool = False, prepare: bool = False, **aws_options: Any) -> Services:
        """Services for an event loop: over aiobotocore if it is installed, else over boto3 in threads.

        Args:
            threads: use boto3 in threads anyway: it starts faster, which counts in Lambda.
            prepare: with `threads`, make the table's client now instead of at its first call.
        """
        if self._broker is not None and self._results is not None:
            return self._build(None, AsyncFlow(self._clock))
        options = {**self._aws_options, **aws_options}
        port: AwsPort
        if threads or not _aiobotocore_usable():
            from ..aws.blocking import ThreadedAws

            threaded = ThreadedAws(self._clock, **options)
            if prepare and self._results is None:
                threaded.prepare("dynamodb")
            port = threaded
        else:
            from ..aws.aio import AsyncAws

            port = AsyncAws(self._clock, **options)
        return self._build(port, port.flow, batching=not threads)

    def _build(self, port: AwsPort | None, flow: Flow, *, batching: bool = False) -> Services:
        # Each backend is imported when it is made, so that a cold start loads only the ones it uses.

        def make_broker() -> Broker:
            if self._broker is not None or port is None:
                assert self._broker is not None
                return self._broker
            if isinstance(flow, BlockingFlow):
                from ..brokers.sqs import SqsBroker as Sqs
            else:
                from ..brokers.sqs import CoalescingSqsBroker as Sqs
            return Sqs(port.client("sqs"), flow, self._settings(), self._clock, port.describe)

        def make_results() -> ResultBackend:
            if self._results is not None or port is None:
                assert self._results is not None
                return self._results
            if batching:
                from ..results.dynamodb.batching import BatchingDynamoResults

                return BatchingDynamoResults(port.client("dynamodb"), flow, self._settings().table, port.describe)
            from ..results.dynamodb.backend import DynamoResults

            return DynamoResults(port.client("dynamodb"), flow, self._settings().table, port.describe)

        def make_payloads() -> PayloadStore | None:
            if self._payloads is not None or (bucket := self._settings().bucket) is None:
                return self._payloads
            if port is None:
                raise ConfigError(
                    f"bucket {bucket!r} is configured, but this app has its own broker and results and so no AWS "
                    "client: give it TaskQ(payloads=...) too, or no bucket"
                )
            from ..payloads.s3 import S3Payloads

            return S3Payloads(port.client("s3"), bucket, port.describe)

        def make_schedules(services: Services) -> tuple[ScheduleStore, LastFirings] | None:
            if self._schedules is not None:
                from ..scheduler.last_firings import MemoryLastFirings

                return self._schedules, MemoryLastFirings()
            settings = self._settings()
            if port is None or settings.schedule_group is None:
                return None
            from ..scheduler.eventbridge import EventBridgeStore
            from ..scheduler.last_firings_table import TableLastFirings

            last_firings = TableLastFirings(
                port.client("dynamodb"), flow, settings.table, settings.schedule_group, port.describe
            )
            store = EventBridgeStore(
                client=port.client("scheduler"),
                queue_arn=services.broker.queue_arn,
                settings=settings,
                flow=flow,
                clock=self._clock,
                describe=port.describe,
            )
            return store, last_firings

        async def close() -> None:
            if port is not None:
                await port.close()

        return Services(
            flow=flow,
            make_broker=make_broker,
            make_results=make_results,
            close=close,
            make_payloads=make_payloads,
            make_schedules=make_schedules,
            client=None if port is None else port.client,
        )


async def _closing(made: dict[bool, Services]) -> AsyncGenerator[None, None]:
    try:
        yield
    finally:
        for services in made.values():
            await services.close()
        made.clear()


def _aiobotocore_usable() -> bool:
    """Installed, and not bypassing moto's in-process mock, which it would: that mock answers botocore only."""
    mock = sys.modules.get("moto.core.models")
    if mock is not None and getattr(getattr(mock, "botocore_stubber", None), "enabled", False):
        return False
    return importlib.util.find_spec("aiobotocore") is not None
