"""The gate: every request is somebody's, or goes no further."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, get_args

from starlette.requests import HTTPConnection

from ...errors import ConfigError
from ..problems import ProblemError
from .login_limiter import MAX_FAILURES, LoginLimiter
from .tokens import EXAMPLE, SCOPES, VARIABLE, Scope, Token, find_token, read_scopes, read_tokens

Mode = Literal["iam", "tokens"]

MODES = "TASKQ_API_AUTH"

COOKIE = "taskq_token"
"""A cookie that may carry the token, for pages: HttpOnly, Secure, SameSite=Strict."""

CLOSED = (
    "the HTTP API has no authentication configured, and is never open: make a token with `taskq api-token new --scopes "
    f"read,enqueue` and put its entry in {VARIABLE} (JSON: {EXAMPLE}), or say {MODES}=iam (auth='iam') where a Function "
    "URL or API Gateway with AWS_IAM stands in front"
)


class Principal(NamedTuple):
    """Who calls.

    Args:
        name: of the token, or the ARN of the IAM user or role.
        by: what carried the credentials. A browser sends ``cookie`` by itself.
    """

    name: str
    scopes: frozenset[Scope]
    by: Literal["token", "cookie", "iam"]


class Authenticator:
    """Finds out who calls.

    Args:
        now: epoch seconds.
        modes: ``iam`` believes what the front of a Lambda function says about the caller, and only that: without an
            identity in the event there is none, should the front have been left open. ``tokens`` takes bearer tokens.
        iam_scopes: what callers known by IAM may do.
    """

    def __init__(
        self, now: Callable[[], float], modes: frozenset[Mode], tokens: Sequence[Token], iam_scopes: frozenset[Scope]
    ) -> None:
        self._now = now
        self.modes = modes
        self._tokens = tuple(tokens)
        self._iam_scopes = iam_scopes
        self._failures = LoginLimiter()

    @classmethod
    def load(
        cls,
        now: Callable[[], float],
        auth: Mode | Sequence[Mode] | None,
        tokens: Mapping[str, Any] | Sequence[Token] | None,
        iam_scopes: Sequence[Scope] | None,
    ) -> Authenticator:
        """A gate as configured: arguments first, then the environment.

        Raises:
            ConfigError: nothing is configured, or something is malformed.
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
                f"auth has 'tokens', and there is none: `taskq api-token new --scopes read,enqueue` makes one for {VARIABLE}"
            )
        scopes = read_scopes("iam_scopes", SCOPES if iam_scopes is None else list(iam_scopes))
        return cls(now, modes, known if "tokens" in modes else (), scopes)

    def principal(self, connection: HTTPConnection) -> Principal:
        """Who calls.

        Raises:
            ProblemError: nobody that is known, or wrong credentials came too often from there.
        """
        if "iam" in self.modes and (arn := iam_identity(connection.scope.get("aws.event"))) is not None:
            return Principal(arn, self._iam_scopes, "iam")
        if "tokens" not in self.modes:
            raise _unauthorized("this API is called with IAM credentials, by way of its front")
        given, by = _credentials(connection)
        if given is None:
            raise _unauthorized("give a token: Authorization: Bearer tq_...")
        token = self.token_of(connection, given)
        return Principal(token.name, token.scopes, by)

    def token_of(self, connection: HTTPConnection, given: str) -> Token:
        """The token that a caller gives.

        Raises:
            ProblemError: it is none that is accepted, or wrong ones came too often from there.
        """
        now, source = self._now(), source_of(connection)
        wait = self._failures.wait(source, now)
        if wait is not None:
            raise ProblemError(
                "too-many-failures",
                f"{MAX_FAILURES} wrong tokens came from this address",
                headers={"Retry-After": str(max(1, round(wait)))},
            )
        token = find_token(self._tokens, given, now)
        if token is None:
            self._failures.note(source, now)
            raise _unauthorized("the token is not valid, or not any more")
        return token

    def token_named(self, name: str) -> Token | None:
        """The token of that name, if it is accepted now."""
        now = self._now()
        return next(
            (token for token in self._tokens if token.name == name and (token.expires is None or token.expires > now)),
            None,
        )


def iam_identity(event: Any) -> str | None:
    """The ARN of the caller that the front of a Lambda function has verified; None where it has verified nobody.

    Function URLs and HTTP APIs with AWS_IAM tell it in the authorizer, REST APIs in the identity.
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
    """The address that a request came from."""
    event = connection.scope.get("aws.event")
    context = event.get("requestContext") if isinstance(event, Mapping) else None
    if isinstance(context, Mapping) and "elb" in context:
        # The load balancer writes the last one; those before it are the client's own words.
        return ",".join(connection.headers.getlist("x-forwarded-for")).rpartition(",")[2].strip()
    return connection.client.host if connection.client is not None and connection.client.host else ""


def _credentials(connection: HTTPConnection) -> tuple[str | None, Literal["token", "cookie"]]:
    kind, _, rest = connection.headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer" and rest.strip():
        return rest.strip(), "token"
    return connection.cookies.get(COOKIE) or None, "cookie"


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
    for mode in given:
        if mode not in modes:
            raise ConfigError(f"auth={mode!r:.40} ({MODES}): use iam, tokens, or both")
    return frozenset(modes[mode] for mode in given)
