"""Identifies the caller of each request, by a bearer token or by IAM. A request without a known caller is refused."""

from __future__ import annotations

import ipaddress
import os
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, get_args

from starlette.requests import HTTPConnection

from ...errors import ConfigError
from ..problems import ProblemError
from .tokens import EXAMPLE, SCOPES, VARIABLE, Scope, Token, find_token, read_scopes, read_tokens

Mode = Literal["iam", "tokens"]

MODES = "TASKQ_API_AUTH"

CLOSED = (
    "the HTTP API has no authentication configured, and is never open: make a token with `taskq api-token new --scopes "
    f"read,enqueue` and put its entry in {VARIABLE} (JSON: {EXAMPLE}), or set {MODES}=iam (auth='iam') if a Function URL "
    "or API Gateway with AWS_IAM is in front"
)


class Principal(NamedTuple):
    """The caller of a request.

    Args:
        name: of the token, or the ARN of the IAM user or role.
        by: how the credentials came. A browser sends a session's ``cookie`` on its own, so changes need an origin check.
    """

    name: str
    scopes: frozenset[Scope]
    by: Literal["token", "cookie", "iam"]


class Authenticator:
    """Identifies callers.

    Args:
        now: returns epoch seconds.
        modes: ``iam`` reads the identity that the service in front of a Lambda function has verified. If the event has
            none (because that service lets everybody through), the request is refused. ``tokens`` accepts bearer tokens.
        iam_scopes: scopes of callers identified by IAM.
    """

    def __init__(
        self, now: Callable[[], float], modes: frozenset[Mode], tokens: Sequence[Token], iam_scopes: frozenset[Scope]
    ) -> None:
        self._now = now
        self.modes = modes
        self._tokens = tuple(tokens)
        self._iam_scopes = iam_scopes
        self._limiter = LoginLimiter()

    @classmethod
    def load(
        cls,
        now: Callable[[], float],
        auth: Mode | Sequence[Mode] | None,
        tokens: Mapping[str, Any] | Sequence[Token] | None,
        iam_scopes: Sequence[Scope] | None,
    ) -> Authenticator:
        """Configure from the arguments, else from the environment.

        Raises:
            ConfigError: nothing is configured, or a value is malformed.
        """
        if tokens is None:
            known = read_tokens(os.environ.get(VARIABLE) or "{}")
        else:
            known = read_tokens(tokens) if isinstance(tokens, Mapping) else tuple(tokens)
        modes = _modes(auth, bool(known))
        if not modes:
            raise ConfigError(CLOSED)
        if "tokens" in modes and not known:
            raise ConfigError(
                f"auth has 'tokens', but there is none: `taskq api-token new --scopes read,enqueue` makes one for {VARIABLE}"
            )
        scopes = read_scopes("iam_scopes", SCOPES if iam_scopes is None else list(iam_scopes))
        return cls(now, modes, known if "tokens" in modes else (), scopes)

    def principal(self, connection: HTTPConnection) -> Principal:
        """Return the caller.

        Raises:
            ProblemError: the credentials are missing or wrong, or the address sent too many wrong ones.
        """
        if "iam" in self.modes and (arn := iam_identity(connection.scope.get("aws.event"))) is not None:
            return Principal(arn, self._iam_scopes, "iam")
        if "tokens" not in self.modes:
            raise _unauthorized("this API takes IAM credentials, through its Function URL or API Gateway")
        kind, _, given = connection.headers.get("authorization", "").partition(" ")
        if kind.lower() != "bearer" or not given.strip():
            raise _unauthorized("a token is needed: Authorization: Bearer tq_...")
        token = self.check_token(connection, given.strip())
        return Principal(token.name, token.scopes, "token")

    def check_token(self, connection: HTTPConnection, given: str) -> Token:
        """Return the accepted token that `given` is.

        Raises:
            ProblemError: it is not accepted, or the address sent too many wrong tokens.
        """
        now, source = self._now(), source_of(connection)
        wait = self._limiter.wait(source, now)
        if wait is not None:
            raise ProblemError(
                "too-many-failures",
                f"{MAX_FAILURES} wrong tokens came from this address",
                headers={"Retry-After": str(max(1, round(wait)))},
            )
        token = find_token(self._tokens, given, now)
        if token is None:
            self._limiter.note(source, now)
            raise _unauthorized("the token is not valid, or has expired")
        return token

    def accepted_tokens(self) -> list[Token]:
        now = self._now()
        return [token for token in self._tokens if token.expires is None or token.expires > now]


