"""The API itself: whether it answers, whether it could do its work, and what it can do."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

from fastapi import APIRouter, Request

from ...errors import TaskQError
from ..calls import Caller, allowed
from ..models.queues import Check, Health, Ready

PATH = "/v1/health"

router = APIRouter(tags=["service"])


@router.get(PATH, operation_id="getHealth", summary="Whether the API answers", openapi_extra={"security": []})
async def health() -> Health:
    """Needs no credentials, and tells nothing else."""
    return Health()


@router.get(
    "/v1/ready",
    operation_id="getReady",
    summary="Whether table and queues can be reached",
    response_model=Ready,
    **allowed("read"),
)
async def ready(call: Caller) -> Ready:
    """Always answers 200; `ok` says whether all checks passed."""
    checks = [
        await _check("table", call.services.results.get("taskq:ready", now=call.now)),
        *[await _check(f"queue {name}", call.services.broker.depth(name)) for name in call.app.queues],
    ]
    return Ready(ok=all(one.ok for one in checks), checks=checks)


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
        await look
    except TaskQError as error:
        return Check(name=name, ok=False, detail=type(error).__name__)
    return Check(name=name, ok=True)
