"""What Lambda calls with the requests of a Function URL, an API Gateway or a load balancer."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from typing import TYPE_CHECKING, Any, Self

from mangum import Mangum

from ..errors import ConfigError, TaskQError
from .base_path import StripBasePath
from .guard import HEADERS
from .limits import MAX_LAMBDA_ANSWER_BYTES, MAX_LOAD_BALANCER_ANSWER_BYTES
from .problems import MEDIA_TYPE, ProblemError

if TYPE_CHECKING:
    from fastapi import FastAPI

logger = logging.getLogger("taskq_sls.web")

TEXT = ["text/", "application/json", MEDIA_TYPE, "image/svg+xml"]
"""Types of answers that travel as they are; others are base64."""


class ApiHandler:
    """The Lambda handler of an API: ``handler = app.api_handler()``.

    One event loop and one set of clients live as long as the container. There is no lifespan, which would begin and end
    with every request: everything is made at import.
    """

    def __init__(self, api: FastAPI, *, base_path: str = "/") -> None:
        self.api = api
        self._loop = asyncio.new_event_loop()
        asyncio.set_event_loop(self._loop)
        self._mangum = Mangum(StripBasePath(api, base_path), lifespan="off", text_mime_types=TEXT)
        if "AWS_LAMBDA_FUNCTION_NAME" in os.environ:
            self.warm_up()

    def warm_up(self) -> None:
        """Make the clients. In Lambda it happens by itself, at import: start-up has more CPU."""

        async def make() -> None:
            services = await self.api.state.taskq.services.on_loop()
            _ = services.results, services.broker

        try:
            self._loop.run_until_complete(make())
        except TaskQError as error:
            logger.warning("the clients could not be made at start-up: %s", error, extra={"action": "warm_up_fault"})

    def __call__(self, event: dict[str, Any], context: Any = None) -> dict[str, Any]:
        """Answer one request.

        Raises:
            ConfigError: the event is no HTTP request.
        """
        if not _is_request(event):
            raise ConfigError(
                f"this handler takes requests of a Function URL, an API Gateway or a load balancer; it got {str(event)[:200]!r}"
            )
        asyncio.set_event_loop(self._loop)
        try:
            answer: dict[str, Any] = self._mangum({**event, "headers": event.get("headers") or {}}, context)
        except Exception as error:
            # A caller's Host or body that the adapter cannot read must not be a fault of the function. Nor is it shown.
            logger.warning("an event could not be read: %s", type(error).__name__, extra={"action": "unreadable_event"})
            return _problem_answer(event, ProblemError("bad-request", "its host, port or base64 body cannot be read"))
        most = MAX_LOAD_BALANCER_ANSWER_BYTES if "elb" in event["requestContext"] else MAX_LAMBDA_ANSWER_BYTES
        if len(answer["body"]) * 4 > most and _size(answer) > most:
            detail = f"it is above {most:,} bytes; ask for less, with a smaller limit or result=false"
            return _problem_answer(event, ProblemError("answer-too-large", detail))
        return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close clients and loop. Lambda never does; a test does: ``with app.api_handler() as handler``."""
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        asyncio.set_event_loop(None)
        self._loop.close()


def _is_request(event: Any) -> bool:
    context = event.get("requestContext") if isinstance(event, dict) else None
    return isinstance(context, dict) and ("elb" in context or "version" in event or "resource" in event)


def _problem_answer(event: dict[str, Any], problem: ProblemError) -> dict[str, Any]:
    """A problem as every front takes it."""
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
    # As Lambda's runtime writes it.
    return len(json.dumps(answer, ensure_ascii=False).encode("utf-8", "replace"))
