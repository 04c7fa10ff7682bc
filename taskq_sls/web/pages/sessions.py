"""Who has logged in: a signed cookie, and nothing that the server remembers of it.

The cookie names the token that was given, never the token itself, and when it ends. It is signed with a random key, of
which the table holds one for each day (as a lock, which the first login of the day makes), and with the token's hash.
So a session ends with its time, with its token, or when the token is changed; and neither the function's configuration
alone nor the table alone is enough to make one.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import ipaddress
import logging
import secrets
from collections.abc import Callable

from starlette.requests import HTTPConnection
from starlette.responses import Response

from ...app import TaskQ
from ...errors import TaskQError
from ...results.records import DAY, KeyLock
from ..auth import Gate, Principal, Token

logger = logging.getLogger("taskq_sls.web")

LIFETIME = 8 * 3600
"""Seconds after which one has to log in again."""

SPACE = "http:session-key"
"""In place of the name of a task, in whose space the lock counts that holds a day's key."""

PLAIN, SECURE = "taskq_session", "__Host-taskq_session"
"""The cookie's name; browsers take one that begins with ``__Host-`` from the site itself alone, over HTTPS."""


class Sessions:
    """Makes and reads the cookies of one API.

    Args:
        now: epoch seconds.
    """

    def __init__(self, app: TaskQ, gate: Gate, now: Callable[[], float]) -> None:
        self._app = app
        self._gate = gate
        self._now = now
        self._keys: dict[int, bytes] = {}

    async def begin(self, connection: HTTPConnection, answer: Response, token: Token) -> None:
        """Log the holder of `token` in.

        Raises:
            TaskQError: the table, which holds the key, cannot be reached.
        """
        ends = int(self._now()) + LIFETIME
        text = f"{token.name}|{ends}|{await self._signature(token, ends)}"
        self._set(connection, answer, base64.urlsafe_b64encode(text.encode()).decode(), LIFETIME)

    def end(self, connection: HTTPConnection, answer: Response) -> None:
        """Log out."""
        self._set(connection, answer, "", 0)

    async def principal(self, connection: HTTPConnection) -> Principal | None:
        """Who has logged in, if somebody has."""
        cookie = connection.cookies.get(_name(connection))
        if cookie is None or "authorization" in connection.headers or (parts := _parts(cookie)) is None:
            return None
        (name, ends, signature), now = parts, self._now()
        token = self._gate.token_named(name)
        if token is None or not now < ends <= now + LIFETIME:
            return None
        try:
            expected = await self._signature(token, ends)
        except TaskQError as error:
            logger.warning("a session cannot be checked now: %s", error, extra={"action": "session_fault"})
            return None
        if not hmac.compare_digest(expected.encode(), signature.encode()):
            return None
        return Principal(token.name, token.scopes, "cookie")

    async def _signature(self, token: Token, ends: int) -> str:
        key = await self._key(int(ends - LIFETIME) // int(DAY))
        text = f"{self._app.name}|{token.name}|{ends}|{token.digest.hex()}"
        return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()

    async def _key(self, day: int) -> bytes:
        """The key of a day; one that somebody else has made before is taken over."""
        if day not in self._keys:
            services = await self._app.services.on_loop()
            queue = next(iter(self._app.queues))
            ttl = (day + 1) * DAY + LIFETIME
            wanted = KeyLock(SPACE, f"{self._app.name}:{day}", secrets.token_hex(32), queue, self._now(), ttl, True)
            stands = await services.results.lock_key(wanted)
            if len(self._keys) > 2:
                self._keys.clear()
            self._keys[day] = stands.id.encode()
        return self._keys[day]

    def _set(self, connection: HTTPConnection, answer: Response, value: str, seconds: int) -> None:
        answer.set_cookie(
            _name(connection), value, max_age=seconds, httponly=True, secure=not _local(connection), samesite="strict"
        )


def _parts(cookie: str) -> tuple[str, int, str] | None:
    """Name of the token, end and signature, of a cookie that anybody may have written."""
    try:
        text = base64.b64decode(cookie.encode("ascii"), b"-_", validate=True).decode("ascii")
    except (UnicodeError, binascii.Error):
        return None
    name, _, rest = text.partition("|")
    ends, _, signature = rest.partition("|")
    return (name, int(ends), signature) if ends.isdigit() and len(ends) < 12 else None


def _name(connection: HTTPConnection) -> str:
    return PLAIN if _local(connection) else SECURE


def _local(connection: HTTPConnection) -> bool:
    """Whether the page is served on the browser's own machine, where there is no HTTPS."""
    host = connection.url.hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
