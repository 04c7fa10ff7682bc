"""A proxy between client and endpoint: counts the requests by operation, and delays them on request.

It is a separate process, so that its processor time is not counted:  python -m benchmarks.wire UPSTREAM_PORT
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

CONTROL = "/__wire"
"""Path that returns the counts since the last call: ``{"delay": seconds}`` sets the delay of each request."""


class Request(NamedTuple):
    path: str
    operation: str
    body: bytes
    raw: bytes


def split(buffer: bytes) -> tuple[Request, bytes] | None:
    """The first complete HTTP request in the received bytes, and the rest."""
    end = buffer.find(b"\r\n\r\n")
    if end < 0:
        return None
    lines = buffer[:end].decode("latin-1").split("\r\n")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    size = end + 4 + int(headers.get("content-length", 0))
    if len(buffer) < size:
        return None
    body = buffer[end + 4 : size]
    operation = headers.get("x-amz-target", "").rpartition(".")[2]
    if not operation and b"Action=" in body:
        operation = body.partition(b"Action=")[2].partition(b"&")[0].decode()
    return Request(lines[0].split(" ")[1], operation, body, buffer[:size]), buffer[size:]


def answer(body: bytes, status: str = "200 OK") -> bytes:
    """An HTTP answer that keeps the connection."""
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/x-amz-json-1.0\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


class Requests(asyncio.Protocol):
    """A server's side of one connection. A client sends a request only after the answer to its last one."""

    def __init__(self) -> None:
        self._buffer = b""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (found := split(self._buffer)) is not None:
            request, self._buffer = found
            self.requested(request)

    def requested(self, request: Request) -> None:
        raise NotImplementedError


class _Upstream(asyncio.Protocol):
    def __init__(self, client: asyncio.Transport) -> None:
        self._client = client

    def data_received(self, data: bytes) -> None:
        self._client.write(data)

    def connection_lost(self, error: Exception | None) -> None:
        self._client.close()


class Tap(Requests):
    """Forwards requests to the endpoint."""

    counts: Counter[str] = Counter()
    delay = 0.0
    upstream_port = 0

    def __init__(self) -> None:
        super().__init__()
        self._upstream: asyncio.Future[asyncio.Transport] | None = None

    def requested(self, request: Request) -> None:
        if request.path == CONTROL:
            Tap.delay = json.loads(request.body).get("delay", Tap.delay)
            self.transport.write(answer(json.dumps(Tap.counts).encode()))
            Tap.counts = Counter()
            return
        Tap.counts[request.operation] += 1
        loop = asyncio.get_running_loop()
        if Tap.delay:
            loop.call_later(Tap.delay, self._forward, request.raw)
        else:
            self._forward(request.raw)

    def _forward(self, raw: bytes) -> None:
        if self._upstream is None:
            self._upstream = asyncio.ensure_future(self._connect())
        if self._upstream.done():
            self._upstream.result().write(raw)
        else:
            self._upstream.add_done_callback(lambda upstream: upstream.result().write(raw))

    async def _connect(self) -> Any:
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_connection(lambda: _Upstream(self.transport), "127.0.0.1", Tap.upstream_port)
        return transport

    def connection_lost(self, error: Exception | None) -> None:
        if self._upstream is not None and self._upstream.done() and not self._upstream.exception():
            self._upstream.result().close()


async def serve(protocol: Callable[[], asyncio.Protocol]) -> None:
    """Serve on a free port of the loopback, and print it."""
    server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    Tap.upstream_port = int(sys.argv[1])
    asyncio.run(serve(Tap))
