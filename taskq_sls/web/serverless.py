"""The Lambda handler for requests of a Function URL, an API Gateway or a load balancer."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

from mangum import Mangum
from starlette.types import ASGIApp, Receive, Scope, Send

from ..errors import ConfigError, TaskQError
from .guard import HEADERS
from .limits import MAX_LAMBDA_ANSWER_BYTES, MAX_LOAD_BALANCER_ANSWER_BYTES
from .problems import MEDIA_TYPE, ProblemError

if TYPE_CHECKING:
    from fastapi import FastAPI


logger = logging.getLogger("taskq_sls.web")

TEXT = ["text/", "application/json", MEDIA_TYPE, "image/svg+xml"]
"""Types of answers that are sent as text; others are encoded in base64."""


class ApiHandler:
    """The Lambda handler of an API: ``handler = app.api_handler()``.

    One event loop and one set of clients live as long as the container. There are no ASGI lifespan events: the adapter
    would send them around every request.
    """

    def __init__(self, api: FastAPI, *, base_path: str = "/") -> None:
        self.api = api
        self._loop = asyncio.new_event_loop()
        asyncio.set_event_loop(self._loop)
        self._mangum = Mangum(StripBasePath(api, base_path), lifespan="off", text_mime_types=TEXT)
        if "AWS_LAMBDA_FUNCTION_NAME" in os.environ:
            self.warm_up()

    def warm_up(self) -> None:
        """Create the clients. In Lambda the constructor does it, as start-up has more CPU."""

        async def create() -> None:
            services = await self.api.state.taskq.services.on_loop()
            _ = services.results, services.broker

        try:
            self._loop.run_until_complete(create())
        except TaskQError as error:
            logger.warning("the clients could not be created at start-up: %s", error, extra={"action": "warm_up_fault"})

    def __call__(self, event: dict[str, Any], context: Any = None) -> dict[str, Any]:
        """Answer one request.

        Raises:
            ConfigError: the event is not an HTTP request.
        """
        if not _is_request(event):
            raise ConfigError(
                f"this handler takes events of a Function URL, an API Gateway or a load balancer; it got {str(event)[:200]!r}"
            )
        asyncio.set_event_loop(self._loop)
        try:
            answer: dict[str, Any] = self._mangum({**event, "headers": event.get("headers") or {}}, context)
        except Exception as error:
            # A malformed Host or body is the caller's error, not one of the function. The log must not hold it.
            logger.warning("an event could not be read: %s", type(error).__name__, extra={"action": "unreadable_event"})
            return _problem_answer(
                event, ProblemError("bad-request", "the host, port or base64 body of the request cannot be read")
            )
        most = MAX_LOAD_BALANCER_ANSWER_BYTES if "elb" in event["requestContext"] else MAX_LAMBDA_ANSWER_BYTES
        if len(answer["body"]) * 4 > most and _size(answer) > most:
            detail = f"it is above {most:,} bytes; use a smaller limit, or result=false"
            return _problem_answer(event, ProblemError("answer-too-large", detail))
        return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the event loop, for tests: ``with app.api_handler() as handler``. Lambda never does."""
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        asyncio.set_event_loop(None)
        self._loop.close()


def _is_request(event: Any) -> bool:
    context = event.get("requestContext") if isinstance(event, dict) else None
    return isinstance(context, dict) and ("elb" in context or "version" in event or "resource" in event)


def _problem_answer(event: dict[str, Any], problem: ProblemError) -> dict[str, Any]:
    """Return a problem in the form that all of these services accept."""
    response = problem.response()
    headers = {**{name.lower(): value for name, value in HEADERS.items()}, **response.headers}
    answer: dict[str, Any] = {
        "statusCode": response.status_code,
        "headers": headers,
        "body": bytes(response.body).decode(),
        "isBase64Encoded": False,
    }
    if "multiValueHeaders" in event:
        answer["multiValueHeaders"] = {name: [value] for name, value in headers.items()}
    return answer


def _size(answer: dict[str, Any]) -> int:
    # Lambda's runtime encodes it this way.
    return len(json.dumps(answer, ensure_ascii=False).encode("utf-8", "replace"))


class StripBasePath:
    """ASGI middleware for Lambda.

    Args:
        base_path: of the custom domain's mapping, such as ``/tasks``. The stage of an HTTP API is in the event.
    """

    def __init__(self, app: ASGIApp, base_path: str) -> None:
        self._app = app
        self._base = f"/{base_path.strip('/')}".rstrip("/")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        event, path = scope["aws.event"], scope["path"]
        stage = _stage(event)
        # HTTP APIs keep the stage in the path; REST APIs (their events have no version) do not.
        rest = _without(stage, path) if "version" in event else path
        # Under a custom domain, the caller's path has no stage.
        prefix = stage if ".execute-api." in str(event["requestContext"].get("domainName")) else ""
        if (shorter := _without(self._base, rest)) != rest:
            prefix, rest = prefix + self._base, shorter
        await self._app({**scope, "path": rest, "taskq.prefix": prefix}, receive, send)


def _stage(event: Mapping[str, Any]) -> str:
    stage = event["requestContext"].get("stage")
    return f"/{stage}" if isinstance(stage, str) and stage != "$default" else ""


def _without(start: str, path: str) -> str:
    if start and (path == start or path.startswith(f"{start}/")):
        return path[len(start) :] or "/"
    return path
