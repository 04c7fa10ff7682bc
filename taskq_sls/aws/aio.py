"""The port for event loops: aiobotocore."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
from typing import Any

from aiobotocore import __version__ as aiobotocore_version
from aiobotocore.config import AioConfig
from aiobotocore.session import AioSession

from ..core.clock import Clock
from ..core.flow import AsyncFlow
from .answers import check_answers, raise_translated, translate, translate_creation
from .config import ClientOptions, ServiceLoader, describe_clients, install_loader
from .direct import DIRECT_OPERATIONS, DirectCalls, direct_calls_enabled


class AsyncAws:
    """An :class:`~taskq_sls.aws.port.AwsPort` over aiobotocore.

    Clients belong to the event loop that made them: each loop that calls gets its own.

    Args:
        clock: waits go through it.
        options: see :class:`~taskq_sls.aws.config.ClientOptions`.
    """

    def __init__(self, clock: Clock, **options: Any) -> None:
        self._options = ClientOptions.of(options)
        self.flow = AsyncFlow(clock)
        self._pid = os.getpid()
        self._loops: dict[asyncio.AbstractEventLoop, _LoopClients] = {}
        self._inherited: list[_LoopClients] = []

    def client(self, service: str) -> AsyncClient:
        return AsyncClient(self, service)

    def describe(self) -> str:
        return describe_clients([client for mine in list(self._loops.values()) for client in mine.clients.values()])

    async def close(self) -> None:
        """Close the clients of the running loop and of ended loops. A later call creates new ones."""
        here = asyncio.get_running_loop()
        for loop in list(self._loops):
            if loop is here or loop.is_closed():
                await self._loops.pop(loop).close()

    async def get(self, service: str) -> Any:
        """The aiobotocore client of a service, for the running loop."""
        mine = self._loops.get(asyncio.get_running_loop())
        if mine is None:
            mine = await self._enter_loop()
        client = mine.clients.get(service)
        return await mine.make(service) if client is None else client

    def direct(self, service: str) -> DirectCalls | None:
        """The direct calls of a client that `get` returned on the running loop; None if it was closed since."""
        mine = self._loops.get(asyncio.get_running_loop())
        return None if mine is None else mine.direct.get(service)

    async def _enter_loop(self) -> _LoopClients:
        if self._pid != os.getpid():
            # After a fork the connections belong to the parent: closing them here would close them there.
            self._inherited.extend(self._loops.values())
            self._loops.clear()
            self._pid = os.getpid()
        loop = asyncio.get_running_loop()
        mine = self._loops.setdefault(loop, _LoopClients(self._options))
        for other in list(self._loops):
            if other.is_closed() and (ended := self._loops.pop(other, None)) is not None:
                await ended.close()
        return mine


class AsyncClient:
    """One service."""

    __slots__ = ("_port", "_service")

    def __init__(self, port: AsyncAws, service: str) -> None:
        self._port = port
        self._service = service

    async def call(self, operation: str, /, **params: Any) -> dict[str, Any]:
        method = getattr(await self._port.get(self._service), operation)
        try:
            direct = self._port.direct(self._service) if operation in DIRECT_OPERATIONS else None
            answer: dict[str, Any]
            if direct is None:
                answer = await method(**params)
            else:
                answer = await direct.call(operation, params, method)
            if "Body" in answer:
                async with answer["Body"] as stream:
                    answer["Body"] = await stream.read()
        except Exception as error:
            raise_translated(error, translate(operation, error))
        return answer


_MAX_BYTES_BODY = 1_048_576
"""aiohttp warns about larger bodies of type bytes, which fails the call if warnings are errors."""


def _stream_large(request: Any, **_: Any) -> None:
    """Send a large body as a stream: aiohttp reads it in a thread, without blocking the loop."""
    if isinstance(request.body, bytes) and len(request.body) > _MAX_BYTES_BODY:
        request.body = io.BytesIO(request.body)


class _LoopClients:
    """The clients of one event loop."""

    def __init__(self, options: ClientOptions) -> None:
        self.clients: dict[str, Any] = {}
        self.direct: dict[str, DirectCalls] = {}
        self._options = options
        self._lock = asyncio.Lock()
        self._stack = contextlib.AsyncExitStack()
        self._session: Any = None
        self._loader: ServiceLoader

    async def make(self, service: str) -> Any:
        # Creating a client suspends (credentials may come over the network); the lock prevents a second one.
        async with self._lock:
            if service not in self.clients:
                try:
                    self.clients[service] = await self._create(service)
                except Exception as error:
                    raise_translated(error, translate_creation(service, error))
            return self.clients[service]

    async def _create(self, service: str) -> Any:
        # Adaptive retries adjust their rate to the answers, so they must see every call.
        directly = direct_calls_enabled() and self._options.retry_mode == "standard"
        if self._session is None:
            session = AioSession()
            self._loader = install_loader(session)
            self._session = session
        self._loader.want(service)
        arguments = self._options.arguments(service, f"aiobotocore/{aiobotocore_version}")
        direct = DirectCalls(self._options.max_attempts) if directly else None
        if direct is not None:
            arguments["http_session_cls"] = direct.session_class()
        config = AioConfig(**arguments)
        client = await self._stack.enter_async_context(self._session.create_client(service, config=config))
        client.meta.events.register(f"before-send.{client.meta.service_model.service_id.hyphenize()}", _stream_large)
        check_answers(client)
        if direct is not None:
            direct.attach(client)
            self.direct[service] = direct
        return client

    async def close(self) -> None:
        self.clients.clear()
        self.direct.clear()
        await self._stack.aclose()
