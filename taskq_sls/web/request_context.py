"""Parts of a request that several routes need: its context, the scope of the caller, types of bodies, labels."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Any, NamedTuple

from fastapi import Depends, Request
from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field

from ..client.app import App
from ..client.services import Services
from ..core.redaction import MASK, is_redacted
from .auth import Principal, Scope
from .limits import WAIT_MARGIN_SECONDS
from .problems import ProblemError, documented

SESSION_ROLE = re.compile(r"(arn:[^:]+:sts::[^:]*:assumed-role/[^/]+)/.+")
"""ARN of a role's session. The session's name may change with the machine; the caller is the role."""


class RequestContext(NamedTuple):
    """One request.

    Args:
        deadline: epoch seconds by which it must be answered.
        prefix: the stage or base path before all paths, such as ``/prod``.
    """

    app: App
    services: Services
    principal: Principal
    deadline: float
    prefix: str = ""

    @property
    def now(self) -> float:
        return self.app.clock.time()

    def caller_digest(self, *more: str) -> str:
        """Return a digest of the caller, in hex. Ids made with it cannot collide with those of other callers."""
        by_role = SESSION_ROLE.fullmatch(self.principal.name)
        name = by_role[1] if by_role and self.principal.by == "iam" else self.principal.name
        kind = "iam" if self.principal.by == "iam" else "token"
        return hashlib.sha256(
            json.dumps([self.app.name, kind, name, *more], separators=(",", ":")).encode()
        ).hexdigest()

    @property
    def patience(self) -> float:
        """The seconds that the request may wait, 0 or more."""
        return max(0.0, self.deadline - self.now - WAIT_MARGIN_SECONDS)


async def _context(request: Request) -> RequestContext:
    app: App = request.app.state.taskq
    _check_query(request)
    scope = request.scope
    services = await app.services.on_loop()
    return RequestContext(
        app=app,
        services=services,
        principal=scope["taskq.principal"],
        deadline=scope["taskq.deadline"],
        prefix=scope.get("taskq.prefix", ""),
    )


def _check_query(request: Request) -> None:
    """Refuse unknown parameters: a misspelt filter must not return everything."""
    known = [parameter.alias for parameter in request.scope["route"].dependant.query_params]
    for name in request.query_params:
        # Signature Version 4 may be in the query.
        if name not in known and not name.lower().startswith("x-amz-"):
            allowed_names = f"allowed: {', '.join(known)}" if known else "this path has no query parameters"
            raise ProblemError("invalid", f"query.{name:.80}: unknown parameter; {allowed_names}")


Context = Annotated[RequestContext, Depends(_context)]
"""Annotation of the parameter of a route that gets its :class:`RequestContext`."""

BODY = ("too-large", "unsupported-media-type")
"""Problems of routes with a body."""

EVERYWHERE = (
    "bad-request",
    "unauthorized",
    "missing-scope",
    "invalid",
    "too-many-failures",
    "internal",
    "too-slow",
    "answer-too-large",
)
"""Problems of all routes."""

OUTSIDE = ("aws", "unavailable", "not-configured")
"""Problems of routes that call AWS."""


def allowed(scope: Scope, *kinds: str, aws: bool = True) -> dict[str, Any]:
    """Return the arguments of a route for callers with `scope`.

    Args:
        kinds: problems of this route, beside those of all routes.
        aws: the route calls AWS.
    """
    everything = (*EVERYWHERE, *(OUTSIDE if aws else ()), *kinds)
    return {
        "dependencies": [Depends(needs(scope))],
        "responses": documented(everything),
        "openapi_extra": {"security": [{"token": [scope]}, {"iam": []}]},
    }


def needs(scope: Scope) -> Callable[[Request], None]:
    """Return a dependency that refuses callers without `scope`."""

    def check(request: Request) -> None:
        principal: Principal = request.scope["taskq.principal"]
        if scope not in principal.scopes:
            has = ", ".join(sorted(principal.scopes))
            raise ProblemError("missing-scope", f"this needs the scope {scope}; {principal.name} has {has}")

    check.__name__ = f"needs_{scope}"
    return check


TaskName = Field(examples=["shop.tasks:resize"], max_length=200)


class RequestBody(BaseModel):
    """The body of a request. Unknown fields are refused."""

    # Strict, as the schema says: false is not a number, and 0 not a boolean.
    model_config = ConfigDict(extra="forbid", strict=True)


def _check_text(value: Any) -> Any:
    # pydantic would take a number for seconds of the epoch: 2026 would be a time in 1970.
    if isinstance(value, int | float) or (isinstance(value, str) and value.replace(".", "").strip("+- ").isdigit()):
        raise ValueError("a time is ISO 8601 with its zone, such as 2026-11-22T00:00:00Z")
    return value


Timestamp = Annotated[AwareDatetime, Field(strict=False), BeforeValidator(_check_text)]
"""A time in a request: ISO 8601 with its zone."""


MASKED = f"a value is {MASK!r}, the mask of a redacted one: give the real value"


def read_labels(app: App, given: Sequence[str]) -> dict[str, str]:
    """Read labels of the form ``name=value``.

    Raises:
        ProblemError: a label has another form, or its values are redacted.
    """
    labels = {}
    for label in given:
        name, equals, value = label.partition("=")
        if not equals or not name:
            raise ProblemError("invalid", f"label {label!r:.80} must be name=value")
        labels[name] = value
    check_shown(app, labels)
    return labels


def check_shown(app: App, labels: Iterable[str]) -> None:
    """Refuse filters by redacted labels: a caller could guess their values.

    Raises:
        ProblemError: the values of a label are redacted.
    """
    for name in labels:
        if is_redacted(name, app.log_redaction):
            raise ProblemError("invalid", f"label {name!r:.80} is redacted, so it cannot be a filter")
