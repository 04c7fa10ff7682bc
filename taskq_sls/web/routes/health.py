"""The API itself: whether it answers, whether it could do its work, and what it can do."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from typing import Any

from fastapi import APIRouter, Request

from ...errors import AwsError, TaskQError
from ..limits import LONGEST_CHECK
from ..models.queues import Health, Ready
from ..problems import Check, ProblemError
from ..request_context import Caller, allowed

logger = logging.getLogger("taskq_sls.web")

PATH = "/v1/health"

router = APIRouter(tags=["service"])


@router.get(PATH, operation_id="getHealth", summary="Whether the API answers", openapi_extra={"security": []})
async def health() -> Health:
    """Needs no credentials, asks nobody, and tells nothing else. Whether the rest works is what getReady tells."""
    return Health()


@router.get(
    "/v1/ready",
    operation_id="getReady",
    summary="Whether table and queues can be reached",
    response_model=Ready,
    **allowed("read", "not-ready"),
)
async def ready(call: Caller) -> Ready:
    """Answers within 10 seconds: 200, or the problem not-ready with the `checks` that say what does not work."""
    checks = await asyncio.gather(
        _check("table", call.services.results.get("taskq:ready", now=call.now)),
        *[_check(f"queue {name}", call.services.broker.depth(name)) for name in call.app.queues],
    )
    if broken := [one for one in checks if not one.ok]:
        detail = "; ".join(f"{one.name}: {one.detail}" for one in broken)
        raise ProblemError(
            "not-ready", detail, headers={"Retry-After": "5"}, checks=[one.model_dump() for one in checks]
        )
    return Ready(checks=checks)


@router.get(
    "/v1/openapi.json",
    operation_id="getOpenApi",
    summary="This description",
    response_model=dict[str, Any],
    **allowed("read", aws=False),
)
async def openapi(request: Request) -> dict[str, Any]:
    """OpenAPI 3.1, from which a client can be generated."""
    document: dict[str, Any] = request.app.openapi()
    return document


async def _check(name: str, look: Awaitable[Any]) -> Check:
    try:
        async with asyncio.timeout(LONGEST_CHECK):
            await look
    except TimeoutError:
        return Check(name=name, ok=False, detail=f"no answer within {LONGEST_CHECK:.0f} s")
    except TaskQError as error:
        logger.error("%s is not ready: %s", name, error, extra={"action": "not_ready"})
        detail = error.code if isinstance(error, AwsError) else type(error).__name__
        return Check(name=name, ok=False, detail=detail)
    return Check(name=name, ok=True)
