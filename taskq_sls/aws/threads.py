"""The port for event loops without aiobotocore: botocore in a small pool of threads."""

from __future__ import annotations

import asyncio
import contextvars
import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from ..core.clock import Clock
from ..core.flow import AsyncFlow
from ..core.number_checks import is_whole
from ..errors import ConfigError
from .blocking import Clients
from .config import ClientOptions
from .port import CALL_THREADS


class ThreadedAws:
    """An :class:`~taskq_sls.aws.port.AwsPort` for event loops.

    It starts faster than aiobotocore, which matters in Lambda. A cancelled call still runs to its end in its thread.

    Args:
        clock: waits go through it.
        threads: most calls at once, 1 or more; each long poll occupies one.
        options: see :class:`~taskq_sls.aws.config.ClientOptions`.
    """

    def __init__(self, clock: Clock, threads: int = CALL_THREADS, **options: Any) -> None:
        if not is_whole(threads, 1):
            raise ConfigError(f"threads={threads!r} must be a whole number of 1 or more")
        self._clients = Clients(ClientOptions.of(options))
        self._flow = AsyncFlow(clock)
        self._threads = threads
        self._pool: tuple[int, ThreadPoolExecutor] | None = None

    @property
    def flow(self) -> AsyncFlow:
        return self._flow

    def client(self, service: str) -> ThreadedClient:
        return ThreadedClient(self, service)

    def describe(self) -> str:
        return self._clients.describe()

    def prepare(self, service: str) -> None:
        """Create the client of a service now, in the caller's thread, instead of at its first call."""
        self._clients.get(service)

    async def close(self) -> None:
        """Let the threads finish their calls and end, and close idle connections."""
        pool, self._pool = self._pool, None
        if pool is not None and pool[0] == os.getpid():
            pool[1].shutdown(wait=False, cancel_futures=True)
        self._clients.close()

    async def run(self, service: str, operation: str, params: dict[str, Any]) -> dict[str, Any]:
        """Call an operation in one of the threads, with the caller's context variables, such as a tracer's span."""
        call = partial(contextvars.copy_context().run, self._clients.invoke, service, operation, params)
        return await asyncio.get_running_loop().run_in_executor(self._executor(), call)

    def _executor(self) -> ThreadPoolExecutor:
        # Threads do not survive a fork.
        if self._pool is None or self._pool[0] != os.getpid():
            self._pool = (os.getpid(), ThreadPoolExecutor(self._threads, thread_name_prefix="taskq-aws"))
        return self._pool[1]


class ThreadedClient:
    """One service."""

    __slots__ = ("_port", "_service")

    def __init__(self, port: ThreadedAws, service: str) -> None:
        self._port = port
        self._service = service

    async def call(self, operation: str, /, **params: Any) -> dict[str, Any]:
        return await self._port.run(self._service, operation, params)
