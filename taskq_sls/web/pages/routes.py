"""The pages as part of the ASGI app: where they are, who may ask for them, and what a browser gets to see of errors."""

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
from . import dead_letter_actions as disposal
from . import dead_letters, overview, schedules, task, tasks
from . import task_actions as actions
from .html import address
from .layout import ASSETS, View, asset
from .login import Login
from .responses import error_page, redirect, rendered, requested_page
from .sessions import Sessions

Handler = Callable[[RequestContext, Request], Awaitable[View | Response]]
"""Makes a page, or sends the browser elsewhere."""


class Page(NamedTuple):
    """A page: what makes it, and the scope that it needs."""

    show: Handler
    scope: Scope = "read"


class Action(NamedTuple):
    """An action of a page: what carries it out, and the page that it belongs to."""

    act: Handler
    page: str
    scope: Scope = "admin"


PAGES = {
    "/": Page(overview.show),
    "/tasks": Page(tasks.show),
    "/task": Page(task.show),
    "/schedules": Page(schedules.show),
    "/dead-letters": Page(dead_letters.show),
    "/dead-letter": Page(dead_letters.inspect),
}

ACTIONS = {
    "/cancel": Action(actions.cancel, "tasks"),
    "/retry": Action(actions.retry, "tasks"),
    "/pause": Action(actions.pause, "schedules"),
    "/resume": Action(actions.resume, "schedules"),
    "/redrive": Action(disposal.redrive, "dead-letters"),
    "/purge": Action(disposal.purge, "dead-letters"),
}

LOGIN, LOGOUT = "/login", "/logout"


def add_pages(api: FastAPI, authenticator: Authenticator, now: Callable[[], float]) -> Dashboard:
    """Put the pages into an API; answers the login by which browsers come in.

    Args:
        now: epoch seconds.
    """
    app: App = api.state.taskq
    site = Dashboard(app, authenticator, now)
    routes = [Route(path, site.endpoint(page.show, page.scope, "./"), methods=["GET"]) for path, page in PAGES.items()]
    routes += [
        Route(path, site.endpoint(action.act, action.scope, action.page), methods=["POST"])
        for path, action in ACTIONS.items()
    ]
    routes += [Route(path, _elsewhere(action.page), methods=["GET"]) for path, action in ACTIONS.items()]
    routes += [Route(path, asset, methods=["GET"]) for path in ASSETS]
    routes += [
        Route(LOGIN, site.login.show, methods=["GET"]),
        Route(LOGIN, site.login.enter, methods=["POST"]),
        Route(LOGOUT, site.login.leave, methods=["POST"]),
    ]
    for route in routes:
        route.include_in_schema = False
    api.router.routes.extend(routes)
    return site


def _elsewhere(page: str) -> Callable[[Request], Awaitable[Response]]:
    """The endpoint for who asks for the address that an action left in the browser."""

    async def answer(request: Request) -> Response:
        return redirect(page)

    return answer


class Dashboard:
    """The pages of one API, and the way in for people."""

    def __init__(self, app: App, authenticator: Authenticator, now: Callable[[], float]) -> None:
        self._app = app
        self._sessions = Sessions(app, authenticator, now)
        self._with_login = "tokens" in authenticator.modes
        self.login = Login(app.name, authenticator, self._sessions, PAGES)

    # -- the login ---------------------------------------------------------------------------------------------------

    def is_public(self, connection: HTTPConnection) -> bool:
        """The login, and files that hold nothing of anybody."""
        path: str = connection.scope["path"]
        return path in ASSETS or (path == LOGIN and self._with_login)

    async def principal(self, connection: HTTPConnection) -> Principal | None:
        """Who has logged in. The API takes a session too: it is as good as the token."""
        return await self._sessions.principal(connection)

    def page_for(self, connection: HTTPConnection, problem: ProblemError) -> Response | None:
        """A browser that is not logged in is sent to do so; other problems of a page are told by a page."""
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

    # -- routes -----------------------------------------------------------------------------------------------------

    def endpoint(self, show: Handler, scope: Scope, page: str) -> Callable[[Request], Awaitable[Response]]:
        """The endpoint of a page or an action.

        Args:
            scope: that it needs.
            page: to go back to where it fails.
        """

        async def answer(request: Request) -> Response:
            principal: Principal = request.scope["taskq.principal"]
            try:
                needs(scope)(request)
                services = await self._app.services.on_loop()
                view = await show(
                    RequestContext(self._app, services, principal, request.scope["taskq.deadline"]), request
                )
            except Exception as error:
                return error_page(self._app.name, error, principal, page)
            return view if isinstance(view, Response) else rendered(request, self._app.name, view, principal)

        return answer
