"""Messages on their way to the queue: what is prepared of each, and the one way they are sent.

Bodies that are too large for the queue leave their arguments in the payload store first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from ..brokers.base import MAX_BODY_BYTES, Answer, EntryError, Outgoing
from ..brokers.sqs_limits import utf8_bytes
from ..core.message import Message, deduplication_id, new_body
from ..errors import ArgumentsError, AwsError, ConfigError, PayloadTooLarge, TaskQError
from ..middleware.base import Middleware
from ..results.records import Call, KeyLock
from .services import Services

if TYPE_CHECKING:
    from ..core.schedule_spec import ScheduleSpec

PUTS_AT_ONCE = 4
"""Objects of one call that are put side by side; each is over a megabyte."""

SCHEDULES_AT_ONCE = 8
"""Schedules of one call that are made side by side: the service has no call for several."""


class UniqueKeyClaim:
    """A unique key that is locked for a message on its way, and what the queue said to the message.

    Attributes:
        lock: the lock as written, or to be written.
        raises: a key that is taken is an error.
        accepted: the queue has the message.
        doubts: sends of which nobody knows whether the queue has the message now.
    """

    __slots__ = ("accepted", "doubts", "lock", "raises")

    def __init__(self, lock: KeyLock, raises: bool) -> None:
        self.lock = lock
        self.raises = raises
        self.accepted = False
        self.doubts = 0

    @property
    def name(self) -> tuple[str, str]:
        """What must be unique."""
        return self.lock.task, self.lock.key

    def answered(self, answer: Answer) -> None:
        """The queue answered a send."""
        self.accepted |= answer is None
        self.doubts -= answer is None or not answer.ambiguous


class OutgoingTask(NamedTuple):
    """A checked message on its way to the queue.

    Args:
        delay: whole seconds, 0 to 900.
        hooks: the task's middlewares that wrap dispatch, the first outermost.
        ttl: where QUEUED is recorded, epoch seconds until which the record lives; None elsewhere.
        held: the message's unique key, if it has one.
        call: where QUEUED is recorded, the arguments as the record shows them; None where it does not.
        spec: the schedule that brings the message to the queue, where it does not go there now; its body is filled
            in when the hooks have seen the message.
    """

    message: Message
    queue: str
    fifo: bool
    delay: int
    group: str | None
    hooks: tuple[Middleware, ...]
    ttl: float | None
    held: UniqueKeyClaim | None = None
    spec: ScheduleSpec | None = None
    call: Call | None = None


class NotSent(TaskQError):
    """The queue did not accept an entry. Seen by dispatch hooks; callers get :class:`EnqueueError`."""

    def __init__(self, error: EntryError) -> None:
        self.error = error
        super().__init__(f"{error.code}: {error.message}")


async def send(services: Services, prepared: Sequence[OutgoingTask], messages: Sequence[Message]) -> list[Answer]:
    """Send `messages`, which stand for `prepared`: None or the reason for each.

    Tells the unique keys what became of their messages; until then each is in doubt.
    """
    held = [one.held for one in prepared]
    if not any(held):
        return await _send_bodies(services, prepared, messages)
    for one in held:
        if one is not None:
            one.doubts += 1
    try:
        answers = await _send_bodies(services, prepared, messages)
    except (ArgumentsError, ConfigError, PayloadTooLarge) as error:  # nothing was sent
        _record_answers(held, [EntryError(type(error).__name__, str(error))] * len(held))
        raise
    _record_answers(held, answers)
    return answers


def _record_answers(held: Sequence[UniqueKeyClaim | None], answers: Sequence[Answer]) -> None:
    for one, answer in zip(held, answers, strict=True):
        if one is not None:
            one.answered(answer)


async def _send_bodies(
    services: Services, prepared: Sequence[OutgoingTask], messages: Sequence[Message]
) -> list[Answer]:
    bodies = [new_body(message) for message in messages]
    found: dict[int, Answer] = {}
    large = [index for index, body in enumerate(bodies) if _is_large(body, prepared[index])]
    if large:
        found.update(await _put_arguments(services, messages, bodies, large))
    timed = [index for index, one in enumerate(prepared) if one.spec is not None and index not in found]
    if timed:
        found.update(await _schedule(services, prepared, bodies, timed))
    if not found:
        return await services.broker.send(list(map(_outgoing, prepared, messages, bodies)))
    rest = [index for index in range(len(messages)) if index not in found]
    if rest:
        outgoing = [_outgoing(prepared[index], messages[index], bodies[index]) for index in rest]
        found.update(zip(rest, await services.broker.send(outgoing), strict=True))
    return [found[index] for index in range(len(messages))]


def _outgoing(prepared: OutgoingTask, message: Message, body: str) -> Outgoing:
    return Outgoing(
        prepared.queue,
        body,
        message.id,
        prepared.delay,
        prepared.group,
        deduplication_id(message.id, message.task, message.run, message.attempt) if prepared.fifo else None,
    )


async def _schedule(
    services: Services, prepared: Sequence[OutgoingTask], bodies: Sequence[str], timed: Sequence[int]
) -> dict[int, Answer]:
    """Make the schedules that bring messages to their queues. One that stands already is as good as accepted."""
    from ..scheduler.delays import literal  # only where something is scheduled: a cold start should not pay
    from ..scheduler.spec import NO_SCHEDULER

    if (store := services.schedules) is None:
        task = prepared[timed[0]].message.task
        raise ConfigError(
            f"task {task}: schedules, delays above 900 s and delays on FIFO go by EventBridge Scheduler, and {NO_SCHEDULER}"
        )

    async def create(index: int) -> Answer:
        spec = prepared[index].spec
        assert spec is not None
        body = bodies[index]
        if prepared[index].message.id:  # a single task's own message, which no clock has anything to fill in
            body = literal(body)
        try:
            await store.create(spec._replace(body=body))
        except AwsError as error:
            return EntryError(error.code, error.message, error.transient, ambiguous=error.ambiguous)
        return None

    return dict(zip(timed, await services.flow.map(create, timed, SCHEDULES_AT_ONCE), strict=True))


# -- messages that are too large --------------------------------------------------------------------------------


def _is_large(body: str, prepared: OutgoingTask) -> bool:
    # No character takes more than 4 bytes, so that small bodies are not encoded just to be measured.
    limit = MAX_BODY_BYTES
    if prepared.spec is not None:
        from ..scheduler.spec import MAX_INPUT_BYTES

        limit = MAX_INPUT_BYTES
    return len(body) > limit // 4 and utf8_bytes(body) > limit


async def _put_arguments(
    services: Services, messages: Sequence[Message], bodies: list[str], large: Sequence[int]
) -> dict[int, EntryError]:
    """Put the arguments of large messages into the bucket, where there is one, and pointers into their bodies.

    Answers the entries for which that failed. Where there is no bucket, the broker refuses the message.
    """
    if (payloads := services.payloads) is None:
        return {}
    from ..payloads.claim_check import offload_message  # hardly any message is that large

    deposits = {index: offload_message(messages[index]) for index in large}

    async def put(index: int) -> EntryError | None:
        bodies[index], (key, content) = deposits[index]
        try:
            await payloads.put(key, content)
        except AwsError as error:
            text = f"the arguments could not be put into the bucket: {error.message}"
            return EntryError(error.code, text, transient=error.transient)
        return None

    answers = await services.flow.map(put, large, PUTS_AT_ONCE)
    return {index: answer for index, answer in zip(large, answers, strict=True) if answer is not None}
