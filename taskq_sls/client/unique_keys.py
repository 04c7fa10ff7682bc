"""Unique keys at enqueue: lock the key, send, confirm the lock.

An unconfirmed lock is left by an enqueue that crashed between the two: after a minute the next caller sends the task
again under the same id, and the claim runs the task once. If the queue certainly refused a message, its key is freed;
if it may have accepted the message, the key stays locked.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeVar

from ..brokers.base import Answer, EntryError
from ..core.backoff import Backoff
from ..core.flow import Flow
from ..core.message import Message
from ..errors import ArgumentsError, AwsError, ConfigError, DuplicateTask, PayloadTooLarge
from ..results.base import RESEND_AFTER_SECONDS, free_unique_key
from ..results.records import KeyLock
from .dispatch import dispatch
from .sending import NotSent, OutgoingTask, UniqueKeyClaim, send
from .services import Services

logger = logging.getLogger("taskq_sls.dispatch")

T = TypeVar("T")

PARALLEL_KEYS = 16
"""Keys of one call that are locked, or confirmed, at once."""

TRIES = 4
"""Calls to lock a key: the first, and three more while the fault is transient."""

FIRST_BACKOFF_SECONDS = 0.2
"""The wait before the second try; it doubles with each."""

MAX_CONFLICTS = 5
"""Times that one enqueue starts over because another caller changed the lock meanwhile."""


class Existing(NamedTuple):
    """The task that already has the key of an entry. Nothing was sent for this entry."""

    id: str
    queue: str


Sent = Message | Existing | Exception


def send_tasks(services: Services, tasks: Sequence[OutgoingTask]) -> Coroutine[Any, Any, Sequence[Sent]]:
    """Send tasks. Returns for each the message as sent, the task that has its unique key, or the reason why not.

    Raises:
        ConfigError, PayloadTooLarge: as `dispatch`; or a task has a unique key and the table does not exist.
    """
    if any(task.key_claim is not None for task in tasks):
        return _send_unique(services, tasks)
    return dispatch(services, tasks)


async def _send_unique(services: Services, tasks: Sequence[OutgoingTask]) -> list[Sent]:
    """Lock the unique keys, send, then confirm or free the keys."""
    # If several entries have one key, the first locks it for all.
    leaders: dict[tuple[str, str], int] = {}
    for index, task in enumerate(tasks):
        if task.key_claim is not None:
            leaders.setdefault(task.key_claim.name, index)
    answers = await services.flow.map(lambda index: _lock(services, tasks[index]), [*leaders.values()], PARALLEL_KEYS)
    locked = dict(zip(leaders.values(), answers, strict=True))
    candidates = {index: task if task.key_claim is None else locked.get(index) for index, task in enumerate(tasks)}
    to_send = {index: answer for index, answer in candidates.items() if isinstance(answer, OutgoingTask)}
    try:
        for answer in answers:
            if isinstance(answer, ConfigError):  # of the table, and so of every entry
                raise answer
        ends = await dispatch(services, list(to_send.values()), _send_claimed) if to_send else []
    except Exception:
        await _settle(services, to_send.values())
        raise
    await _settle(services, to_send.values())
    sent = dict(zip(to_send, ends, strict=True))

    def outcome(index: int, task: OutgoingTask) -> Sent:
        if index in sent:
            return sent[index]
        assert task.key_claim is not None
        leader = leaders[task.key_claim.name]
        found = sent.get(leader, locked[leader])
        if isinstance(found, Exception):
            return found
        id = found.message.id if isinstance(found, OutgoingTask) else found.id
        if task.key_claim.raise_if_taken:
            return DuplicateTask(id=id, task=task.key_claim.lock.task, key=task.key_claim.lock.key)
        return found if isinstance(found, Existing) else Existing(id, tasks[leader].queue)

    return [outcome(index, task) for index, task in enumerate(tasks)]


async def _send_claimed(services: Services, tasks: Sequence[OutgoingTask], messages: Sequence[Message]) -> list[Answer]:
    """`send`, which also records the answers in the claims of the tasks. Until then each claim is unresolved."""
    claims = [task.key_claim for task in tasks]
    for claim in claims:
        if claim is not None:
            claim.unresolved += 1
    try:
        answers = await send(services, tasks, messages)
    except (ArgumentsError, ConfigError, PayloadTooLarge) as error:  # nothing was sent
        _record_answers(claims, [EntryError(type(error).__name__, str(error))] * len(claims))
        raise
    _record_answers(claims, answers)
    return answers


def _record_answers(claims: Sequence[UniqueKeyClaim | None], answers: Sequence[Answer]) -> None:
    for claim, answer in zip(claims, answers, strict=True):
        if claim is not None:
            claim.answered(answer)


async def _lock(services: Services, task: OutgoingTask) -> OutgoingTask | Existing | Exception:
    """Lock a task's key. Returns the task to send, under the id of a crashed enqueue if there was one."""
    assert task.key_claim is not None
    try:
        return await _try_to_lock(services, task, task.key_claim)
    except ConfigError as error:
        return error
    except AwsError as error:
        # The lock may be written although the answer was lost. A task that is not sent must not keep its key.
        await _free(services, task.key_claim.lock)
        return NotSent(EntryError(error.code, f"the unique key could not be locked: {error.message}", error.transient))


