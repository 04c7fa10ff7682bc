"""Sessions of the dashboard: a signed cookie for each login, and a list in the table of those that were logged out.

The cookie holds the session's id and end. itsdangerous signs it with a random key of the day, which the first login of
the day stores in the table (as a lock), and with the token's name and hash as salt. So a session ends with its time, with
its token, or when the token changes, and a forger needs both the function's configuration and the table.

Starlette's SessionMiddleware cannot do this: it has one key, fixed at start, reads the wall clock, sends the same cookie
attributes on every host, and cannot end a session before its time.
"""

from __future__ import annotations

import hashlib
import ipaddress
import logging
import secrets
from collections.abc import Callable, Sequence
from typing import NamedTuple

from itsdangerous import BadData, URLSafeSerializer
from starlette.requests import HTTPConnection
from starlette.responses import Response

from ...client.app import App
from ...core.times import DAY
from ...errors import TaskQError
from ...results.records import KeyLock
from ..auth import Authenticator, Principal, Token

logger = logging.getLogger("taskq_sls.web")

LIFETIME_SECONDS = 8 * 3600
"""Seconds after which a new login is needed."""

KEY_SPACE = "http:session-key"
"""Stands in for the task name in the locks that hold the keys of days."""

ENDED_SPACE = "http:session-ended"
"""The same for the locks that hold the ids of sessions that were logged out."""

PLAIN, SECURE = "taskq_session", "__Host-taskq_session"
"""Names of the cookie. Browsers accept a ``__Host-`` cookie only over HTTPS and from the site itself."""


class Session(NamedTuple):
    """A session with a verified cookie. `ends` is in epoch seconds."""

    id: str
    ends: int
    token: Token


class Sessions:
    """Makes and reads the cookies of one API.

    Args:
        now: returns epoch seconds.
    """

    def __init__(self, app: App, authenticator: Authenticator, now: Callable[[], float]) -> None:
        self._app = app
        self._authenticator = authenticator
        self._now = now
        self._keys: dict[int, str] = {}

    async def begin(self, connection: HTTPConnection, answer: Response, token: Token) -> None:
        """Log in the holder of `token`.

        Raises:
            TaskQError: the table, which holds the key, cannot be reached.
        """
        now = self._now()
        cookie = _serializer(token, [await self._key(_day(now))]).dumps(
            [secrets.token_hex(16), int(now) + LIFETIME_SECONDS]
        )
        assert isinstance(cookie, str)
        _set_cookie(connection, answer, cookie, LIFETIME_SECONDS)

    async def end(self, connection: HTTPConnection, answer: Response) -> None:
        """Log out: remove the cookie from the browser, and refuse copies of it.

        Raises:
            TaskQError: the table cannot be reached, so copies of the cookie work until the session's end.
        """
        _set_cookie(connection, answer, "", 0)
        if (session := await self._read(connection)) is not None:
            await self._lock(ENDED_SPACE, session.id, ENDED_SPACE, session.ends)

    async def principal(self, connection: HTTPConnection) -> Principal | None:
        """Return the caller if the request has a valid session and no Authorization header."""
        if "authorization" in connection.headers:
            return None
        try:
            if (session := await self._read(connection)) is None:
                return None
            services = await self._app.services.on_loop()
            # The only operation on a lock that reports whether the lock exists.
            if await services.results.confirm_key(ENDED_SPACE, session.id, ENDED_SPACE):
                return None
        except TaskQError as error:
            logger.warning("a session cannot be checked now: %s", error, extra={"action": "session_fault"})
            return None
        return Principal(session.token.name, session.token.scopes, "cookie")

    async def _read(self, connection: HTTPConnection) -> Session | None:
        cookie = connection.cookies.get(_cookie_name(connection))
        tokens, now = self._authenticator.accepted_tokens(), self._now()
        if not cookie or not tokens:
            return None
        # A session that has not ended began today, or yesterday within its lifetime.
        keys = [await self._key(day) for day in sorted({_day(now - LIFETIME_SECONDS), _day(now)})]
        for token in tokens:
            try:
                id, ends = _serializer(token, keys).loads(cookie)
            except BadData:
                continue
            return Session(id, ends, token) if now < ends else None
        return None

    async def _key(self, day: int) -> str:
        """Return the key of a day, which the first container that needs it makes for all."""
        if day not in self._keys:
            name, ends = f"{self._app.name}:{day}", int((day + 1) * DAY) + LIFETIME_SECONDS
            stored = await self._lock(KEY_SPACE, name, secrets.token_hex(32), ends)
            if len(self._keys) > 2:  # days that are over
                self._keys.clear()
            self._keys[day] = stored.id
        return self._keys[day]

    async def _lock(self, space: str, key: str, id: str, ends: int) -> KeyLock:
        services = await self._app.services.on_loop()
        return await services.results.lock_key(
            KeyLock(
                task=space,
                key=key,
                id=id,
                queue=next(iter(self._app.queues)),
                locked_at=self._now(),
                ttl=ends,
                confirmed=True,
            )
        )


def _serializer(token: Token, keys: Sequence[str]) -> URLSafeSerializer:
    return URLSafeSerializer(
        keys,
        salt=f"{token.name}|{token.digest.hex()}",
        signer_kwargs={"key_derivation": "hmac", "digest_method": hashlib.sha256},
    )


def _day(time: float) -> int:
    return int(time // DAY)


def _set_cookie(connection: HTTPConnection, answer: Response, value: str, seconds: int) -> None:
    secure = not _is_loopback(connection)
    name = _cookie_name(connection)
    answer.set_cookie(name, value, max_age=seconds, httponly=True, secure=secure, samesite="strict")


def _cookie_name(connection: HTTPConnection) -> str:
    return PLAIN if _is_loopback(connection) else SECURE


def _is_loopback(connection: HTTPConnection) -> bool:
    """True if the browser runs on the same machine, where there is no HTTPS."""
    host = connection.url.hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
