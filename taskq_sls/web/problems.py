"""Problem documents (RFC 9457), the errors of the API."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.responses import Response

MEDIA_TYPE = "application/problem+json"

PREFIX = "urn:taskq:problem:"

SEE_LOG = "the log has the details"

KINDS: Mapping[str, tuple[int, str]] = {
    "bad-request": (400, "The request cannot be read"),
    "unauthorized": (401, "No valid credentials"),
    "missing-scope": (403, "The credentials do not allow this"),
    "cross-site": (403, "The request came from another site"),
    "not-over-http": (403, "The task may not be enqueued over HTTP"),
    "not-found": (404, "Not found"),
    "no-record": (404, "The task has no record"),
    "method-not-allowed": (405, "The method is not allowed here"),
    "conflict": (409, "The current state does not allow this"),
    "duplicate-task": (409, "The unique key is taken"),
    "request-in-progress": (409, "The same request is in progress"),
    "too-large": (413, "The request is too large"),
    "unsupported-media-type": (415, "The body is not JSON, or is compressed"),
    "invalid": (422, "The request is not valid"),
    "answer-too-large": (422, "The answer is too large"),
    "key-reused": (422, "The idempotency key was used for another request"),
    "too-many-failures": (429, "Too many wrong credentials"),
    "internal": (500, "Internal error"),
    "no-scheduler": (501, "No scheduler is configured"),
    "aws": (502, "A call to AWS was refused"),
    "not-configured": (503, "A resource is missing"),
    "unavailable": (503, "A service is not available now"),
    "not-ready": (503, "A service that the API needs cannot be reached"),
    "not-sent": (503, "The queue did not accept the tasks"),
    "too-slow": (504, "The request took too long"),
}
"""Status and title, by the last part of the type."""


class InvalidPart(BaseModel):
    """A part of a request that is not valid."""

    location: str = Field(examples=["body.tasks.0.args"], description="Path of the part, joined by dots.")
    message: str = Field(examples=["Input should be a valid list"])


class Unsent(BaseModel):
    """A task of a request that was not sent. Sending it again with the same id is safe."""

    index: int = Field(description="Position in the request, from 0.")
    id: str
    code: str
    message: str


class Check(BaseModel):
    """The check of one service that the API needs."""

    name: str = Field(examples=["table"])
    ok: bool
    detail: str | None = None


class Problem(BaseModel):
    """A problem document (RFC 9457)."""

    type: str = Field(examples=[f"{PREFIX}invalid"], description="The kind of problem; stable.")
    title: str = Field(examples=["The request is not valid"])
    status: int = Field(examples=[422])
    detail: str | None = Field(
        default=None, examples=["task shop.tasks:resize: the parameter 'width' got 'x': not an int"]
    )
    errors: list[InvalidPart] | None = Field(default=None, description="The parts of the request that are not valid.")
    failed: list[Unsent] | None = Field(default=None, description="The tasks of a batch that were not sent.")
    checks: list[Check] | None = Field(default=None, description="The checks, with the reason of each failure.")


class ProblemError(HTTPException):
    """Ends a request with a problem document. May be raised anywhere in a request."""

    def __init__(
        self, kind: str, detail: str | None = None, *, headers: Mapping[str, str] | None = None, **members: Any
    ) -> None:
        self.kind = kind
        self.text = detail
        self.members = members
        super().__init__(KINDS[kind][0], detail, dict(headers or {}))

    def response(self) -> Response:
        return problem_response(self.kind, self.text, self.headers, **self.members)


def problem_response(
    kind: str, detail: str | None = None, headers: Mapping[str, str] | None = None, **members: Any
) -> Response:
    status, title = KINDS[kind]
    return _response({"type": PREFIX + kind, "title": title, "status": status}, detail, headers, members)


def plain_problem(status: int, detail: str | None, headers: Mapping[str, str] | None) -> Response:
    """Return the document for a status without a kind."""
    title = HTTPStatus(status).phrase
    return _response({"type": "about:blank", "title": title, "status": status}, detail, headers, {})


def _response(
    document: dict[str, Any], detail: str | None, headers: Mapping[str, str] | None, members: Mapping[str, Any]
) -> Response:
    if detail is not None:
        document["detail"] = detail
    document |= {name: value for name, value in members.items() if value is not None}
    # ASCII: the detail may hold half of a surrogate pair, which UTF-8 cannot encode.
    body = json.dumps(document, ensure_ascii=True)
    return Response(body, document["status"], dict(headers or {}), MEDIA_TYPE)


def documented(kinds: Sequence[str]) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI responses for these kinds of problems."""
    by_status: dict[int, list[str]] = {}
    for kind in kinds:
        by_status.setdefault(KINDS[kind][0], []).append(kind)
    return {
        status: {
            "description": "; ".join(KINDS[kind][1] for kind in several),
            "content": {
                MEDIA_TYPE: {
                    "schema": {"$ref": "#/components/schemas/Problem"},
                    "examples": {
                        kind: {"value": {"type": PREFIX + kind, "title": KINDS[kind][1], "status": status}}
                        for kind in several
                    },
                }
            },
        }
        for status, several in sorted(by_status.items())
    }
