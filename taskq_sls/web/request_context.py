"""What a route is given: the app, its services, who calls, and until when."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from typing import Annotated, Any, NamedTuple

from fastapi import Depends, Request

from ..client.app import App
from ..client.services import Services
from .auth import Principal, Scope
from .limits import WAIT_MARGIN_SECONDS
from .problems import ProblemError, documented

SESSION_ROLE = re.compile(r"(arn:[^:]+:sts::[^:]*:assumed-role/[^/]+)/.+")
"""A role as one of its sessions calls. The name of a session changes with the machine, the caller stays the same."""


class RequestContext(NamedTuple):
    """One request.

    Args:
        deadline: epoch seconds by which it must be answered.
        prefix: what the front puts before all paths, such as ``/prod``.
    """

    app: App
    services: Services
    principal: Principal
    deadline: float
    prefix: str = ""

    @property
    def now(self) -> float:
        """Epoch seconds."""
        return self.app.clock.time()

    def caller_digest(self, *more: str) -> str:
        """A digest of who calls, in hex: their ids live in a space of their own, where no other caller's get."""
        by_role = SESSION_ROLE.fullmatch(self.principal.name)
        name = by_role[1] if by_role and self.principal.by == "iam" else self.principal.name
        kind = "iam" if self.principal.by == "iam" else "token"
        return hashlib.sha256(
            json.dumps([self.app.name, kind, name, *more], separators=(",", ":")).encode()
        ).hexdigest()

    @property
    def patience(self) -> float:
        """Seconds that may be spent waiting, 0 or more."""
        return max(0.0, self.deadline - self.now - WAIT_MARGIN_SECONDS)


async def _call(request: Request) -> RequestContext:
    app: App = request.app.state.taskq
    _check_query(request)
    scope = request.scope
    services = await app.services.on_loop()
    return RequestContext(
        app, services, scope["taskq.principal"], scope["taskq.deadline"], scope.get("taskq.prefix", "")
    )


def _check_query(request: Request) -> None:
    """A filter that is misspelt must not show everything."""
    known = [parameter.alias for parameter in request.scope["route"].dependant.query_params]
    for name in request.query_params:
        # A signature may be part of the address.
        if name not in known and not name.lower().startswith("x-amz-"):
            takes = f"takes {', '.join(known)}" if known else "takes nothing"
            raise ProblemError("invalid", f"query.{name:.80}: is not known; the query {takes}")


Context = Annotated[RequestContext, Depends(_call)]
"""The annotation of a route's parameter that gets the call."""

BODY = ("too-large", "unsupported-media-type")
"""Problems of routes that take a body."""

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
"""Problems that every route can answer with."""

OUTSIDE = ("aws", "unavailable", "not-configured")
"""Problems of routes that talk to AWS."""


def allowed(scope: Scope, *kinds: str, aws: bool = True) -> dict[str, Any]:
    """Arguments of a route for callers that have `scope`.

    Args:
        kinds: problems that it can answer with, beside those that every route has.
        aws: whether it talks to AWS.
    """
    everything = (*EVERYWHERE, *(OUTSIDE if aws else ()), *kinds)
    return {
        "dependencies": [Depends(needs(scope))],
        "responses": documented(everything),
        "openapi_extra": {"security": [{"token": [scope]}, {"iam": []}]},
    }


def needs(scope: Scope) -> Callable[[Request], None]:
    """A dependency that refuses callers without `scope`."""

    def check(request: Request) -> None:
        principal: Principal = request.scope["taskq.principal"]
        if scope not in principal.scopes:
            has = ", ".join(sorted(principal.scopes))
            raise ProblemError("missing-scope", f"it needs the scope {scope}; {principal.name} has {has}")

    check.__name__ = f"needs_{scope}"
    return check
