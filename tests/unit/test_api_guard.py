"""The front of the API: time, size and shape of requests, whatever the routes do."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from taskq_sls.web.auth import Authenticator, Token
from taskq_sls.web.guard import RequestGuard, seconds_left
from taskq_sls.web.limits import MAX_REQUEST_SECONDS


class Context:
    """What Lambda tells a function about its time."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def get_remaining_time_in_millis(self) -> int:
        return int(self._seconds * 1000)


def front(app: Any) -> RequestGuard:
    authenticator = Authenticator(
        lambda: 0.0, frozenset({"tokens"}), [Token("ci", b"", frozenset({"read"}))], frozenset()
    )
    return RequestGuard(app, authenticator, lambda: 0.0, public=["/open"])


async def ask(app: RequestGuard, scope: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(dict(message))

    whole = {"type": "http", "method": "GET", "path": "/open", "headers": [], "scheme": "http", **(scope or {})}
    await app(whole, receive, send)
    return sent


async def test_a_request_that_takes_too_long_is_answered_before_the_function_ends() -> None:
    async def slow(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.Event().wait()

    start, body = await ask(front(slow), {"aws.context": Context(1.1)})

    assert start["status"] == 504
    assert b"urn:taskq:problem:too-slow" in body["body"]


@pytest.mark.parametrize(("remaining", "seconds"), [(300.0, MAX_REQUEST_SECONDS), (11.0, 10.0), (0.5, 0.1)])
def test_the_time_of_a_request_ends_before_that_of_its_function(remaining: float, seconds: float) -> None:
    assert seconds_left({"aws.context": Context(remaining)}) == pytest.approx(seconds)


def test_without_a_function_the_time_is_that_of_an_http_front() -> None:
    assert seconds_left({}) == MAX_REQUEST_SECONDS < 29


async def test_a_fault_is_answered_and_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    async def broken(scope: Any, receive: Any, send: Any) -> None:
        raise RuntimeError("what nobody outside may read")

    start, body = await ask(front(broken))

    assert start["status"] == 500
    assert b"nobody" not in body["body"]
    assert caplog.text.count("RuntimeError: what nobody outside may read") == 1


async def test_an_answer_that_has_begun_is_not_begun_again() -> None:
    async def half(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise RuntimeError("too late")

    sent = await ask(front(half))

    assert [one["type"] for one in sent] == ["http.response.start"]


async def test_headers_that_a_page_sets_itself_are_kept() -> None:
    async def page(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"content-security-policy", b"default-src 'self'")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    start, _ = await ask(front(page))

    headers = dict(start["headers"])
    assert headers[b"content-security-policy"] == b"default-src 'self'"
    assert headers[b"x-frame-options"] == b"DENY"
    assert b"strict-transport-security" not in headers, "over plain HTTP it means nothing"


async def test_what_is_public_is_so_for_looking_only() -> None:
    async def never(scope: Any, receive: Any, send: Any) -> None:
        raise AssertionError

    start, _ = await ask(front(never), {"method": "POST"})

    assert start["status"] == 401


async def test_a_web_socket_is_closed() -> None:
    async def never(scope: Any, receive: Any, send: Any) -> None:
        raise AssertionError

    assert await ask(front(never), {"type": "websocket"}) == [{"type": "websocket.close", "code": 1008}]
