"""The header Idempotency-Key: a request that comes again makes no second task.

The ids of a request's tasks are made of its caller, its key and its content, so that they are the same again. A lock
in the table remembers the key for a day: who finds it taken by other ids has sent another request under the same key.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
from typing import Any, NamedTuple

from ..core.lifetimes import DAY
from ..errors import AwsError
from ..results.base import RESEND_AFTER, give_back
from ..results.records import KeyLock
from .problems import ProblemError
from .request_context import RequestContext

logger = logging.getLogger("taskq_sls.web")

HEADER = "Idempotency-Key"

MAX_KEY_CHARACTERS = 200
"""Longest key, in characters."""

KEY_LIFETIME_SECONDS = DAY
"""Seconds for which a key is remembered."""

SPACE = "http:idempotency-key"
"""In place of the name of a task, in whose space a lock's key counts."""


class Request(NamedTuple):
    """A request with a key.

    Args:
        lock: that this request wants, or found.
        done: the same request came before and was carried out.
    """

    lock: KeyLock
    done: bool

    def id(self, index: int | None = None) -> str:
        """The id of its task; of several, the one at `index`."""
        return self.lock.id if index is None else f"{self.lock.id}.{index}"


async def begin(context: RequestContext, key: str, content: Any, queue: str) -> Request:
    """Take up a request.

    Args:
        content: what it asks for, as JSON values.

    Raises:
        ProblemError: the key belongs to another request, or to this one, which is being carried out.
        AwsError, MissingResource: the table cannot be written.
    """
    lock = _lock(context, key, content, queue)
    over = None
    for _ in range(2):
        stands = await context.services.results.lock_key(lock, over)
        if stands == lock:
            return Request(lock, False)
        if stands.id != lock.id:
            raise ProblemError("key-reused", f"{HEADER} {key!r:.80} was given with another content; take another key")
        if stands.confirmed:
            return Request(stands, True)
        if context.now < stands.locked_at + RESEND_AFTER:
            break
        # Whoever took it up before broke off: what it may have sent has the same ids.
        over = stands
    wait = max(1, math.ceil(stands.locked_at + RESEND_AFTER - context.now))
    raise ProblemError(
        "request-in-progress", f"it came {RESEND_AFTER - wait:.0f} s ago; ask again", headers={"Retry-After": str(wait)}
    )


async def finish(context: RequestContext, request: Request) -> None:
    """Remember that it was carried out. A fault leaves it to the next try, which sends the same ids again."""
    try:
        await context.services.results.confirm_key(SPACE, request.lock.key, request.lock.id)
    except AwsError as error:
        logger.warning("an idempotency key is not confirmed: %s", error, extra={"action": "idempotency_fault"})


async def release(context: RequestContext, request: Request) -> None:
    """Forget it: it failed, and may come again at once."""
    lock = request.lock
    await give_back(context.services.results, SPACE, lock.key, lock.id, lock.locked_at)


def _lock(context: RequestContext, key: str, content: Any, queue: str) -> KeyLock:
    owner = context.caller_digest(key)[:32]
    now = context.now
    id = f"http-{owner[:24]}-{_digest(content)[:24]}"
    return KeyLock(SPACE, owner, id, queue, now, math.ceil(now + KEY_LIFETIME_SECONDS))


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
