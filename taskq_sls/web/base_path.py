"""Strips the API Gateway stage and the base path from request paths."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send


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
