"""The header Idempotency-Key: a repeated request creates no second task.

The task ids are a digest of caller, key and content, so a repetition has the same ids. A lock in the table keeps the key
for a day: a request that finds it locked for other ids reuses the key for other content, and is refused.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
from typing import Any, NamedTuple

from ..core.times import DAY
from ..errors import AwsError
from ..results.base import RESEND_AFTER_SECONDS, free_unique_key
from ..results.records import KeyLock
from .problems import ProblemError
from .request_context import RequestContext

logger = logging.getLogger("taskq_sls.web")

HEADER = "Idempotency-Key"

MAX_KEY_CHARACTERS = 200
KEY_LIFETIME_SECONDS = DAY
SPACE = "http:idempotency-key"
"""Stands in for the task name in the locks of keys."""


class KeyedRequest(NamedTuple):
    """A request with a key.

    Args:
        lock: of this request, or of the earlier one that it repeats.
        done: the earlier one has sent its tasks.
    """

    lock: KeyLock
    done: bool

    def id(self, index: int | None = None) -> str:
        """Return the id of its task, or of the task at `index` in a batch."""
        return self.lock.id if index is None else f"{self.lock.id}.{index}"


async def begin(context: RequestContext, key: str, content: Any, queue: str) -> KeyedRequest:
    """Lock the key of a request.

    Args:
        content: of the request, as JSON values.

    Raises:
        ProblemError: the key was used for other content, or the same request is in progress.
        AwsError, MissingResource: the table cannot be written.
    """
    lock = _lock(context, key, content, queue)
    replaced = None
    for _ in range(2):
        current = await context.services.results.lock_key(lock, replaced)
        if current == lock:
            return KeyedRequest(lock, False)
        if current.id != lock.id:
            raise ProblemError("key-reused", f"{HEADER} {key!r:.80} was used with other content; use a new key")
        if current.confirmed:
            return KeyedRequest(current, True)
        if context.now < current.locked_at + RESEND_AFTER_SECONDS:
            break
        # The earlier request was interrupted. Replacing its lock is safe: its tasks have the same ids.
        replaced = current
    wait = max(1, math.ceil(current.locked_at + RESEND_AFTER_SECONDS - context.now))
    detail = f"it began {RESEND_AFTER_SECONDS - wait:.0f} s ago; try again in {wait} s"
    raise ProblemError("request-in-progress", detail, headers={"Retry-After": str(wait)})


async def finish(context: RequestContext, request: KeyedRequest) -> None:
    """Record that the tasks were sent. If that fails, a repetition sends the same ids again."""
    try:
        await context.services.results.confirm_key(SPACE, request.lock.key, request.lock.id)
    except AwsError as error:
        logger.warning("an idempotency key could not be confirmed: %s", error, extra={"action": "idempotency_fault"})


async def release(context: RequestContext, request: KeyedRequest) -> None:
    """Free the key: the request failed, and may be repeated at once."""
    lock = request.lock
    await free_unique_key(context.services.results, SPACE, lock.key, lock.id, lock.locked_at)


def _lock(context: RequestContext, key: str, content: Any, queue: str) -> KeyLock:
    owner = context.caller_digest(key)[:32]
    now = context.now
    id = f"http-{owner[:24]}-{_digest(content)[:24]}"
    return KeyLock(task=SPACE, key=owner, id=id, queue=queue, locked_at=now, ttl=math.ceil(now + KEY_LIFETIME_SECONDS))


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
