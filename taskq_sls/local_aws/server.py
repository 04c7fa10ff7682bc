"""moto as a server in this process: SQS, DynamoDB, S3 and the rest, on a loopback port."""

from __future__ import annotations

import logging
import socket
import threading
from types import TracebackType
from typing import Any, Self

from ..core.number_checks import is_whole
from ..errors import ConfigError
from .moto_version import check_moto, incomplete
from .polls import MotoQueues
from .serialized_moto import AtomicApplication

HOST = "127.0.0.1"

GRACE = 5.0
"""Seconds that `stop` gives running requests; each takes milliseconds, since waits are ended first."""

logger = logging.getLogger("taskq_sls.offline")

_one_per_process = threading.Lock()


class MotoServer:
    """An AWS endpoint on this machine, atomic under concurrent clients. A context manager.

    Each start begins with nothing in it. moto's state is global to the process, so only one runs at a
    time, and `mock_aws` in the same process would empty it.

    Args:
        port: the port to listen on (1 to 65,535), or 0 for a free one.
        region: the region that :meth:`environment` names.
    """

    def __init__(self, port: int = 0, *, region: str = "us-east-1") -> None:
        if not is_whole(port, 0, 65_535):
            raise ConfigError(f"port={port!r} must be a whole number of 0 (a free port) to 65535")
        self.region = region
        self._port = port
        self._running: _Running | None = None

    @property
    def endpoint(self) -> str:
        """The URL to use as AWS_ENDPOINT_URL.

        Raises:
            ConfigError: the server is not running.
        """
        if self._running is None:
            raise ConfigError("the local AWS server is not running: call start() first, or use it in a with statement")
        return f"http://{HOST}:{self._running.port}"

    @property
    def waiting_polls(self) -> int:
        """How many long polls wait for a message now."""
        return 0 if self._running is None else self._running.application.waiting

    def environment(self) -> dict[str, str]:
        """Environment variables that make every AWS client use this server."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_DEFAULT_REGION": self.region,
            "AWS_REGION": self.region,
            "AWS_ACCESS_KEY_ID": "local",
            "AWS_SECRET_ACCESS_KEY": "local",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def start(self) -> None:
        """Listen, with empty state.

        Raises:
            ConfigError: moto is not installed, the port is taken, or another one runs in this process.
        """
        if not _one_per_process.acquire(blocking=False):
            raise ConfigError(
                "a local AWS server is already running in this process and moto's state is global: stop it first"
            )
        try:
            self._running = _Running(self._port)
        except BaseException:
            _one_per_process.release()
            raise

    def stop(self) -> None:
        """Answer open long polls, end, and free the port. Does nothing when not running."""
        running, self._running = self._running, None
        if running is None:
            return
        try:
            running.stop()
        finally:
            _one_per_process.release()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class _Running:
    """The listening socket, the thread that accepts, and the threads that answer."""

    def __init__(self, port: int) -> None:
        application, server_class, handler_class = _moto()
        self.application = AtomicApplication(application, MotoQueues())
        self._guard = threading.Lock()
        self._connections: dict[threading.Thread, socket.socket] = {}
        with _listen(port) as listener:
            self._server = server_class(HOST, port, self.application, _quiet(handler_class), fd=listener.fileno())
        self.port = int(self._server.port)
        self._server.process_request = self._answer
        self._accepting = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), name="taskq-moto", daemon=True
        )
        self._accepting.start()

    def stop(self) -> None:
        self.application.end_waits()
        self._server.shutdown()
        self._accepting.join(GRACE)
        with self._guard:
            connections = dict(self._connections)
        for connection in connections.values():
            # A client that is connected and silent would keep its thread reading.
            try:
                connection.shutdown(socket.SHUT_RD)
            except OSError:
                continue
        for thread in connections:
            thread.join(GRACE)

    def _answer(self, connection: socket.socket, address: Any) -> None:
        """Replaces socketserver's threading mixin, because its daemon threads cannot be joined."""
        thread = threading.Thread(
            target=self._answer_in_thread, args=(connection, address), name="taskq-moto-request", daemon=True
        )
        with self._guard:
            self._connections[thread] = connection
        thread.start()

    def _answer_in_thread(self, connection: socket.socket, address: Any) -> None:
        try:
            self._server.process_request_thread(connection, address)
        finally:
            with self._guard:
                del self._connections[threading.current_thread()]


def _moto() -> tuple[Any, Any, Any]:
    """moto's application with nothing in it, and the classes that serve it."""
    check_moto()
    try:
        # First, because moto warns before it raises when these are missing.
        import flask
        import flask_cors
        from moto.server import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
        from werkzeug.serving import ThreadedWSGIServer
        from werkzeug.test import create_environ, run_wsgi_app
    except ImportError as error:
        raise incomplete(error) from error
    del flask, flask_cors
    application = DomainDispatcherApplication(create_backend_app)
    run_wsgi_app(application, create_environ("/moto-api/reset", method="POST"), buffered=True)
    return application, ThreadedWSGIServer, MotoRequestHandler


def _listen(port: int) -> socket.socket:
    """A listening socket; werkzeug's own would print and end the process when the port is taken."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HOST, port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise ConfigError(
            f"cannot listen on {HOST}:{port} ({error.strerror}): stop the program that uses the port, "
            "or give another one (0 takes a free one)"
        ) from error
    return listener


def _quiet(handler_class: Any) -> Any:
    """The handler without a log line per request."""

    def log(self: Any, kind: str, message: str, *args: Any) -> None:
        if kind != "info":
            logger.error("local AWS server: " + message, *args, extra={"action": "local_server_error"})

    def send_response(self: Any, code: int, message: str | None = None) -> None:
        # The standard library adds a Server header here, and moto's answers bring one of their own: strict clients
        # (aiohttp in development mode) refuse two.
        self.send_response_only(code, message)

    methods = {"log": log, "send_response": send_response}
    return type("QuietRequestHandler", (handler_class,), methods)