async def _try_to_lock(services: Services, task: OutgoingTask, claim: UniqueKeyClaim) -> OutgoingTask | Existing:
    results, mine = services.results, claim.lock
    wanted: KeyLock = mine
    replacing: KeyLock | None = None
    for _ in range(MAX_CONFLICTS):
        current = await _retry_transient(services.flow, partial(results.lock_key, wanted, replacing))
        # The lock has our own id also if an enqueue is repeated: with the same id that is safe.
        if current == wanted or current.id == mine.id:
            claim.lock = wanted
            return task._replace(message=task.message._replace(id=wanted.id))
        record = await _retry_transient(services.flow, partial(results.get, current.id, now=mine.locked_at))
        if record is not None and record.status.terminal:
            # The worker that ended the task crashed before it freed the key.
            wanted, replacing = mine, current
        elif current.confirmed or mine.locked_at < current.locked_at + RESEND_AFTER_SECONDS:
            return Existing(current.id, current.queue)
        elif record is not None:  # so its message was accepted
            await _confirm(services, current)
            return Existing(current.id, current.queue)
        else:
            wanted, replacing = mine._replace(id=current.id), current
    raise AwsError(
        "lock_key", "Contended", f"its lock changed {MAX_CONFLICTS} times meanwhile; try again", transient=True
    )


async def _settle(services: Services, sent: Iterable[OutgoingTask]) -> None:
    """Confirm the keys of accepted messages and free those of refused ones. Unresolved keys stay locked."""

    async def settle(claim: UniqueKeyClaim) -> None:
        if claim.accepted:
            await _confirm(services, claim.lock)
        elif not claim.unresolved:
            await _free(services, claim.lock)

    await services.flow.map(settle, [task.key_claim for task in sent if task.key_claim is not None], PARALLEL_KEYS)


async def _confirm(services: Services, lock: KeyLock) -> None:
    try:
        # If the task has ended and freed its key by now, this changes nothing.
        await services.results.confirm_key(lock.task, lock.key, lock.id)
    except (AwsError, ConfigError) as error:
        logger.warning("task %s is sent, its unique key not confirmed: %s", lock.id, error, extra={"task_id": lock.id})


async def _free(services: Services, lock: KeyLock) -> None:
    # Only this lock: another caller may have sent the task again under the same id.
    await free_unique_key(services.results, lock.task, lock.key, lock.id, lock.locked_at)


async def _retry_transient(flow: Flow, call: Callable[[], Awaitable[T]]) -> T:
    """Call; repeat the call after transient faults, for a second or two."""
    backoff = Backoff(FIRST_BACKOFF_SECONDS)
    for _ in range(TRIES - 1):
        try:
            return await call()
        except AwsError as error:
            if not error.transient:
                raise
        await flow.sleep(backoff.next())
    return await call()
