"""A WSGI application that serves moto's requests one at a time, and lets long polls wait outside.

moto's server does not lock: two conditional writes at once can both win, and one message can go to two
receivers. Behind one lock each request is atomic, as it is in AWS. ReceiveMessage with a wait becomes
short polls under that lock; between them the poll sleeps until a request changes something or a
message becomes visible by itself.
"""

from __future__ import annotations

import io
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from .polls import MotoQueues, Poll, poll_of

Environ = dict[str, Any]
Application = Callable[[Environ, Any], Iterable[bytes]]

RECHECK = 1.0
"""Seconds after which a waiting poll checks again without a notification: some messages arrive without a request
of their own, such as by a redrive during another receive."""

logger = logging.getLogger("taskq_sls.offline")


class Answer(NamedTuple):
    """One HTTP answer, complete."""

    status: str
    headers: list[tuple[str, str]]
    body: bytes


class AtomicApplication:
    """Serve `application` one request at a time.

    Args:
        application: the WSGI application to guard.
        queues: reads moto's queues.
    """

    def __init__(self, application: Application, queues: MotoQueues) -> None:
        self._application = application
        self._queues = queues
        self._turn = threading.Condition()
        self._stopping = False
        self.waiting = 0
        """Long polls that wait for a message now."""

    def __call__(self, environ: Environ, start_response: Any) -> Iterable[bytes]:
        # Read before the lock is taken: a slow client must not block all others.
        body = _read_body(environ)
        poll = poll_of(environ, body)
        answer = self._serve(environ, body) if poll is None else self._receive(environ, poll)
        start_response(answer.status, answer.headers)
        return [answer.body]

    def end_waits(self) -> None:
        """Let every waiting poll answer now, and no later one wait."""
        with self._turn:
            self._stopping = True
            self._turn.notify_all()

    def _serve(self, environ: Environ, body: bytes) -> Answer:
        with self._turn:
            answer = self._call(environ, body)
            # DynamoDB never puts anything into a queue; everything else may.
            if not environ.get("HTTP_X_AMZ_TARGET", "").startswith("DynamoDB"):
                self._turn.notify_all()
            return answer

    def _receive(self, environ: Environ, poll: Poll) -> Answer:
        short = {**environ, "QUERY_STRING": poll.query}
        ends: float | None = None
        with self._turn:
            while True:
                polled_at = self._queues.now()
                self._queues.return_expired(poll)
                answer = self._call(short, poll.body)
                if not poll.is_empty(answer.status, answer.body):
                    return answer
                if ends is None:
                    wait = self._queues.wait_seconds(poll) if poll.wait is None else poll.wait
                    ends = time.monotonic() + wait
                if not self._wait(poll, polled_at, ends) or _is_gone(environ):
                    # To a client that left, a message would be lost until its visibility ends.
                    return answer

    def _wait(self, poll: Poll, polled_at: float, ends: float) -> bool:
        """Wait for a reason to poll again; False when the poll's time is over."""
        recheck = time.monotonic() + RECHECK
        while True:
            now = time.monotonic()
            if self._stopping or now >= ends:
                return False
            nap = min(ends, recheck) - now
            due = self._queues.next_change(poll, polled_at)
            if due is not None:
                nap = min(nap, due)
            if nap <= 0:
                return True
            self.waiting += 1
            notified = self._turn.wait(nap)
            self.waiting -= 1
            if notified and self._queues.has_visible(poll):
                return not self._stopping

    def _call(self, environ: Environ, body: bytes) -> Answer:
        from werkzeug.test import run_wsgi_app

        request = {**environ, "wsgi.input": io.BytesIO(body), "CONTENT_LENGTH": str(len(body))}
        chunks, status, headers = run_wsgi_app(self._application, request, buffered=True)
        return Answer(status, headers.to_wsgi_list(), b"".join(chunks))


def _read_body(environ: Environ) -> bytes:
    stream = environ["wsgi.input"]
    if environ.get("wsgi.input_terminated"):
        return bytes(stream.read())
    length = environ.get("CONTENT_LENGTH") or "0"
    return bytes(stream.read(int(length))) if length.isdigit() else b""


def _is_gone(environ: Environ) -> bool:
    """True if the client closed its connection while it waited."""
    connection: socket.socket | None = environ.get("werkzeug.socket")
    if connection is None:
        return False
    try:
        return connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True
