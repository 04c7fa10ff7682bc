"""The ASGI app of a TaskQ: routers by noun, behind the front."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI

from ..client.app import App
from ..core.version import __version__
from .auth import Authenticator, Scope, Token
from .auth.authenticator import Mode
from .errors import add_error_handlers
from .guard import RequestGuard
from .openapi import describe
from .pages import add_pages
from .routes import ROUTERS
from .routes.health import PATH as HEALTH
from .routes.tasks import LongPolls

DESCRIPTION = """Tasks, queues, schedules and dead letters of one app.

Errors are problem documents (RFC 9457), told apart by their `type`. Times are ISO 8601 with their zone; durations are
seconds."""

Api = FastAPI
"""What `create_api` returns."""


def create_api(
    app: App,
    *,
    auth: Mode | Sequence[Mode] | None = None,
    tokens: Mapping[str, Any] | Sequence[Token] | None = None,
    iam_scopes: Sequence[Scope] | None = None,
    origins: Sequence[str] = (),
    pages: bool = True,
) -> FastAPI:
    """The HTTP API of an app, as an ASGI app.

    Args:
        auth: ``tokens``, or ``iam`` where a front (a Function URL or API Gateway with AWS_IAM) knows the callers, or
            both. Default: the environment's TASKQ_API_AUTH, else ``tokens`` where there are some.
        tokens: what TASKQ_API_TOKENS holds otherwise: ``{"ci": {"hash": "sha256:...", "scopes": ["enqueue"]}}``.
        iam_scopes: what callers known by IAM may do. Default: everything; which of them may call is IAM's to say.
        origins: other origins from which browsers may change things, such as ``https://tasks.example.com``.
        pages: whether the dashboard is there too.

    Raises:
        ConfigError: no authentication is configured, or something is malformed.
    """

    def now() -> float:
        return app.clock.time()  # a test may put another clock in its place

    authenticator = Authenticator.load(now, auth, tokens, iam_scopes)
    _ = app.settings  # what is wrong with the environment is said now, and not to a caller
    api = FastAPI(
        title=f"Tasks of {app.name}",
        version=__version__,
        description=DESCRIPTION,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    api.state.taskq = app
    api.state.long_polls = LongPolls()
    for router in ROUTERS:
        api.include_router(router)
    add_error_handlers(api)
    login = add_pages(api, authenticator, now) if pages else None
    api.add_middleware(
        RequestGuard, authenticator=authenticator, now=now, public=(HEALTH,), origins=tuple(origins), login=login
    )
    describe(api)
    return api
