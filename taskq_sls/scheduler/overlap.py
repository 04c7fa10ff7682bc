"""One firing of a schedule at a time, where it is declared so: decided when a firing is claimed."""

from __future__ import annotations

from ..core.lifetimes import MIN_RESULT_TTL
from ..results.base import ResultBackend
from ..results.records import Claim, KeyLock

MAX_CONFLICTS = 5
"""How often the lock may change while it is looked at before the firing is let through."""

YOUNG = 60.0
"""Seconds for which a lock whose task has no record is taken for one whose claim is being written."""


async def holder(results: ResultBackend, claim: Claim) -> str | None:
    """The id of the firing that still runs, or waits for a retry; None: the lock is this claim's now.

    The lock is the unique key of the claim; it is freed where every unique key is, when the task has ended. One
    whose holder has ended without freeing it, or has stalled, is taken over.
    """
    assert claim.unique_key is not None
    now = claim.now
    own = KeyLock(claim.task, claim.unique_key, claim.id, claim.queue, now, now + MIN_RESULT_TTL, confirmed=True)
    over: KeyLock | None = None
    for _ in range(MAX_CONFLICTS):
        stands = await results.lock_key(own, over)
        if stands.id == claim.id:
            return None
        record = await results.get(stands.id, now=now)
        running = (
            stands.locked_at > now - YOUNG if record is None else not (record.status.terminal or record.stalled(now))
        )
        if running:
            return stands.id
        over = stands
    return None
