"""Serves the pages: their paths, the scopes they need, and the login for the guard of the API."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from fastapi import FastAPI
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.routing import Route

from ...client.app import App
from ..auth import Authenticator, Principal, Scope
from ..problems import ProblemError
from ..request_context import RequestContext, needs
from . import dead_letter_actions, dead_letters, overview, schedules, task, tasks
from . import forms as task_actions
from .html import address
from .layout import ASSETS, View, asset, error_page, redirect, rendered, requested_page
from .login import Login
from .sessions import Sessions

Handler = Callable[[RequestContext, Request], Awaitable[View | Response]]
"""Makes a page, or redirects the browser."""


class PageRoute(NamedTuple):
    show: Handler
    scope: Scope = "read"


class ActionRoute(NamedTuple):
    """An action, and the page to return to if it fails."""

    act: Handler
    page: str
    scope: Scope = "admin"


PAGES = {
    "/": PageRoute(overview.show),
    "/tasks": PageRoute(tasks.show),
    "/task": PageRoute(task.show),
    "/schedules": PageRoute(schedules.show),
    "/dead-letters": PageRoute(dead_letters.show),
    "/dead-letter": PageRoute(dead_letters.inspect),
}

ACTIONS = {
    "/cancel": ActionRoute(task_actions.cancel, "tasks"),
    "/retry": ActionRoute(task_actions.retry, "tasks"),
    "/pause": ActionRoute(task_actions.pause, "schedules"),
    "/resume": ActionRoute(task_actions.resume, "schedules"),
    "/redrive": ActionRoute(dead_letter_actions.redrive, "dead-letters"),
    "/purge": ActionRoute(dead_letter_actions.purge, "dead-letters"),
}

LOGIN, LOGOUT = "/login", "/logout"


def add_pages(api: FastAPI, authenticator: Authenticator, now: Callable[[], float]) -> Dashboard:
    """Add the pages to an API. Returns the login for its guard.

    Args:
        now: returns epoch seconds.
    """
    app: App = api.state.taskq
    dashboard = Dashboard(app, authenticator, now)
    routes = [
        *(
            Route(path, dashboard.endpoint(page.show, page.scope, "./"), methods=["GET"])
            for path, page in PAGES.items()
        ),
        *(
            Route(path, dashboard.endpoint(action.act, action.scope, action.page), methods=["POST"])
            for path, action in ACTIONS.items()
        ),
        # A browser shows the address of the last action; reloading it leads back to the page.
        *(Route(path, _redirect_to(action.page), methods=["GET"]) for path, action in ACTIONS.items()),
        *(Route(path, asset, methods=["GET"]) for path in ASSETS),
        Route(LOGIN, dashboard.login.show, methods=["GET"]),
        Route(LOGIN, dashboard.login.enter, methods=["POST"]),
        Route(LOGOUT, dashboard.login.leave, methods=["POST"]),
    ]
    for route in routes:
        route.include_in_schema = False
    api.router.routes.extend(routes)
    return dashboard


def _redirect_to(page: str) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        return redirect(page)

    return answer


class Dashboard:
    """The pages of one API, and their login."""

    def __init__(self, app: App, authenticator: Authenticator, now: Callable[[], float]) -> None:
        self._app = app
        self._sessions = Sessions(app, authenticator, now)
        self._with_login = "tokens" in authenticator.modes
        self.login = Login(app.name, authenticator, self._sessions, PAGES)

    def is_public(self, connection: HTTPConnection) -> bool:
        path: str = connection.scope["path"]
        return path in ASSETS or (path == LOGIN and self._with_login)

    async def principal(self, connection: HTTPConnection) -> Principal | None:
        """Return the caller of a session, which the API accepts like the token itself."""
        return await self._sessions.principal(connection)

    def page_for(self, connection: HTTPConnection, problem: ProblemError) -> Response | None:
        """Return a page about a problem for a browser; without a login, a redirect to it."""
        path: str = connection.scope["path"]
        if path not in PAGES and path not in ACTIONS and path not in (LOGIN, LOGOUT):
            return None
        if "text/html" not in connection.headers.get("accept", ""):
            return None
        if problem.kind == "unauthorized" and self._with_login:
            back = requested_page(connection) if path in PAGES else None
            return redirect(address("login", back=back))
        principal: Principal | None = connection.scope.get("taskq.principal")
        return error_page(self._app.name, problem, principal, "./")

    def endpoint(self, show: Handler, scope: Scope, page: str) -> Callable[[Request], Awaitable[Response]]:
        """Return the endpoint of a page or an action.

        Args:
            scope: needed by the caller.
            page: linked from an error page.
        """

        async def answer(request: Request) -> Response:
            principal: Principal = request.scope["taskq.principal"]
            try:
                needs(scope)(request)
                services = await self._app.services.on_loop()
                context = RequestContext(self._app, services, principal, request.scope["taskq.deadline"])
                view = await show(context, request)
            except Exception as error:
                return error_page(self._app.name, error, principal, page)
            return view if isinstance(view, Response) else rendered(request, self._app.name, view, principal)

        return answer
