"""ReceiveMessage requests, and the state of moto's queues that a long poll reads."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlencode

from .moto_version import incomplete

LONGEST_WAIT = 20
"""Seconds: the most that SQS accepts as WaitTimeSeconds."""

EARLY = 20.0
"""Milliseconds before its time at which a message of a FIFO queue may come back."""

_REGION = re.compile(r"Credential=[^/]*/\d+/([^/]+)/sqs/")


class Poll(NamedTuple):
    """A ReceiveMessage request, rewritten so that it does not wait.

    `wait` is the client's wait time in seconds; None means the queue's own. `body` and `query`
    are those of the short poll.
    """

    queue: str
    region: str | None
    wait: int | None
    body: bytes
    query: str

    def is_empty(self, status: str, body: bytes) -> bool:
        """True for a success without messages."""
        if not status.startswith("200"):
            return False
        # moto answers a query-protocol GET in JSON, too.
        if body.startswith(b"{"):
            return not json.loads(body).get("Messages")
        return b"<Message>" not in body


def poll_of(environ: Mapping[str, Any], body: bytes) -> Poll | None:
    """The poll in a request; None for other requests, and for those that moto itself must refuse."""
    if environ.get("HTTP_X_AMZ_TARGET") == "AmazonSQS.ReceiveMessage":
        return _json_poll(environ, body)
    if b"ReceiveMessage" in body or "ReceiveMessage" in environ.get("QUERY_STRING", ""):
        return _query_poll(environ, body)
    return None


def _json_poll(environ: Mapping[str, Any], body: bytes) -> Poll | None:
    try:
        request = json.loads(body)
    except ValueError:
        return None
    if not isinstance(request, dict):
        return None
    wait = _wait(request.get("WaitTimeSeconds"))
    short = json.dumps({**request, "WaitTimeSeconds": 0}).encode()
    return _poll(environ, str(request.get("QueueUrl", "")), wait, short, environ.get("QUERY_STRING", ""))


def _query_poll(environ: Mapping[str, Any], body: bytes) -> Poll | None:
    """The older protocol: a form in the body of a POST, or in the query string of a GET."""
    query = environ.get("QUERY_STRING", "")
    form = environ.get("CONTENT_TYPE", "").startswith("application/x-www-form-urlencoded")
    request = parse_qsl(query, keep_blank_values=True)
    if form:
        request += parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True)
    fields = dict(request)
    if fields.get("Action") != "ReceiveMessage":
        return None
    wait = _wait(fields.get("WaitTimeSeconds"))
    fields["WaitTimeSeconds"] = "0"
    short = urlencode(fields)
    url = fields.get("QueueUrl") or environ.get("PATH_INFO", "")
    if form:
        return _poll(environ, url, wait, short.encode(), "")
    return _poll(environ, url, wait, body, short)


def _poll(environ: Mapping[str, Any], url: str, wait: int | None, body: bytes, query: str) -> Poll | None:
    if wait is not None and not 0 <= wait <= LONGEST_WAIT:
        return None
    region = _REGION.search(environ.get("HTTP_AUTHORIZATION", ""))
    return Poll(url.rstrip("/").rpartition("/")[2], region and region[1], wait, body, query)


def _wait(value: object) -> int | None:
    """WaitTimeSeconds as a number; -1, which moto refuses, if it is not a number."""
    if value is None:
        return None
    try:
        return int(str(value))
    except ValueError:
        return -1


class MotoQueues:
    """Reads moto's queues. Only for callers that hold the server's lock."""

    def __init__(self) -> None:
        try:
            from moto.backends import get_backend
            from moto.sqs import models
        except ImportError as error:
            raise incomplete(error) from error
        self._backends = get_backend("sqs")
        self._models = models

    def now(self) -> float:
        """moto's own time, in epoch milliseconds."""
        return float(self._models.unix_time_millis())

    def wait_seconds(self, poll: Poll) -> int:
        """The queue's own ReceiveMessageWaitTimeSeconds."""
        queue = self._find(poll)
        return int(queue.receive_message_wait_time_seconds or 0) if queue else 0

    def has_visible(self, poll: Poll) -> bool:
        """True if another poll would return a message, or the error that the queue is gone."""
        queue = self._find(poll)
        return queue is None or bool(queue.messages)

    def return_expired(self, poll: Poll) -> None:
        """Let messages whose visibility ended be pending no more, all of them at once.

        moto does so one by one while it receives, and then delivers the last message of a FIFO group first. To exclude
        that for a message that becomes visible during a receive, those of FIFO queues are returned a moment early.
        """
        queue = self._find(poll)
        if queue is None:
            return
        now = self.now()
        for message in list(queue.pending_messages):
            if queue.fifo_queue and now <= message.visible_at <= now + EARLY:
                message.visible_at = now - 1
            if message.visible:
                queue.pending_messages.discard(message)

    def next_change(self, poll: Poll, since: float) -> float | None:
        """Seconds until a message becomes visible by itself; at most 0 if one did after `since` (milliseconds)."""
        queue = self._find(poll)
        if queue is None:
            return None
        times = (max(message.visible_at, message.delayed_until) for message in queue._messages)
        due = min((time for time in times if time >= since), default=None)
        # moto shows a message in the millisecond after its time.
        return None if due is None else (due + 1 - self.now()) / 1000

    def _find(self, poll: Poll) -> Any:
        for account in list(self._backends.values()):
            for region, backend in list(account.items()):
                if poll.region in (None, region) and poll.queue in backend.queues:
                    return backend.queues[poll.queue]
        return None
