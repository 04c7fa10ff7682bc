"""The health endpoint: 200 while polls and heartbeats succeed, else 503.

It answers from a thread of its own, so also while a task blocks the event loop.
"""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Callable
from typing import Any

from ..errors import ConfigError

Status = Callable[[], dict[str, Any]]


class HealthServer:
    """Answers GET requests for any path.

    Args:
        host: address to bind to: ``127.0.0.1`` unless probes come from outside the machine.
        port: 0 picks a free port, which the attribute `port` then holds.
        status: returns the JSON of an answer. Its field ``live`` decides between 200 and 503.

    Raises:
        ConfigError: the address cannot be bound.
    """

    def __init__(self, host: str, port: int, status: Status) -> None:
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                answer = status()
                body = json.dumps(answer).encode()
                self.send_response(200 if answer["live"] else 503)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                """Log nothing: probes come every few seconds."""

        try:
            self._server = http.server.ThreadingHTTPServer((host, port), Handler)
        except (OSError, OverflowError) as error:
            raise ConfigError(f"health endpoint {host}:{port}: {error}; choose another port with --health") from None
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, name="taskq-health", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)
