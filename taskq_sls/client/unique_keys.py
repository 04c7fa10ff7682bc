"""Unique keys at enqueue: lock the key, send, confirm.

A lock that was never confirmed belongs to an enqueue that broke off between the two: after a minute the next
caller sends the task again under the same id, and the claim makes the two one. What the queue refused for
certain frees its key; what it may have accepted does not.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import NamedTuple, TypeVar

from ..brokers.base import EntryError
from ..core.backoff import Backoff
from ..core.flow import Flow
from ..core.message import Message
from ..errors import AwsError, ConfigError, DuplicateTask
from ..results.records import KeyLock
from ..results.unique_keys import RESEND_AFTER, give_back
from .dispatch import dispatch
from .sending import NotSent, OutgoingTask, UniqueKeyClaim
from .services import Services

logger = logging.getLogger("taskq_sls.dispatch")

T = TypeVar("T")

PARALLEL = 16
"""Keys of one call that are locked, or confirmed, at once."""

TRIES = 4
"""Calls to lock a key: the first, and three more while the fault is transient."""

FIRST_BACKOFF_SECONDS = 0.2
"""The wait before the second try; it doubles with each."""

RACES = 5
"""How often one enqueue starts over when the lock changes while it is looked at."""


class Existing(NamedTuple):
    """The task that holds the key an entry asked for: nothing was sent for this entry."""

    id: str
    queue: str


Sent = Message | Existing | Exception


async def send_unique(services: Services, prepared: Sequence[OutgoingTask]) -> list[Sent]:
    """`dispatch` with the messages' unique keys locked before and settled after.

    Answers for each entry the message as sent, the task that was there first, or why it was not sent.

    Raises:
        ConfigError, PayloadTooLarge: as `dispatch`; or the table does not exist.
    """
    if not any(one.held is not None for one in prepared):
        return list(await dispatch(services, prepared))
    # Of several entries with one key the first locks it for all.
    first: dict[tuple[str, str], int] = {}
    for index, one in enumerate(prepared):
        if one.held is not None:
            first.setdefault(one.held.name, index)
    locked = await services.flow.map(lambda index: _lock(services, prepared[index]), list(first.values()), PARALLEL)
    of_leader = dict(zip(first.values(), locked, strict=True))
    to_send = {
        index: answer
        for index, one in enumerate(prepared)
        if isinstance(answer := one if one.held is None else of_leader.get(index), OutgoingTask)
    }
    fault = next((answer for answer in locked if isinstance(answer, ConfigError)), None)
    if fault is not None:  # of the table, and so of every entry
        await _settle(services, to_send.values())
        raise fault
    try:
        answers = await dispatch(services, list(to_send.values())) if to_send else []
    except Exception:
        await _settle(services, to_send.values())
        raise
    await _settle(services, to_send.values())
    sent = dict(zip(to_send, answers, strict=True))

    def answer_of(index: int, one: OutgoingTask) -> Sent:
        if index in sent:
            return sent[index]
        assert one.held is not None
        leader = first[one.held.name]
        found = sent.get(leader, of_leader[leader])
        if isinstance(found, Exception):
            return found
        if one.held.raises:
            return DuplicateTask(id=_id(found), task=one.held.lock.task, key=one.held.lock.key)
        return found if isinstance(found, Existing) else Existing(_id(found), prepared[leader].queue)

    return [answer_of(index, one) for index, one in enumerate(prepared)]


def _id(found: Message | Existing | OutgoingTask) -> str:
    return found.message.id if isinstance(found, OutgoingTask) else found.id


async def _lock(services: Services, wanted: OutgoingTask) -> OutgoingTask | Existing | Exception:
    """Lock an entry's key. Answers the entry to send (under the id of an enqueue that broke off, if need be)."""
    held = wanted.held
    assert held is not None
    try:
        return await _try_to_lock(services, wanted, held)
    except ConfigError as error:
        return error
    except AwsError as error:
        # The answer may be lost while the lock stands, and what is not sent must not hold its key.
        await _free(services, held.lock)
        return NotSent(EntryError(error.code, f"the unique key could not be locked: {error.message}", error.transient))


async def _try_to_lock(services: Services, wanted: OutgoingTask, held: UniqueKeyClaim) -> OutgoingTask | Existing:
    results, own = services.results, held.lock
    wish, over = own, None
    for _ in range(RACES):
        stands = await _insist(services.flow, partial(results.lock_key, wish, over))
        # Our own id stands there too where an enqueue is repeated: with the same id that is safe.
        if stands == wish or stands.id == own.id:
            held.lock = wish
            return wanted._replace(message=wanted.message._replace(id=wish.id))
        record = await _insist(services.flow, partial(results.get, stands.id, now=own.locked_at))
        if record is not None and record.status.terminal:
            # Whoever ended it did not come to free the key.
            wish, over = own, stands
        elif stands.confirmed or own.locked_at < stands.locked_at + RESEND_AFTER:
            return Existing(stands.id, stands.queue)
        elif record is not None:  # so its message was accepted
            await _confirm(services, stands)
            return Existing(stands.id, stands.queue)
        else:
            wish, over = own._replace(id=stands.id), stands
    raise AwsError("lock_key", "Contended", f"its lock changed {RACES} times meanwhile; try again", transient=True)


async def _settle(services: Services, sent: Iterable[OutgoingTask]) -> None:
    """Confirm the keys of what was accepted, free those of what was not, and leave what nobody knows."""

    async def settle(held: UniqueKeyClaim) -> None:
        if held.accepted:
            await _confirm(services, held.lock)
        elif not held.doubts:
            await _free(services, held.lock)

    await services.flow.map(settle, [one.held for one in sent if one.held is not None], PARALLEL)


async def _confirm(services: Services, lock: KeyLock) -> None:
    try:
        # The task may have ended by now and freed its key: then there is nothing to confirm.
        await services.results.confirm_key(lock.task, lock.key, lock.id)
    except (AwsError, ConfigError) as error:
        logger.warning("task %s is sent, its unique key not confirmed: %s", lock.id, error, extra={"task_id": lock.id})


async def _free(services: Services, lock: KeyLock) -> None:
    # This lock only: another caller may have sent the task again under the same id.
    await give_back(services.results, lock.task, lock.key, lock.id, lock.locked_at)


async def _insist(flow: Flow, call: Callable[[], Awaitable[T]]) -> T:
    """Repeat a call over transient faults, for a second or two."""
    backoff = Backoff(FIRST_BACKOFF_SECONDS)
    for _ in range(TRIES - 1):
        try:
            return await call()
        except AwsError as error:
            if not error.transient:
                raise
        await flow.sleep(backoff.next())
    return await call()