def iam_identity(event: Any) -> str | None:
    """Return the ARN that the service in front of a Lambda function has verified, or None.

    Function URLs and HTTP APIs with AWS_IAM put it in the authorizer, REST APIs in the identity.
    """
    context = event.get("requestContext") if isinstance(event, Mapping) else None
    if not isinstance(context, Mapping) or "elb" in context:
        return None
    authorizer = context.get("authorizer")
    for place in (authorizer.get("iam") if isinstance(authorizer, Mapping) else None, context.get("identity")):
        arn = place.get("userArn") if isinstance(place, Mapping) else None
        if isinstance(arn, str) and arn.startswith("arn:"):
            return arn
    return None


def source_of(connection: HTTPConnection) -> str:
    event = connection.scope.get("aws.event")
    context = event.get("requestContext") if isinstance(event, Mapping) else None
    if isinstance(context, Mapping) and "elb" in context:
        # The load balancer writes only the last entry; the client can put anything before it.
        return ",".join(connection.headers.getlist("x-forwarded-for")).rpartition(",")[2].strip()
    return connection.client.host if connection.client is not None and connection.client.host else ""


def _unauthorized(detail: str) -> ProblemError:
    return ProblemError("unauthorized", detail, headers={"WWW-Authenticate": "Bearer"})


def _modes(auth: Mode | Sequence[Mode] | None, has_tokens: bool) -> frozenset[Mode]:
    given: Sequence[str]
    if auth is not None:
        given = [auth] if isinstance(auth, str) else list(auth)
    elif variable := os.environ.get(MODES):
        given = [mode.strip() for mode in variable.split(",")]
    else:
        given = ["tokens"] if has_tokens else []
    modes: dict[str, Mode] = {mode: mode for mode in get_args(Mode)}
    for name in given:
        if name not in modes:
            raise ConfigError(f"auth={name!r:.40} ({MODES}): use iam, tokens, or both")
    return frozenset(modes[name] for name in given)


MAX_FAILURES = 20
"""Failures of one source within `WINDOW_SECONDS` after which it is refused."""

WINDOW_SECONDS = 60.0

MAX_SOURCES = 4_096
"""Sources that are remembered; the one with the oldest failure is dropped first."""


class LoginLimiter:
    """Counts failures by source, in this process only.

    Each Lambda container counts for itself, so n containers allow n times as many tries. This only stops floods of
    requests; guessing is hopeless anyway, as a token has 256 random bits.
    """

    def __init__(self) -> None:
        self._by_source: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def wait(self, source: str, now: float) -> float | None:
        """Return the seconds until the source may try again, or None if it may now."""
        start, count = self._by_source.get(network(source), (now, 0))
        return start + WINDOW_SECONDS - now if count >= MAX_FAILURES and now < start + WINDOW_SECONDS else None

    def note(self, source: str, now: float) -> None:
        key = network(source)
        start, count = self._by_source.pop(key, (now, 0))
        self._by_source[key] = (now, 1) if now >= start + WINDOW_SECONDS else (start, count + 1)
        while len(self._by_source) > MAX_SOURCES:
            self._by_source.popitem(last=False)


def network(source: str) -> str:
    """Return the addresses that one caller controls: an IPv4 address, or an IPv6 network of 64 bits."""
    try:
        # A load balancer may append the port, which the caller can change with each connection.
        host = re.fullmatch(r"\[(.*)\](:\d+)?|([\d.]+):\d+", source)
        address = ipaddress.ip_address(source if host is None else host[1] or host[3])
    except ValueError:
        return source[:64]
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)
