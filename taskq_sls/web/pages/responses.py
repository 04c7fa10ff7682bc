"""Views and errors as answers to a browser."""

from __future__ import annotations

import hashlib
import json
from typing import Any
from urllib.parse import quote

from pydantic import ValidationError
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response

from ...errors import TaskQError
from ..auth import Principal
from ..errors import problem_of
from ..problems import ProblemError
from .components import alert
from .html import Html, link, tag
from .layout import View, document

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src data:; form-action 'self'; "
        "base-uri 'none'; frame-ancestors 'none'"
    ),
    # Not no-referrer, with which browsers do not tell the origin of a form.
    "Referrer-Policy": "same-origin",
}

_OF_ADDRESSES = "".join(map(chr, range(0x21, 0x7F)))
"""Characters that an address may hold unquoted: it is quoted already."""

PART = "taskq-part"
"""The header by which the script asks for the part of a page that changes."""


def rendered(request: Request, app: str, view: View, principal: Principal | None) -> Response:
    """A page; or of a page that changes, only the part that does, if that is asked for."""
    if not view.every:
        return _response(document(app, view, principal), view.status)
    mark = f'"{hashlib.sha256(_encoded(view.live)).hexdigest()[:20]}"'
    if PART not in request.headers:
        return _response(document(app, view, principal, mark), view.status)
    if request.headers.get("if-none-match") == mark:
        return Response(status_code=304, headers={"ETag": mark})
    return _response(view.live, view.status, {"ETag": mark})


def redirect(page: str) -> Response:
    """To another page, by its relative address."""
    # A form or a query may hold letters that no header can carry.
    return Response(status_code=303, headers={"Location": quote(page, safe=_OF_ADDRESSES), **HEADERS})


def error_page(app: str, error: Exception, principal: Principal | None, page: str) -> Response:
    """What went wrong, for a reader.

    Raises:
        Exception: `error` itself, where it is not one that a reader can be told.
    """
    problem = problem_details(error)
    view = View(
        problem["title"],
        page,
        before=Html(alert(problem.get("detail") or "No more is known.", bad=True) + tag("p", link("Back", page))),
        status=problem["status"],
    )
    headers = {} if not isinstance(error, ProblemError) else dict(error.headers or {})
    return _response(document(app, view, principal), view.status, headers)


def requested_page(connection: HTTPConnection) -> str:
    """The page that was asked for, with its query, relative to the others."""
    name = connection.scope["path"].lstrip("/") or "./"
    query = connection.url.query
    return f"{name}?{query}" if query else name


def problem_details(error: Exception) -> dict[str, Any]:
    """An error as the members of a problem document.

    Raises:
        Exception: `error` itself, where it is not one that a reader can be told.
    """
    if isinstance(error, ValidationError):
        # Without the input, as in the API.
        first = error.errors(include_input=False, include_url=False)[0]
        detail = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        error = ProblemError("invalid", detail)
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
    # What a task was given may hold half of a surrogate pair, which UTF-8 cannot carry.
    return content.encode("utf-8", "replace")
