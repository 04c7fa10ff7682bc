"""``overlap="skip"``: one firing of a schedule at a time, decided when a firing is claimed."""

from __future__ import annotations

from ..core.times import MIN_RESULT_TTL
from ..results.base import ResultBackend
from ..results.records import Claim, KeyLock

MAX_CONFLICTS = 5
"""How often the lock may change hands before the firing runs without it."""

UNRECORDED_SECONDS = 60.0
"""Age up to which a lock without a task record counts as held: its claim is being written."""


async def holder(results: ResultBackend, claim: Claim) -> str | None:
    """The task id of a firing that still runs or waits for a retry; None if this claim has the lock now.

    The lock is the claim's unique key, which is freed when the task ends. If its holder ended without freeing it, or has
    stalled, the lock is taken over.
    """
    assert claim.unique_key is not None
    now = claim.now
    mine = KeyLock(claim.task, claim.unique_key, claim.id, claim.queue, now, now + MIN_RESULT_TTL, confirmed=True)
    replacing: KeyLock | None = None
    for _ in range(MAX_CONFLICTS):
        current = await results.lock_key(mine, replacing)
        if current.id == claim.id:
            return None
        record = await results.get(current.id, now=now)
        if record is None:
            running = current.locked_at > now - UNRECORDED_SECONDS
        else:
            running = not (record.status.terminal or record.stalled(now))
        if running:
            return current.id
        replacing = current
    return None
