"""Outgoing tasks, and the one function that sends them.

If a body is too large for the queue, its arguments are put into the payload store first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from ..brokers.base import MAX_BODY_BYTES, Answer, EntryError, Outgoing
from ..brokers.sqs_limits import utf8_bytes
from ..core.message import Message, deduplication_id, new_body
from ..errors import AwsError, ConfigError, TaskQError
from ..middleware.base import Middleware
from ..results.records import Call, KeyLock
from .services import Services

if TYPE_CHECKING:
    from ..core.schedule_spec import ScheduleSpec

PARALLEL_PUTS = 4
"""Objects of one call that are put into the bucket at once; each is over a megabyte."""

PARALLEL_SCHEDULES = 8
"""Schedules of one call that are created at once: the service has no batch call."""


class UniqueKeyClaim:
    """The unique key of an outgoing message, with its lock and the queue's answers.

    Attributes:
        lock: the lock as written, or to be written.
        raise_if_taken: raise DuplicateTask if another task has the key.
        accepted: True once the queue has accepted the message.
        unresolved: sends whose outcome is unknown.
    """

    __slots__ = ("accepted", "lock", "raise_if_taken", "unresolved")

    def __init__(self, lock: KeyLock, raise_if_taken: bool) -> None:
        self.lock = lock
        self.raise_if_taken = raise_if_taken
        self.accepted = False
        self.unresolved = 0

    @property
    def name(self) -> tuple[str, str]:
        """Task name and key: the pair that must be unique."""
        return self.lock.task, self.lock.key

    def answered(self, answer: Answer) -> None:
        """Count the queue's answer to a send."""
        self.accepted |= answer is None
        self.unresolved -= answer is None or not answer.ambiguous


class OutgoingTask(NamedTuple):
    """A checked message that is ready to be sent.

    Args:
        delay: whole seconds, 0 to 900.
        hooks: the task's middlewares with a dispatch hook, the first outermost.
        ttl: if QUEUED is recorded, the epoch seconds at which the record is deleted; otherwise None.
        key_claim: the claim of the message's unique key, if it has one.
        spec: the schedule that brings the message to the queue, if it is not sent now. Its body is filled in after
            the dispatch hooks.
        call: the arguments for the record of a QUEUED task, if they are recorded.
    """

    message: Message
    queue: str
    fifo: bool
    delay: int
    group: str | None
    hooks: tuple[Middleware, ...]
    ttl: float | None = None
    key_claim: UniqueKeyClaim | None = None
    spec: ScheduleSpec | None = None
    call: Call | None = None


class NotSent(TaskQError):
    """The queue did not accept an entry. Dispatch hooks get this; callers get :class:`EnqueueError`."""

    def __init__(self, error: EntryError) -> None:
        self.error = error
        super().__init__(f"{error.code}: {error.message}")


async def send(services: Services, tasks: Sequence[OutgoingTask], messages: Sequence[Message]) -> list[Answer]:
    """Send the messages of tasks, as their hooks left them: None, or the reason, for each.

    Raises:
        ConfigError: a queue or the scheduler does not exist. Nothing was sent.
        ArgumentsError, PayloadTooLarge: a message cannot be written, or is too large. Nothing was sent.
    """
    bodies = [new_body(message) for message in messages]
    large = [index for index, body in enumerate(bodies) if _is_large(body, tasks[index])]
    if large or any(task.spec is not None for task in tasks):
        return await _send_apart(services, tasks, messages, bodies, large)
    return await services.broker.send(list(map(_outgoing, tasks, messages, bodies)))


async def _send_apart(
    services: Services,
    tasks: Sequence[OutgoingTask],
    messages: Sequence[Message],
    bodies: list[str],
    large: Sequence[int],
) -> list[Answer]:
    """Put large arguments into the bucket and create schedules first; send the rest to the queue."""
    found: dict[int, Answer] = {}
    if large:
        found.update(await _put_arguments(services, messages, bodies, large))
    scheduled = [index for index, task in enumerate(tasks) if task.spec is not None and index not in found]
    if scheduled:
        found.update(await _create_schedules(services, tasks, bodies, scheduled))
    rest = [index for index in range(len(messages)) if index not in found]
    if rest:
        outgoing = [_outgoing(tasks[index], messages[index], bodies[index]) for index in rest]
        found.update(zip(rest, await services.broker.send(outgoing), strict=True))
    return [found[index] for index in range(len(messages))]


def _outgoing(task: OutgoingTask, message: Message, body: str) -> Outgoing:
    # By position: keywords take longer, and every send comes through here.
    return Outgoing(
        task.queue,
        body,
        message.id,
        task.delay,
        task.group,
        deduplication_id(message.id, message.task, message.run, message.attempt) if task.fifo else None,
    )


async def _create_schedules(
    services: Services, tasks: Sequence[OutgoingTask], bodies: Sequence[str], scheduled: Sequence[int]
) -> dict[int, Answer]:
    """Create the schedules that bring messages to their queues. If one exists already, it counts as created."""
    from ..scheduler.delays import literal  # only for schedules: keeps cold starts short
    from ..scheduler.spec import NO_SCHEDULER

    if (store := services.schedules) is None:
        task = tasks[scheduled[0]].message.task
        raise ConfigError(
            f"task {task}: schedules, delays above 900 s and delays on FIFO go by EventBridge Scheduler, and {NO_SCHEDULER}"
        )

    async def create(index: int) -> Answer:
        spec = tasks[index].spec
        assert spec is not None
        body = bodies[index]
        if tasks[index].message.id:  # a delayed task, not a recurring schedule: the clock must replace nothing in it
            body = literal(body)
        try:
            await store.create(spec._replace(body=body))
        except AwsError as error:
            return EntryError(error.code, error.message, error.transient, ambiguous=error.ambiguous)
        return None

    return dict(zip(scheduled, await services.flow.map(create, scheduled, PARALLEL_SCHEDULES), strict=True))


# -- large messages ---------------------------------------------------------------------------------------------


def _is_large(body: str, task: OutgoingTask) -> bool:
    limit = MAX_BODY_BYTES
    if task.spec is not None:
        from ..scheduler.spec import MAX_INPUT_BYTES

        limit = MAX_INPUT_BYTES
    # A character takes at most 4 bytes, so a short body need not be encoded to be measured.
    return len(body) > limit // 4 and utf8_bytes(body) > limit


async def _put_arguments(
    services: Services, messages: Sequence[Message], bodies: list[str], large: Sequence[int]
) -> dict[int, EntryError]:
    """Put the arguments of large messages into the bucket, and replace them in `bodies` by pointers.

    Returns the entries for which that failed. Without a bucket, the broker refuses the messages.
    """
    if (payloads := services.payloads) is None:
        return {}
    from ..payloads.claim_check import offload_message  # hardly any message is that large

    stored = {index: offload_message(messages[index]) for index in large}

    async def put(index: int) -> EntryError | None:
        bodies[index], (key, content) = stored[index]
        try:
            await payloads.put(key, content)
        except AwsError as error:
            text = f"the arguments could not be put into the bucket: {error.message}"
            return EntryError(error.code, text, transient=error.transient)
        return None

    answers = await services.flow.map(put, large, PARALLEL_PUTS)
    return {index: answer for index, answer in zip(large, answers, strict=True) if answer is not None}
