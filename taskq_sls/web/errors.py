"""Errors of the library as problems: what the caller can mend, and what not."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

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
from ..scheduler.specs import NO_SCHEDULER
from .problems import ProblemError, plain_problem, problem_response

logger = logging.getLogger("taskq_sls.web")

SOON = {"Retry-After": "1"}


def add_error_handlers(api: FastAPI) -> None:
    """Have every error answered by a problem document."""
    api.add_exception_handler(RequestValidationError, _handler(_invalid))
    api.add_exception_handler(HTTPException, _handler(_http))
    api.add_exception_handler(TaskQError, _handler(problem_of))


def problem_of(error: TaskQError) -> Response:
    """The problem that an error of the library is."""
    if isinstance(error, AwsError):
        return _aws(error)
    if isinstance(error, EnqueueError):
        return _unsent(error)
    if isinstance(error, MissingResource):
        logger.error("%s", error, extra={"action": "missing_resource"})
        return problem_response("not-configured", "a queue, table or bucket is missing; the log tells which")
    if isinstance(error, ConfigError) and str(error) == NO_SCHEDULER:
        return problem_response("no-scheduler", NO_SCHEDULER)
    for kind, classes in _KINDS:
        if isinstance(error, classes):
            return problem_response(kind, str(error))
    logger.error("request failed: %s", error, exc_info=error, extra={"action": "request_failed"})
    return problem_response("internal", "the log of this function tells what")


_KINDS: Sequence[tuple[str, tuple[type[TaskQError], ...]]] = (
    ("duplicate-task", (DuplicateTask,)),
    ("too-large", (PayloadTooLarge,)),
    ("conflict", (PayloadMissing,)),
    ("invalid", (ArgumentsError, ConfigError)),
)


def _aws(error: AwsError) -> Response:
    # What AWS says names accounts and roles, which are for the log.
    logger.error("%s", error, extra={"action": "aws_fault"})
    if error.transient:
        return problem_response("unavailable", f"{error.operation}: {error.code}", SOON)
    return problem_response("aws", f"{error.operation}: {error.code}")


def _unsent(error: EnqueueError) -> Response:
    failed = [{"index": one.index, "id": one.id, "code": one.code, "message": one.message} for one in error.failed]
    return problem_response("not-sent", f"{len(failed)} not accepted", SOON, failed=failed)


def _invalid(error: RequestValidationError) -> Response:
    # Without the input: it may hold a secret.
    errors = [{"location": ".".join(map(str, one["loc"])), "message": str(one["msg"])} for one in error.errors()[:50]]
    if any(one["type"] == "json_invalid" for one in error.errors()):
        return problem_response("bad-request", "the body is not JSON", errors=errors)
    first = errors[0]
    return problem_response("invalid", f"{first['location']}: {first['message']}", errors=errors)


def _http(error: HTTPException) -> Response:
    if isinstance(error, ProblemError):
        return error.response()
    kinds = {400: "bad-request", 404: "not-found", 405: "method-not-allowed"}
    if (kind := kinds.get(error.status_code)) is not None:
        return problem_response(kind, None, error.headers)
    return plain_problem(error.status_code, None, error.headers)


def _handler(answer: Callable[[Any], Response]) -> Callable[[Request, Exception], Response]:
    def handle(request: Request, error: Exception) -> Response:
        return answer(error)

    return handle
