"""The API itself: health, readiness and OpenAPI document."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from typing import Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel

from ...errors import AwsError, TaskQError
from ..limits import MAX_CHECK_SECONDS
from ..problems import Check, ProblemError
from ..request_context import Context, allowed

logger = logging.getLogger("taskq_sls.web")

PATH = "/v1/health"

router = APIRouter(tags=["service"])


class Health(BaseModel):
    """The API answers."""

    status: Literal["ok"] = "ok"


class Ready(BaseModel):
    """All services that the API needs can be reached."""

    ok: Literal[True] = True
    checks: list[Check]


@router.get(PATH, operation_id="getHealth", summary="Check that the API answers", openapi_extra={"security": []})
async def health() -> Health:
    """Needs no credentials and calls no other service; getReady checks those."""
    return Health()


@router.get(
    "/v1/ready",
    operation_id="getReady",
    summary="Check that table and queues can be reached",
    **allowed("read", "not-ready"),
)
async def ready(context: Context) -> Ready:
    """Answers within 10 seconds: 200, or the problem not-ready with the failed `checks`."""
    checks = await asyncio.gather(
        _check("table", context.services.results.get("taskq:ready", now=context.now)),
        *[_check(f"queue {name}", context.services.broker.depth(name)) for name in context.app.queues],
    )
    if broken := [check for check in checks if not check.ok]:
        detail = "; ".join(f"{check.name}: {check.detail}" for check in broken)
        raise ProblemError(
            "not-ready", detail, headers={"Retry-After": "5"}, checks=[check.model_dump() for check in checks]
        )
    return Ready(checks=checks)


@router.get("/v1/openapi.json", operation_id="getOpenApi", summary="OpenAPI document", **allowed("read", aws=False))
async def openapi(request: Request) -> dict[str, Any]:
    """The OpenAPI 3.1 document of this API, to generate clients from."""
    document: dict[str, Any] = request.app.openapi()
    return document


async def _check(name: str, request: Awaitable[Any]) -> Check:
    try:
        async with asyncio.timeout(MAX_CHECK_SECONDS):
            await request
    except TimeoutError:
        return Check(name=name, ok=False, detail=f"no answer within {MAX_CHECK_SECONDS:.0f} s")
    except TaskQError as error:
        logger.error("%s is not ready: %s", name, error, extra={"action": "not_ready"})
        detail = error.code if isinstance(error, AwsError) else type(error).__name__
        return Check(name=name, ok=False, detail=detail)
    return Check(name=name, ok=True)
