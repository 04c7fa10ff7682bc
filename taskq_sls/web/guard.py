"""What every request passes before a route sees it: time limit, size limit, origin, and the authenticator."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, MutableMapping
from typing import Any, Protocol
from urllib.parse import urlsplit

from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .auth import Authenticator, Principal
from .limits import LAMBDA_MARGIN_SECONDS, MAX_ANONYMOUS_REQUEST_BYTES, MAX_REQUEST_BYTES, MAX_REQUEST_SECONDS
from .problems import ProblemError

logger = logging.getLogger("taskq_sls.web")

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})

HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""Of every answer that does not set them itself, as a page does."""

TOO_SLOW = (
    "it had {seconds:.0f} s: AWS did not answer, or it asked for too much at a time. A change may have been made all the "
    "same; a task that has an id or an Idempotency-Key can be sent again safely"
)

HTTPS_ONLY = "max-age=31536000"

ANONYMOUS = Principal("nobody", frozenset(), "cookie")
"""Who asks what is open to all: by a browser, as far as anybody can tell."""


class BrowserLogin(Protocol):
    """Another way in, for people."""

    def is_public(self, connection: HTTPConnection) -> bool:
        """Whether anybody may ask this. What changes something is still refused to other sites."""

    async def principal(self, connection: HTTPConnection) -> Principal | None:
        """Who calls, where they came in by this login."""

    def page_for(self, connection: HTTPConnection, problem: ProblemError) -> Response | None:
        """What to answer to a browser in place of a problem document."""


class RequestGuard:
    """The outermost layer of the API.

    Args:
        now: epoch seconds.
        public: paths that anybody may ask.
        origins: other origins than the API's own from which browsers may change things, such as
            ``https://tasks.example.com`` where a proxy has another name.
        login: of the pages.
    """

    def __init__(
        self,
        app: ASGIApp,
        authenticator: Authenticator,
        now: Callable[[], float],
        public: Collection[str],
        origins: Collection[str] = (),
        login: BrowserLogin | None = None,
    ) -> None:
        self._app = app
        self._authenticator = authenticator
        self._now = now
        self._public = frozenset(public)
        self._origins = frozenset(origins)
        self._login = login

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        answer = _Answer(scope, send, silent=scope["method"] == "HEAD")
        if scope["method"] == "HEAD":
            scope["method"] = "GET"  # the same, with the headers alone
        seconds = seconds_left(scope)
        scope["taskq.deadline"] = self._now() + seconds
        try:
            async with asyncio.timeout(seconds):
                connection = HTTPConnection(scope)
                _check_host(connection)
                await self._admit(connection)
                most = MAX_REQUEST_BYTES if "taskq.principal" in scope else MAX_ANONYMOUS_REQUEST_BYTES
                _check_size(connection, most)
                await self._app(scope, _limited(receive, most), answer.send)
        except ProblemError as error:
            await answer.replace(self._response(scope, error))
        except TimeoutError:
            logger.error("%s request took too long", scope["method"], extra={"action": "request_too_slow"})
            problem = ProblemError("too-slow", TOO_SLOW.format(seconds=seconds), headers={"Retry-After": "1"})
            await answer.replace(self._response(scope, problem))
        except Exception:
            # Not the path: it may hold what a caller calls a task.
            logger.exception("%s request failed", scope["method"], extra={"action": "request_failed"})
            problem = ProblemError("internal", "the log of this function tells what")
            await answer.replace(self._response(scope, problem))

    def _response(self, scope: Scope, problem: ProblemError) -> Response:
        page = None if self._login is None else self._login.page_for(HTTPConnection(scope), problem)
        return problem.response() if page is None else page

    async def _admit(self, connection: HTTPConnection) -> None:
        scope, login = connection.scope, self._login
        if scope["path"] in self._public and scope["method"] in SAFE:
            return
        if login is not None and login.is_public(connection):
            if scope["method"] not in SAFE:
                self._check_origin(connection, ANONYMOUS)
            return
        principal = None if login is None else await login.principal(connection)
        if principal is None:
            principal = self._authenticator.principal(connection)
        if scope["method"] not in SAFE:
            self._check_origin(connection, principal)
        scope["taskq.principal"] = principal

    def _check_origin(self, connection: HTTPConnection, principal: Principal) -> None:
        """Keep other sites from using what a browser sends by itself: cookies, or a proxy that signs for its users.

        Browsers say where a request comes from. Programs do not, and do not have to, unless they use the cookie.
        """
        headers = connection.headers
        origin, site = headers.get("origin"), headers.get("sec-fetch-site")
        if origin is not None and origin in self._origins:
            return
        if origin is not None and (origin == "null" or _host_of(origin) != headers.get("host")):
            raise ProblemError("cross-site", f"it came from {origin!r:.100}; origins=[...] may allow it")
        if site not in (None, "same-origin", "none"):
            raise ProblemError("cross-site", "the browser says that another site sent it")
        if principal.by == "cookie" and origin is None and site is None:
            raise ProblemError(
                "cross-site", "a request with the cookie must say its Origin; programs use a bearer token"
            )


class _Answer:
    """What is sent back, with the headers that every answer has."""

    def __init__(self, scope: Scope, send: Send, *, silent: bool = False) -> None:
        self._scope = scope
        self._send = send
        self._silent = silent
        self._started = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._started = True
            headers = MutableHeaders(raw=message.setdefault("headers", []))
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
            if self._scope.get("scheme") == "https":
                headers.setdefault("Strict-Transport-Security", HTTPS_ONLY)
            message["headers"] = headers.raw
        elif self._silent:
            message = {**message, "body": b""}
        await self._send(message)

    async def replace(self, response: Response) -> None:
        """Answer with this, unless an answer has begun."""
        if not self._started:
            await response(self._scope, _nothing, self.send)


def seconds_left(scope: MutableMapping[str, Any]) -> float:
    """Seconds for this request, within those of the Lambda function that it runs in."""
    remaining = getattr(scope.get("aws.context"), "get_remaining_time_in_millis", None)
    if remaining is None:
        return MAX_REQUEST_SECONDS
    return max(0.1, min(MAX_REQUEST_SECONDS, float(remaining()) / 1000 - LAMBDA_MARGIN_SECONDS))


def _check_host(connection: HTTPConnection) -> None:
    try:
        _ = connection.url.hostname
    except ValueError:
        raise ProblemError("bad-request", "the Host header names no host") from None


def _host_of(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return None


def _check_size(connection: HTTPConnection, most: int) -> None:
    text = connection.headers.get("content-length", "")
    if text.isascii() and text.isdigit() and (len(text) > 12 or int(text) > most):
        raise _too_large(most)


def _limited(receive: Receive, most: int) -> Receive:
    """Stop reading a body that turns out longer than it may be."""
    total = 0

    async def receive_some() -> Message:
        nonlocal total
        message = await receive()
        total += len(message.get("body", b""))
        if total > most:
            raise _too_large(most)
        return message

    return receive_some


def _too_large(most: int) -> ProblemError:
    return ProblemError("too-large", f"the body is above {most:,} bytes; send several requests")


async def _nothing() -> Message:
    return {"type": "http.disconnect"}
