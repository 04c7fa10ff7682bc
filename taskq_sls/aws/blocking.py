"""The ports over botocore: called in the caller's thread, or in a small pool of threads for event loops."""

from __future__ import annotations

import asyncio
import contextvars
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from botocore.config import Config
from botocore.session import Session

from ..core.clock import Clock
from ..core.flow import AsyncFlow, BlockingFlow
from ..core.interrupts import interruptible
from ..core.number_checks import is_whole
from ..errors import ConfigError
from .answers import check_answers, raise_translated, read_body, translate, translate_creation
from .config import ClientOptions, ServiceLoader, describe_clients, install_loader
from .port import CALL_THREADS


class _BotocorePort:
    """The parts of a port over botocore that do not depend on its flow."""

    def __init__(self, options: dict[str, Any]) -> None:
        self._clients = Clients(ClientOptions.of(options))

    def describe(self) -> str:
        return self._clients.describe()

    def prepare(self, service: str) -> None:
        """Create the client of a service now, in the caller's thread, instead of at its first call."""
        self._clients.get(service)

    async def close(self) -> None:
        """Close the connections. A later call opens new ones."""
        self._clients.close()


class BlockingAws(_BotocorePort):
    """An :class:`~taskq_sls.aws.port.AwsPort` whose calls never suspend.

    Safe between threads, and after a fork: a child process creates clients of its own.

    Args:
        clock: waits go through it.
        options: see :class:`~taskq_sls.aws.config.ClientOptions`.
    """

    def __init__(self, clock: Clock, **options: Any) -> None:
        super().__init__(options)
        self.flow = BlockingFlow(clock)

    def client(self, service: str) -> BlockingClient:
        return BlockingClient(self._clients, service)


class BlockingClient:
    """One service."""

    __slots__ = ("_clients", "_service")

    def __init__(self, clients: Clients, service: str) -> None:
        self._clients = clients
        self._service = service

    async def call(self, operation: str, /, **params: Any) -> dict[str, Any]:
        return self._clients.invoke(self._service, operation, params)


class Clients:
    """botocore clients by service, created at first use, once per process."""

    def __init__(self, options: ClientOptions) -> None:
        self._options = options
        self._process = _Process()

    def invoke(self, service: str, operation: str, params: dict[str, Any]) -> dict[str, Any]:
        """Call an operation in this thread. Raises the errors that the port documents."""
        # An interrupt waits until the call has ended: connection pools are shared, and their locks would stay taken.
        if (interrupts := interruptible()) is not None:
            interrupts.defer()
        try:
            answer: dict[str, Any] = getattr(self.get(service), operation)(**params)
            if "Body" in answer:
                answer["Body"] = read_body(answer["Body"])
        except Exception as error:
            raise_translated(error, translate(operation, error))
        finally:
            if interrupts is not None:
                interrupts.resume()
        return answer

    def get(self, service: str) -> Any:
        """The botocore client of a service."""
        client = self._here().clients.get(service)
        return self._make(service) if client is None else client

    def describe(self) -> str:
        return describe_clients(list(self._here().clients.values()))

    def close(self) -> None:
        process = self._here()
        with process.lock:
            clients = list(process.clients.values())
            process.clients.clear()
        for client in clients:
            client.close()

    def _here(self) -> _Process:
        # After a fork the connections are shared with the parent, and answers would get mixed up.
        # The lock is replaced too: another thread may have held it during the fork.
        if self._process.pid != os.getpid():
            self._process = _Process()
        return self._process

    def _make(self, service: str) -> Any:
        process = self._here()
        with process.lock:
            client = process.clients.get(service)
            if client is None:
                try:
                    client = process.create(service, Config(**self._options.arguments(service)))
                except Exception as error:
                    raise_translated(error, translate_creation(service, error))
                process.clients[service] = client
        return client


class _Process:
    """The clients and session of one process. botocore's clients are thread-safe, its sessions are not."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.lock = threading.Lock()
        self.clients: dict[str, Any] = {}
        self._session: Any = None
        self._loader: ServiceLoader

    def create(self, service: str, config: Any) -> Any:
        if self._session is None:
            session = Session()
            self._loader = install_loader(session)
            self._session = session
        self._loader.want(service)
        client = self._session.create_client(service, config=config)
        check_answers(client)
        return client


_AWS = (
    *(".amazonaws.com", ".api.aws"),
    *(".amazonaws.com.cn", ".api.amazonwebservices.com.cn"),
    *(".amazonaws.eu", ".api.amazonwebservices.eu"),
    # The ISO partitions.
    *(".c2s.ic.gov", ".sc2s.sgov.gov", ".cloud.adc-e.uk", ".csp.hci.ic.gov"),
    *(".api.aws.ic.gov", ".api.aws.scloud", ".api.cloud-aws.adc-e.uk", ".api.aws.hci.ic.gov"),
)
"""Domains of AWS's endpoints and of its dual-stack ones, by partition (botocore's ``partitions.json``)."""


def aws_host(service: str) -> str | None:
    """The host of a service if this environment uses AWS itself, or None if it names another endpoint. Makes no call.

    Raises:
        ConfigError: region or endpoint are missing or malformed.
    """
    clients = Clients(ClientOptions())
    try:
        host = urlsplit(clients.get(service).meta.endpoint_url).hostname or ""
    finally:
        clients.close()
    return host if host.endswith(_AWS) else None


class ThreadedAws(_BotocorePort):
    """An :class:`~taskq_sls.aws.port.AwsPort` for event loops without aiobotocore.

    It starts faster than aiobotocore, which matters in Lambda. A cancelled call still runs to its end in its thread.

    Args:
        clock: waits go through it.
        threads: most calls at once, 1 or more; each long poll occupies one.
        options: see :class:`~taskq_sls.aws.config.ClientOptions`.
    """

    def __init__(self, clock: Clock, threads: int = CALL_THREADS, **options: Any) -> None:
        if not is_whole(threads, 1):
            raise ConfigError(f"threads={threads!r} must be a whole number of 1 or more")
        super().__init__(options)
        self.flow = AsyncFlow(clock)
        self._threads = threads
        self._pool: tuple[int, ThreadPoolExecutor] | None = None

    def client(self, service: str) -> ThreadedClient:
        return ThreadedClient(self, service)

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
