"""Short ways to say what a test is about; everything else gets a plain default."""

from decimal import Decimal
from typing import Any

from taskq_sls.core.message import ErrorInfo
from taskq_sls.core.states import State
from taskq_sls.core.times import DAY
from taskq_sls.results.base import ResultBackend
from taskq_sls.results.records import AttemptEnd, Claim, Claimed, Fence

NOW = 1_800_000_000.0
HOLD = 60.0
TTL = NOW + 20 * DAY


def a_claim(id: str = "task-1", *, owner: str = "owner-1", run: int = 0, now: float = NOW, **other: Any) -> Claim:
    fields: dict[str, Any] = {
        "task": "shop.tasks:resize",
        "queue": "default",
        "lease_until": now + HOLD,
        "max_attempts": 3,
        "ttl": TTL,
        "enqueued_at": NOW - 10,
    } | other
    return Claim(id=id, run=run, owner=owner, now=now, **fields)


def normalise_numbers(value: Any) -> Any:
    """An item's numbers as DynamoDB writes them, ``1800000000`` for ``1800000000.0``: moto keeps the text it was sent."""
    if not isinstance(value, dict):
        return value
    if set(value) == {"N"}:
        number = Decimal(value["N"])
        return {"N": str(int(number) if number == int(number) else number.normalize())}
    return {name: normalise_numbers(part) for name, part in value.items()}


def a_fence(claim: Claim, attempt: int = 1) -> Fence:
    return Fence(claim.id, claim.run, attempt, claim.owner)


def succeeded(result: str = '"done"', *, now: float = NOW + 1, **other: Any) -> AttemptEnd:
    return AttemptEnd(State.SUCCEEDED, now=now, ttl=TTL, result_json=result, **other)


def failed(*, now: float = NOW + 1, reason: str = "exhausted", **other: Any) -> AttemptEnd:
    error = ErrorInfo("builtins.ValueError", "no such file", "Traceback: no such file")
    return AttemptEnd(State.FAILED, now=now, ttl=TTL, error=error, reason=reason, **other)


def retrying(*, now: float = NOW + 1, next_at: float | None = NOW + 31, **other: Any) -> AttemptEnd:
    error = ErrorInfo("builtins.OSError", "try later", "Traceback: try later")
    return AttemptEnd(State.RETRYING, now=now, ttl=TTL, next_at=next_at, error=error, reason="error", **other)


async def start(results: ResultBackend, claim: Claim | None = None) -> tuple[Claim, Fence]:
    """Claim an attempt that must be granted."""
    claim = claim or a_claim()
    answer = await results.claim(claim)
    assert isinstance(answer, Claimed)
    return claim, a_fence(claim, answer.attempt)


async def run(results: ResultBackend, finish: AttemptEnd, claim: Claim | None = None) -> Fence:
    """Claim an attempt and end it."""
    _, fence = await start(results, claim)
    assert await results.finish(fence, finish) is finish.state
    return fence
