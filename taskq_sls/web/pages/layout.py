"""The layout of all pages (head, navigation, live part, style sheet, script), and the answers that send them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from pydantic import ValidationError
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response

from ...errors import TaskQError
from ..auth import Principal
from ..errors import problem_of
from ..problems import ProblemError
from .components import alert
from .html import NOTHING, Html, link, tag

NAVIGATION = (
    ("./", "Overview"),
    ("tasks", "Tasks"),
    ("schedules", "Schedules"),
    ("dead-letters", "Dead letters"),
)


class View(NamedTuple):
    """One page.

    Args:
        title: also its heading.
        page: its entry in the navigation.
        before, live, after: its content. The script reloads `live` every `every` seconds.
        every: 0 if nothing changes by itself.
        status: of the answer.
    """

    title: str
    page: str
    before: Html = NOTHING
    live: Html = NOTHING
    after: Html = NOTHING
    every: int = 0
    status: int = 200


class Asset(NamedTuple):
    name: str
    media_type: str
    content: bytes

    @property
    def address(self) -> str:
        """The relative address. It holds a hash of the content, so that browsers may cache the file for ever."""
        return f"{self.name}?v={hashlib.sha256(self.content).hexdigest()[:12]}"


def _read(name: str, media_type: str) -> Asset:
    return Asset(name, media_type, Path(__file__).with_name(name).read_bytes())


STYLE = _read("dashboard.css", "text/css")
SCRIPT = _read("dashboard.js", "text/javascript")

ASSETS = {f"/{file.name}": file for file in (STYLE, SCRIPT)}


async def asset(request: Request) -> Response:
    """Serve an asset. It needs no login."""
    found = ASSETS[request.scope["path"]]
    headers = {"Cache-Control": "public, max-age=31536000, immutable"}
    return Response(found.content, media_type=found.media_type, headers=headers)


def document(app: str, view: View, principal: Principal | None, mark: str | None = None) -> Html:
    """Return a whole page.

    Args:
        mark: entity tag of the live part.
    """
    body = tag(
        "body",
        tag("a", "Skip to the content", href="#content", class_="skip"),
        _header(app, view, principal),
        tag("main", tag("h1", view.title), view.before, _live(view, mark), view.after, id="content", tabindex="-1"),
    )
    return Html("<!doctype html>" + tag("html", _head(app, view), body, lang="en"))


def _head(app: str, view: View) -> Html:
    return tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", f"{view.title} - {app}"),
        tag("link", rel="icon", href="data:,"),
        tag("link", rel="stylesheet", href=STYLE.address),
        tag("script", src=SCRIPT.address, defer=True),
    )


def _header(app: str, view: View, principal: Principal | None) -> Html:
    if principal is None:
        return tag("header", tag("p", app, class_="app"))
    entries = [
        tag("li", tag("a", text, href=page, aria_current="page" if page == view.page else None))
        for page, text in NAVIGATION
    ]
    return tag(
        "header",
        tag("p", app, class_="app"),
        tag("nav", tag("ul", entries), aria_label="Pages"),
        tag("div", tag("span", principal.name, class_="who"), _logout(principal), class_="account"),
    )


def _logout(principal: Principal) -> Html:
    if principal.by != "cookie":
        return NOTHING
    return tag("form", tag("button", "Log out", class_="quiet"), method="post", action="logout")


def _live(view: View, mark: str | None) -> Html:
    if not view.every:
        return view.live
    switch = tag(
        "p",
        tag(
            "label",
            tag("input", type="checkbox", id="live-switch", checked=True, autocomplete="off"),
            f" Update every {view.every} seconds",
        ),
        " ",
        tag("span", role="status", id="live-status", class_="muted"),
        class_="live-switch",
        hidden=True,
    )
    return tag("div", switch, tag("div", view.live, id="live", data_every=view.every, data_mark=mark))


def breadcrumb(text: str, page: str, /, **query: str) -> Html:
    return tag("p", Html("&larr; "), link(text, page, **query), class_="breadcrumb")


HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src data:; form-action 'self'; "
        "base-uri 'none'; frame-ancestors 'none'"
    ),
    # With no-referrer, browsers would not send the origin of a form.
    "Referrer-Policy": "same-origin",
}

_ADDRESS_CHARACTERS = "".join(map(chr, range(0x21, 0x7F)))
"""Characters that stay as they are in an address, which is already quoted."""

PART = "taskq-part"
"""The header with which the script requests only the live part of a page."""


def rendered(request: Request, app: str, view: View, principal: Principal | None) -> Response:
    """Return a page, or only its live part if that is requested."""
    if not view.every:
        return _response(document(app, view, principal), view.status)
    mark = f'"{hashlib.sha256(_encoded(view.live)).hexdigest()[:20]}"'
    if PART not in request.headers:
        return _response(document(app, view, principal, mark), view.status)
    if request.headers.get("if-none-match") == mark:
        return Response(status_code=304, headers={"ETag": mark})
    return _response(view.live, view.status, {"ETag": mark})


def redirect(page: str) -> Response:
    # Headers must be ASCII, and a form or a query may hold other letters.
    return Response(status_code=303, headers={"Location": quote(page, safe=_ADDRESS_CHARACTERS), **HEADERS})


def error_page(app: str, error: Exception, principal: Principal | None, page: str) -> Response:
    """Return a page about an error. Raises `error` if it is not an error of the request or of the library."""
    problem = problem_details(error)
    view = View(
        problem["title"],
        page,
        before=Html(alert(problem.get("detail") or "No details.", bad=True) + tag("p", link("Back", page))),
        status=problem["status"],
    )
    headers = {} if not isinstance(error, ProblemError) else dict(error.headers or {})
    return _response(document(app, view, principal), view.status, headers)


def requested_page(connection: HTTPConnection) -> str:
    """Return the relative address of the requested page, with its query."""
    name = connection.scope["path"].lstrip("/") or "./"
    query = connection.url.query
    return f"{name}?{query}" if query else name


def problem_details(error: Exception) -> dict[str, Any]:
    """Return the members of the problem document for an error. Raises `error` if there is none for it."""
    if isinstance(error, ValidationError):
        # Without the input, as in the API.
        first = error.errors(include_input=False, include_url=False)[0]
        error = ProblemError("invalid", f"{'.'.join(map(str, first['loc']))}: {first['msg']}")
    if isinstance(error, ProblemError):
        answer = error.response()
    elif isinstance(error, TaskQError):
        answer = problem_of(error)
    else:
        raise error
    found: dict[str, Any] = json.loads(bytes(answer.body))
    return found


def _response(content: Html, status: int, headers: dict[str, str] | None = None) -> Response:
    return Response(_encoded(content), status, {**HEADERS, **(headers or {})}, "text/html; charset=utf-8")


def _encoded(content: Html) -> bytes:
    # Arguments may hold half of a surrogate pair, which UTF-8 cannot encode.
    return content.encode("utf-8", "replace")
