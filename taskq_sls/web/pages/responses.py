"""Turns views and errors into answers for a browser."""

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
