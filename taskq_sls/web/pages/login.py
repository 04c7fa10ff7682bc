"""The login with a token, and the logout."""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import Response

from ...errors import TaskQError
from ..auth import Authenticator
from ..problems import ProblemError
from .components import alert, field, hidden_input
from .forms import read_form
from .html import NOTHING, markup, tag
from .layout import View, error_page, redirect, rendered
from .sessions import LIFETIME_SECONDS, Sessions

HINT = "A token begins with tq_. It is not stored; you stay logged in for {hours} hours."


class Login:
    """The login of one API.

    Args:
        pages: paths that a login may return to.
    """

    def __init__(self, app: str, authenticator: Authenticator, sessions: Sessions, pages: Collection[str]) -> None:
        self._app = app
        self._authenticator = authenticator
        self._sessions = sessions
        self._pages = pages

    async def show(self, request: Request) -> Response:
        return rendered(request, self._app, _form(request.query_params.get("back", "")), None)

    async def enter(self, request: Request) -> Response:
        form = await read_form(request)
        back = form.text("back")
        try:
            token = self._authenticator.check_token(request, form.text("token").strip())
        except ProblemError as problem:
            if problem.kind != "unauthorized":
                return error_page(self._app, problem, None, "login")
            return rendered(request, self._app, _form(back, "This token is not valid, or has expired."), None)
        answer = redirect(self._allowed(back))
        try:
            await self._sessions.begin(request, answer, token)
        except TaskQError as error:
            return error_page(self._app, error, None, "login")
        return answer

    async def leave(self, request: Request) -> Response:
        answer = redirect("login")
        try:
            await self._sessions.end(request, answer)
        except TaskQError as error:
            page = error_page(self._app, error, None, "login")
            page.raw_headers += [(name, value) for name, value in answer.raw_headers if name == b"set-cookie"]
            return page
        return answer

    def _allowed(self, back: str) -> str:
        """Return the address of a page here, never that of another site."""
        try:
            parts = urlsplit(back)
        except ValueError:  # malformed host
            return "./"
        page = parts.path.removeprefix("./")
        if parts.scheme or parts.netloc or f"/{page}" not in self._pages or not back.isprintable():
            return "./"
        return f"{page or './'}?{parts.query}" if parts.query else page or "./"


def _form(back: str, fault: str | None = None) -> View:
    form = tag(
        "form",
        hidden_input("back", back),
        field(
            "Token",
            "token",
            hint=HINT.format(hours=LIFETIME_SECONDS // 3600),
            type="password",
            required=True,
            autofocus=True,
            autocomplete="current-password",
            aria_invalid="true" if fault else None,
        ),
        tag("p", tag("button", "Log in")),
        method="post",
        action="login",
        class_="login",
    )
    before = [alert(fault, bad=True) if fault else NOTHING, form]
    return View("Log in", "login", before=markup(before), status=401 if fault else 200)
