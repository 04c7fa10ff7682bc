"""Maps exceptions to problem documents. Details that a caller cannot act on go only to the log."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Match, Route

from ..errors import (
    ArgumentsError,
    AwsError,
    ConfigError,
    DuplicateTask,
    EnqueueError,
    MissingResource,
    PayloadMissing,
    PayloadTooLarge,
    TaskQError,
)
from ..scheduler.spec import NO_SCHEDULER
from .problems import SEE_LOG, ProblemError, plain_problem, problem_response
from .routes import ROUTERS

logger = logging.getLogger("taskq_sls.web")

SOON = {"Retry-After": "1"}

ACCEPT = {"Accept": "application/json"}

DESCRIPTION_AT = "/v1/openapi.json"


def add_error_handlers(api: FastAPI) -> None:
    handlers: list[tuple[type[Exception], Callable[[Request, Any], Response]]] = [
        (RequestValidationError, _invalid),
        (HTTPException, _http),
        (TaskQError, lambda _request, error: problem_of(error)),
    ]
    for error_class, handler in handlers:
        api.add_exception_handler(error_class, handler)


def problem_of(error: TaskQError) -> Response:
    if isinstance(error, AwsError):
        return _aws(error)
    if isinstance(error, EnqueueError):
        return _unsent(error)
    if isinstance(error, MissingResource):
        logger.error("%s", error, extra={"action": "missing_resource"})
        return problem_response("not-configured", "a queue, table or bucket is missing; the log names it")
    if isinstance(error, ConfigError) and str(error) == NO_SCHEDULER:
        return problem_response("no-scheduler", NO_SCHEDULER)
    for kind, classes in _KINDS:
        if isinstance(error, classes):
            return problem_response(kind, str(error))
    logger.error("request failed: %s", error, exc_info=error, extra={"action": "request_failed"})
    return problem_response("internal", SEE_LOG)


_KINDS: Sequence[tuple[str, tuple[type[TaskQError], ...]]] = (
    ("duplicate-task", (DuplicateTask,)),
    ("too-large", (PayloadTooLarge,)),
    ("conflict", (PayloadMissing,)),
    ("invalid", (ArgumentsError, ConfigError)),
)


def _aws(error: AwsError) -> Response:
    # Only to the log: AWS's message names accounts and roles.
    logger.error("%s", error, extra={"action": "aws_fault"})
    if error.transient:
        return problem_response("unavailable", f"{error.operation}: {error.code}", SOON)
    return problem_response("aws", f"{error.operation}: {error.code}")


def _unsent(error: EnqueueError) -> Response:
    # AWS's message goes only to the log here too; the caller can act on our own errors.
    logger.error("%s", error, extra={"action": "not_sent"})
    actionable = tuple(error_class for _, classes in _KINDS for error_class in classes)
    failed = [
        {
            "index": entry.index,
            "id": entry.id,
            "code": entry.error.code if isinstance(entry.error, AwsError) else entry.code,
            "message": str(entry.error) if isinstance(entry.error, actionable) else SEE_LOG,
        }
        for entry in error.failed
    ]
    return problem_response("not-sent", f"{len(failed)} of the tasks were not accepted", SOON, failed=failed)


def _invalid(request: Request, error: RequestValidationError) -> Response:
    # Without the input: it may hold a secret.
    errors = [
        {"location": ".".join(map(str, part["loc"])), "message": str(part["msg"])} for part in error.errors()[:50]
    ]
    if any(part["loc"] == ("body",) and part["type"] != "missing" for part in error.errors()) and not _is_json(request):
        given = request.headers.get("content-type", "")
        return problem_response(
            "unsupported-media-type",
            f"Content-Type {given!r:.80}: send JSON, with Content-Type: application/json",
            ACCEPT,
        )
    if any(part["type"] == "json_invalid" for part in error.errors()):
        return problem_response("bad-request", "the body is not JSON", errors=errors)
    first = errors[0]
    return problem_response("invalid", f"{first['location']}: {first['message']}", errors=errors)


def _http(request: Request, error: HTTPException) -> Response:
    if isinstance(error, ProblemError):
        return error.response()
    if error.status_code == 400 and (encoding := request.headers.get("content-encoding")):
        return problem_response(
            "unsupported-media-type",
            f"Content-Encoding {encoding!r:.80}: send the body uncompressed",
            {"Accept-Encoding": "identity"},
        )
    if error.status_code == 400:
        return problem_response("bad-request", "the body is not JSON in UTF-8, or is nested too deeply")
    if error.status_code == 404:
        return problem_response("not-found", f"nothing is served at this path; {DESCRIPTION_AT} lists the paths")
    if error.status_code == 405:
        allow = ", ".join(_methods(request))
        return problem_response("method-not-allowed", f"allowed: {allow}", {"Allow": allow})
    return plain_problem(error.status_code, None, error.headers)


def _is_json(request: Request) -> bool:
    """True if the Content-Type is JSON, by the rule of FastAPI."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    return kind == "application/json" or (kind.startswith("application/") and kind.endswith("+json"))


def _methods(request: Request) -> Sequence[str]:
    """Return the methods of all routes of this path; the router reports only those of the first route."""
    found: set[str] = set()
    for route in [*request.app.routes, *(route for router in ROUTERS for route in router.routes)]:
        if isinstance(route, Route) and route.matches(request.scope)[0] is not Match.NONE:
            found |= route.methods or set()
    return sorted(found | {"HEAD"} if "GET" in found else found)
