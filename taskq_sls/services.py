"""The broker and the result backend over a port, once for sync callers and once per event loop."""

from __future__ import annotations

import asyncio
import importlib.util
import sys
import weakref
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any, NamedTuple

from .aws.port import AwsPort
from .brokers.base import Broker
from .clock import Clock
from .flow import AsyncFlow, BlockingFlow, Flow
from .results.base import ResultBackend
from .settings import Settings


class Services(NamedTuple):
    """What a producer or a driver works with."""

    flow: Flow
    broker: Broker
    results: ResultBackend
    close: Callable[[], Awaitable[None]]


class ServiceFactory:
    """Makes services from the app's settings.

    Args:
        broker: a broker to use instead of SQS, or None.
        results: a result backend to use instead of DynamoDB, or None.
        aws_options: options of the AWS clients (see ``taskq_sls.aws.config.ClientOptions``).
    """

    def __init__(
        self,
        settings: Callable[[], Settings],
        clock: Clock,
        broker: Broker | None,
        results: ResultBackend | None,
        aws_options: dict[str, Any],
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._broker = broker
        self._results = results
        self._aws_options = aws_options
        self._blocking: Services | None = None
        self._by_loop: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Services] = weakref.WeakKeyDictionary()
        self._closers: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, AsyncGenerator[None, None]] = (
            weakref.WeakKeyDictionary()
        )

    def blocking(self) -> Services:
        """For sync callers: never suspends, shared by all threads, safe after fork."""
        if self._blocking is None:
            self._blocking = self.new_blocking()
        return self._blocking

    def new_blocking(self, **aws_options: Any) -> Services:
        """Blocking services with clients of their own, such as the heartbeat's."""
        if self._broker is not None and self._results is not None:
            return self._over(None, BlockingFlow(self._clock))
        from .aws.blocking import BlockingAws

        port = BlockingAws(self._clock, **{**self._aws_options, **aws_options})
        return self._over(port, port.flow)

    async def on_loop(self) -> Services:
        """For the running loop; closed with it."""
        loop = asyncio.get_running_loop()
        services = self._by_loop.get(loop)
        if services is None:
            services = self.new_async()
            self._by_loop[loop] = services
            # asyncio.run and its kin close async generators before the loop: the one way to be told in time.
            closer = _closing(services)
            await closer.__anext__()
            self._closers[loop] = closer
        return services

    def new_async(self, *, light: bool = False, **aws_options: Any) -> Services:
        """Services for an event loop: aiobotocore where it is installed, else boto3 in threads.

        Args:
            light: prefer what starts faster (Lambda).
        """
        if self._broker is not None and self._results is not None:
            return self._over(None, AsyncFlow(self._clock))
        options = {**self._aws_options, **aws_options}
        port: AwsPort
        if light or not _aiobotocore_usable():
            from .aws.threads import ThreadedAws

            port = ThreadedAws(self._clock, **options)
        else:
            from .aws.aio import AsyncAws

            port = AsyncAws(self._clock, **options)
        return self._over(port, port.flow)

    def _over(self, port: AwsPort | None, flow: Flow) -> Services:
        broker, results = self._broker, self._results
        if broker is None:
            from .brokers.sqs import SqsBroker

            assert port is not None
            broker = SqsBroker(port.client("sqs"), flow, self._settings(), self._clock, port.describe)
        if results is None:
            from .results.dynamodb import DynamoResults

            assert port is not None
            results = DynamoResults(port.client("dynamodb"), flow, self._settings().table, port.describe)

        async def close() -> None:
            if port is not None:
                await port.close()

        return Services(flow, broker, results, close)


async def _closing(services: Services) -> AsyncGenerator[None, None]:
    try:
        yield
    finally:
        await services.close()


def _aiobotocore_usable() -> bool:
    """Installed, and not bypassing moto's in-process mock, which it would: that mock answers botocore only."""
    mock = sys.modules.get("moto.core.models")
    if mock is not None and getattr(getattr(mock, "botocore_stubber", None), "enabled", False):
        return False
    return importlib.util.find_spec("aiobotocore") is not None
