"""Checks every request before a route sees it: time limit, size limit, origin, credentials."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, MutableMapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .auth import Authenticator, Principal
from .limits import LAMBDA_MARGIN_SECONDS, MAX_ANONYMOUS_REQUEST_BYTES, MAX_REQUEST_BYTES, MAX_REQUEST_SECONDS
from .problems import SEE_LOG, ProblemError

if TYPE_CHECKING:
    from .pages.routes import Dashboard

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
"""Headers of every answer that does not set them itself, as pages do."""

TOO_SLOW = (
    "it was stopped after {seconds:.0f} s: AWS did not answer, or it asked for too much at a time. A change may have "
    "been made; a task with an id or an Idempotency-Key can be sent again safely"
)

HTTPS_ONLY = "max-age=31536000"

ANONYMOUS = Principal("nobody", frozenset(), "cookie")
"""The caller of a public path. It counts as a browser, so its changes need an origin."""


class RequestGuard:
    """The outermost middleware of the API.

    Args:
        now: returns epoch seconds.
        public: paths that need no credentials.
        origins: origins beside the API's own from which browsers may make changes, such as
            ``https://tasks.example.com`` if a proxy has another name.
        dashboard: the pages, for their login.
    """

    def __init__(
        self,
        app: ASGIApp,
        authenticator: Authenticator,
        now: Callable[[], float],
        public: Collection[str],
        origins: Collection[str] = (),
        dashboard: Dashboard | None = None,
    ) -> None:
        self._app = app
        self._authenticator = authenticator
        self._now = now
        self._public = frozenset(public)
        self._origins = frozenset(origins)
        self._dashboard = dashboard

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        answer = _Answer(scope, send, silent=scope["method"] == "HEAD")
        if scope["method"] == "HEAD":
            scope["method"] = "GET"  # the body is dropped by _Answer
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
            # Without the path: it may hold an id or a name of the caller.
            logger.exception("%s request failed", scope["method"], extra={"action": "request_failed"})
            problem = ProblemError("internal", SEE_LOG)
            await answer.replace(self._response(scope, problem))

    def _response(self, scope: Scope, problem: ProblemError) -> Response:
        page = None if self._dashboard is None else self._dashboard.page_for(HTTPConnection(scope), problem)
        return problem.response() if page is None else page

    async def _admit(self, connection: HTTPConnection) -> None:
        scope, dashboard = connection.scope, self._dashboard
        if scope["path"] in self._public and scope["method"] in SAFE:
            return
        if dashboard is not None and dashboard.is_public(connection):
            if scope["method"] not in SAFE:
                self._check_origin(connection, ANONYMOUS)
            return
        principal = None if dashboard is None else await dashboard.principal(connection)
        if principal is None:
            principal = self._authenticator.principal(connection)
        if scope["method"] not in SAFE:
            self._check_origin(connection, principal)
        scope["taskq.principal"] = principal

    def _check_origin(self, connection: HTTPConnection, principal: Principal) -> None:
        """Refuse changes that another site sends with a browser's cookies, or through a proxy that signs for its users.

        Browsers send the origin of a request. Programs need to send it only with a session cookie.
        """
        headers = connection.headers
        origin, site = headers.get("origin"), headers.get("sec-fetch-site")
        if origin is not None and origin in self._origins:
            return
        if origin is not None and (origin == "null" or _host_of(origin) != headers.get("host")):
            raise ProblemError("cross-site", f"its origin is {origin!r:.100}; origins=[...] of the API can allow it")
        if site not in (None, "same-origin", "none"):
            raise ProblemError("cross-site", "the browser marked it as sent by another site")
        if principal.by == "cookie" and origin is None and site is None:
            raise ProblemError(
                "cross-site", "a request with the cookie must have an Origin; programs use a bearer token"
            )


class _Answer:
    """Sends the answer with the headers of :data:`HEADERS`; without its body if `silent`."""

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
        """Send `response`, unless an answer has begun."""
        if not self._started:
            await response(self._scope, _no_body, self.send)


def seconds_left(scope: MutableMapping[str, Any]) -> float:
    """Return the seconds for this request: at most those that the Lambda function has left."""
    remaining = getattr(scope.get("aws.context"), "get_remaining_time_in_millis", None)
    if remaining is None:
        return MAX_REQUEST_SECONDS
    return max(0.1, min(MAX_REQUEST_SECONDS, float(remaining()) / 1000 - LAMBDA_MARGIN_SECONDS))


def _check_host(connection: HTTPConnection) -> None:
    try:
        _ = connection.url.hostname
    except ValueError:
        raise ProblemError("bad-request", "the Host header is not a host name") from None


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
    """Wrap `receive`: raise once a body is longer than `most` bytes."""
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
    return ProblemError("too-large", f"the body is above {most:,} bytes; split it into several requests")


async def _no_body() -> Message:
    return {"type": "http.disconnect"}
