"""What Lambda calls with the requests of a Function URL, an API Gateway or a load balancer."""

from __future__ import annotations

import asyncio
import logging
import os
from typing import TYPE_CHECKING, Any, Self

from mangum import Mangum

from ..errors import ConfigError, TaskQError
from .problems import MEDIA_TYPE

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
        self._mangum = Mangum(api, lifespan="off", api_gateway_base_path=base_path, text_mime_types=TEXT)
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
        if not isinstance(event, dict) or not isinstance(event.get("requestContext"), dict):
            raise ConfigError(
                f"this handler takes requests of a Function URL, an API Gateway or a load balancer; it got {str(event)[:200]!r}"
            )
        asyncio.set_event_loop(self._loop)
        answer: dict[str, Any] = self._mangum(event, context)
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
