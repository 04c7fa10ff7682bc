"""Builds the ASGI app: routes, pages, error handlers, and the guard around them."""

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

Errors are problem documents (RFC 9457); their `type` names the kind. Times are ISO 8601 with a zone; durations are
seconds."""

Api = FastAPI


def create_api(
    app: App,
    *,
    auth: Mode | Sequence[Mode] | None = None,
    tokens: Mapping[str, Any] | Sequence[Token] | None = None,
    iam_scopes: Sequence[Scope] | None = None,
    origins: Sequence[str] = (),
    pages: bool = True,
) -> FastAPI:
    """Return the HTTP API of an app, as an ASGI app.

    Args:
        auth: ``tokens``; ``iam`` if a Function URL or API Gateway with AWS_IAM identifies the callers; or both.
            Default: TASKQ_API_AUTH, else ``tokens`` if there are any.
        tokens: in place of TASKQ_API_TOKENS: ``{"ci": {"hash": "sha256:...", "scopes": ["enqueue"]}}``.
        iam_scopes: scopes of callers identified by IAM. Default: all; IAM decides who may call.
        origins: other origins from which browsers may make changes, such as ``https://tasks.example.com``.
        pages: serve the dashboard too.

    Raises:
        ConfigError: no authentication is configured, or a value is malformed.
    """

    def now() -> float:
        return app.clock.time()  # read each time: a test may replace the clock

    authenticator = Authenticator.load(now, auth, tokens, iam_scopes)
    _ = app.settings  # raises for a wrong environment now, not in a request
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
    dashboard = add_pages(api, authenticator, now) if pages else None
    api.add_middleware(
        RequestGuard,
        authenticator=authenticator,
        now=now,
        public=(HEALTH,),
        origins=tuple(origins),
        dashboard=dashboard,
    )
    describe(api)
    return api
