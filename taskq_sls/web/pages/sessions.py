"""Sessions of the dashboard: a signed cookie. The table holds only the sessions that were ended before their time.

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

from ...client.app import App
from ...core.lifetimes import DAY
from ...errors import TaskQError
from ...results.records import KeyLock
from ..auth import Authenticator, Principal, Token

logger = logging.getLogger("taskq_sls.web")

LIFETIME_SECONDS = 8 * 3600
"""Seconds after which one has to log in again."""

SPACE = "http:session-key"
"""In place of the name of a task, in whose space the lock counts that holds a day's key."""

ENDED = "http:session-ended"
"""The same for the locks that hold sessions of which somebody has logged out, by the hash of their signature."""

PLAIN, SECURE = "taskq_session", "__Host-taskq_session"
"""The cookie's name; browsers take one that begins with ``__Host-`` from the site itself alone, over HTTPS."""


class Sessions:
    """Makes and reads the cookies of one API.

    Args:
        now: epoch seconds.
    """

    def __init__(self, app: App, authenticator: Authenticator, now: Callable[[], float]) -> None:
        self._app = app
        self._authenticator = authenticator
        self._now = now
        self._keys: dict[int, bytes] = {}

    async def begin(self, connection: HTTPConnection, answer: Response, token: Token) -> None:
        """Log the holder of `token` in.

        Raises:
            TaskQError: the table, which holds the key, cannot be reached.
        """
        ends = int(self._now()) + LIFETIME_SECONDS
        nonce = secrets.token_hex(8)  # a login after a logout in the same second is another session
        text = f"{token.name}|{ends}|{nonce}|{await self._signature(token, ends, nonce)}"
        self._set(connection, answer, base64.urlsafe_b64encode(text.encode()).decode(), LIFETIME_SECONDS)

    async def end(self, connection: HTTPConnection, answer: Response) -> None:
        """Log out: the browser forgets the cookie, and a copy of it is valid no more.

        Raises:
            TaskQError: the table cannot be reached, so that a copy stays valid until its time is over.
        """
        self._set(connection, answer, "", 0)
        cookie = connection.cookies.get(_name(connection), "")
        if (parts := _parts(cookie)) is None or await self._token_of(parts) is None:
            return
        services = await self._app.services.on_loop()
        queue = next(iter(self._app.queues))
        await services.results.lock_key(KeyLock(ENDED, _key_of(parts), ENDED, queue, self._now(), parts[1], True))

    async def principal(self, connection: HTTPConnection) -> Principal | None:
        """Who has logged in, if somebody has."""
        cookie = connection.cookies.get(_name(connection))
        if cookie is None or "authorization" in connection.headers or (parts := _parts(cookie)) is None:
            return None
        try:
            token = await self._token_of(parts)
            if token is None:
                return None
            services = await self._app.services.on_loop()
            # The one operation on a lock that answers whether it is there.
            if await services.results.confirm_key(ENDED, _key_of(parts), ENDED):
                return None
        except TaskQError as error:
            logger.warning("a session cannot be checked now: %s", error, extra={"action": "session_fault"})
            return None
        return Principal(token.name, token.scopes, "cookie")

    async def _token_of(self, parts: tuple[str, int, str, str]) -> Token | None:
        """The token that a cookie was made for, if its signature is ours and its time is not over."""
        (name, ends, nonce, signature), now = parts, self._now()
        token = self._authenticator.token_named(name)
        if token is None or not now < ends <= now + LIFETIME_SECONDS:
            return None
        expected = await self._signature(token, ends, nonce)
        return token if hmac.compare_digest(expected.encode(), signature.encode()) else None

    async def _signature(self, token: Token, ends: int, nonce: str) -> str:
        key = await self._key(int(ends - LIFETIME_SECONDS) // int(DAY))
        text = f"{self._app.name}|{token.name}|{ends}|{nonce}|{token.digest.hex()}"
        return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()

    async def _key(self, day: int) -> bytes:
        """The key of a day; one that somebody else has made before is taken over."""
        if day not in self._keys:
            services = await self._app.services.on_loop()
            queue = next(iter(self._app.queues))
            ttl = (day + 1) * DAY + LIFETIME_SECONDS
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


def _parts(cookie: str) -> tuple[str, int, str, str] | None:
    """Name of the token, end, nonce and signature of a cookie that anybody may have written."""
    try:
        text = base64.b64decode(cookie.encode("ascii"), b"-_", validate=True).decode("ascii")
    except (UnicodeError, binascii.Error):
        return None
    name, _, rest = text.partition("|")
    ends, _, rest = rest.partition("|")
    nonce, _, signature = rest.partition("|")
    return (name, int(ends), nonce, signature) if ends.isdigit() and len(ends) < 12 else None


def _key_of(parts: tuple[str, int, str, str]) -> str:
    """The key of an ended session. Not made of the cookie's text: the same session can be written in several ways."""
    return hashlib.sha256(parts[3].encode()).hexdigest()


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
