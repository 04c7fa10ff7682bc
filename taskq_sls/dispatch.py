"""From a prepared message to the queue: the dispatch onion around batched sends.

Each message goes through the hooks of its task, yet all messages of a call are sent in batches: a hook's
innermost ``call_next`` only says "send this", the hooks of the whole call are brought to that point one
after the other, the batch is sent, and each hook is resumed with the answer to its own entry.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable, Coroutine, Generator, Sequence
from functools import partial
from typing import Any, NamedTuple

from .brokers.base import MAX_BODY_BYTES, Answer, EntryError, Outgoing
from .brokers.packing import utf8_bytes
from .errors import (
    ArgumentsError,
    AwsError,
    ConfigError,
    EnqueueError,
    FailedEntry,
    PayloadTooLarge,
    SuspendedError,
    TaskQError,
)
from .flow import BlockingFlow, Flow, drive, innermost
from .message import Message
from .middleware.base import Middleware, overrides
from .results.records import Claim, KeyLock
from .services import Services
from .threads import Threads

logger = logging.getLogger("taskq_sls.dispatch")

PUTS_AT_ONCE = 4
"""Objects of one call that are put side by side; each is over a megabyte."""


class Held:
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


class Prepared(NamedTuple):
    """A checked message on its way to the queue.

    Args:
        delay: whole seconds, 0 to 900.
        hooks: the task's middlewares that wrap dispatch, the first outermost.
        ttl: where QUEUED is recorded, epoch seconds until which the record lives; None elsewhere.
        held: the message's unique key, if it has one.
    """

    message: Message
    queue: str
    fifo: bool
    delay: int
    group: str | None
    hooks: tuple[Middleware, ...]
    ttl: float | None
    held: Held | None = None


class NotSent(TaskQError):
    """The queue did not accept an entry. Seen by dispatch hooks; callers get :class:`EnqueueError`."""

    def __init__(self, error: EntryError) -> None:
        self.error = error
        super().__init__(f"{error.code}: {error.message}")


class _Send:
    """What an onion yields when it wants its message sent."""

    __slots__ = ("message",)

    def __init__(self, message: Message) -> None:
        self.message = message

    def __await__(self) -> Generator[_Send, None, None]:
        yield self


class _PassOn:
    """Hands a hook's own wait up to the event loop, unchanged."""

    __slots__ = ("waiting_for",)

    def __init__(self, waiting_for: Any) -> None:
        self.waiting_for = waiting_for

    def __await__(self) -> Generator[Any, Any, Any]:
        return (yield self.waiting_for)


async def dispatch(services: Services, prepared: Sequence[Prepared]) -> list[Message | Exception]:
    """Send all; answer for each the message as sent, or why it was not.

    Raises:
        ConfigError: a queue does not exist, or there are no credentials. Nothing was sent to that queue.
        PayloadTooLarge: a body is over the limit, and there is no bucket for its arguments; nothing was sent.
    """
    if not any(one.hooks for one in prepared):
        answers = await _send(services, prepared, [one.message for one in prepared])
        sent: list[Message | Exception] = [
            one.message if answer is None else NotSent(answer) for one, answer in zip(prepared, answers, strict=True)
        ]
    elif any(_waits_alone(one) for one in prepared):
        sent = await services.flow.map(lambda one: _alone(services, one), prepared, 8)
    else:
        sent = await _through_onions(services, prepared)
    await _record_queued(services, prepared, sent)
    return sent


def raise_failures(sent: Sequence[object], prepared: Sequence[Prepared], handles: Sequence[Any]) -> None:
    """Raise EnqueueError if anything was not sent; a hook's own exception on a single message as it is."""
    failed = [index for index, one in enumerate(sent) if isinstance(one, Exception)]
    if not failed:
        return
    first = sent[failed[0]]
    if len(sent) == 1 and isinstance(first, Exception) and not isinstance(first, NotSent):
        raise first
    entries = []
    for index in failed:
        error = sent[index]
        code = error.error.code if isinstance(error, NotSent) else type(error).__name__
        text = error.error.message if isinstance(error, NotSent) else str(error)
        cause = error if isinstance(error, Exception) and not isinstance(error, NotSent) else None
        entries.append(FailedEntry(index, prepared[index].message.id, code, text, cause))
    raise EnqueueError([handle for index, handle in enumerate(handles) if index not in set(failed)], entries)


async def _send(services: Services, prepared: Sequence[Prepared], messages: Sequence[Message]) -> list[Answer]:
    """Send, and tell the unique keys what became of their messages. Until then each is in doubt."""
    held = [one.held for one in prepared]
    if not any(held):
        return await _send_bodies(services, prepared, messages)
    for one in held:
        if one is not None:
            one.doubts += 1
    try:
        answers = await _send_bodies(services, prepared, messages)
    except (ArgumentsError, ConfigError, PayloadTooLarge) as error:  # nothing was sent
        _tell(held, [EntryError(type(error).__name__, str(error))] * len(held))
        raise
    _tell(held, answers)
    return answers


def _tell(held: Sequence[Held | None], answers: Sequence[Answer]) -> None:
    for one, answer in zip(held, answers, strict=True):
        if one is not None:
            one.answered(answer)


async def _send_bodies(services: Services, prepared: Sequence[Prepared], messages: Sequence[Message]) -> list[Answer]:
    bodies = [message.encode() for message in messages]
    large = [index for index, body in enumerate(bodies) if _is_large(body)]
    refused = await _put_arguments(services, messages, bodies, large) if large else {}
    accepted = [index for index in range(len(messages)) if index not in refused]
    answers = await services.broker.send(
        [_outgoing(prepared[index], messages[index], bodies[index]) for index in accepted]
    )
    if not refused:
        return answers
    found: dict[int, Answer] = {**refused, **dict(zip(accepted, answers, strict=True))}
    return [found[index] for index in range(len(messages))]


def _outgoing(prepared: Prepared, message: Message, body: str) -> Outgoing:
    return Outgoing(
        prepared.queue,
        body,
        message.id,
        prepared.delay,
        prepared.group,
        f"{message.id}:{message.run}:{message.attempt}" if prepared.fifo else None,
    )


# -- messages that are too large --------------------------------------------------------------------------------


def _is_large(body: str) -> bool:
    # No character takes more than 4 bytes, so that small bodies are not encoded just to be measured.
    return len(body) > MAX_BODY_BYTES // 4 and utf8_bytes(body) > MAX_BODY_BYTES


async def _put_arguments(
    services: Services, messages: Sequence[Message], bodies: list[str], large: Sequence[int]
) -> dict[int, EntryError]:
    """Put the arguments of large messages into the bucket, where there is one, and pointers into their bodies.

    Answers the entries for which that failed. Where there is no bucket, the broker refuses the message.
    """
    if (payloads := services.payloads) is None:
        return {}
    from .claim_check import message_deposit  # hardly any message is that large

    deposits = {index: message_deposit(messages[index]) for index in large}

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


# -- hooks that keep batches ------------------------------------------------------------------------------------


async def _through_onions(services: Services, prepared: Sequence[Prepared]) -> list[Message | Exception]:
    onions = [_onion(one.hooks, partial(_ask_to_send, one))(one.message) for one in prepared]
    ends: dict[int, Message | Exception] = {}
    wanted: dict[int, Message] = {}
    try:
        for index, onion in enumerate(onions):
            end = await _advance(onion, services.flow)
            if isinstance(end, _Send):
                wanted[index] = end.message
            else:
                ends[index] = end
        failure: Exception | None = None
        refusals: list[Exception | None] = []
        try:
            answers = await _send(services, [prepared[index] for index in wanted], list(wanted.values()))
            refusals = [None if answer is None else NotSent(answer) for answer in answers]
        except Exception as error:  # of all entries: the hooks are told before the caller is
            failure = error
            refusals = [error] * len(wanted)
        for (index, message), refusal in zip(wanted.items(), refusals, strict=True):
            end = await _advance(onions[index], services.flow, refusal)
            if isinstance(end, _Send):
                end = _twice()
            elif isinstance(end, Message):
                end = refusal or message
            ends[index] = end
        if failure is not None:
            raise failure
    finally:
        for onion in onions:
            onion.close()
    return [_sent_or_not(ends[index], index in wanted) for index in range(len(prepared))]


async def _ask_to_send(prepared: Prepared, message: Message) -> Message:
    _check_identity(prepared, message)
    await _Send(message)
    return message


async def _advance(
    onion: Coroutine[Any, Any, Message], flow: Flow, error: BaseException | None = None
) -> _Send | Message | Exception:
    """Run an onion until it wants to send, or ends."""
    value: Any = None
    while True:
        try:
            waiting_for = onion.send(value) if error is None else onion.throw(error)
        except StopIteration as stop:
            return stop.value if isinstance(stop.value, Message) else _bad_return(stop.value)
        except Exception as raised:
            return raised
        if isinstance(waiting_for, _Send):
            return waiting_for
        if isinstance(flow, BlockingFlow):
            return SuspendedError(
                f"the dispatch hook {innermost(onion)} awaited something that needs an event loop, inside a "
                "synchronous enqueue; use aenqueue, or do not wait there"
            )
        error = None
        try:
            value = await _PassOn(waiting_for)
        except BaseException as raised:
            error = raised


def _sent_or_not(end: Message | Exception, asked: bool) -> Message | Exception:
    if isinstance(end, Exception) or asked:
        return end
    return ConfigError("a dispatch hook returned without calling call_next: the message was not sent")


def _check_identity(prepared: Prepared, message: Message) -> None:
    """A unique key is locked for the task as it was named before the hooks."""
    names = ("id", "task", "unique_key")
    if prepared.held is not None and any(getattr(message, name) != getattr(prepared.message, name) for name in names):
        raise ConfigError("a dispatch hook changed the id, task or unique key of a message that has a unique key")


def _twice() -> Exception:
    return ConfigError("a dispatch hook called call_next twice; a message can be sent once")


def _bad_return(value: Any) -> Exception:
    return ConfigError(f"a dispatch hook returned {value!r}; return what call_next returned")


# -- plain hooks, which wait for their own message --------------------------------------------------------------


def _waits_alone(prepared: Prepared) -> bool:
    return any(not inspect.iscoroutinefunction(hook.dispatch) for hook in prepared.hooks)


async def _alone(services: Services, prepared: Prepared) -> Message | Exception:
    sent: list[Message] = []

    async def send(message: Message) -> Message:
        if sent:
            raise _twice()
        _check_identity(prepared, message)
        answer = (await _send(services, [prepared], [message]))[0]
        if answer is not None:
            raise NotSent(answer)
        sent.append(message)
        return message

    try:
        onion = _onion(prepared.hooks, send, services.flow)(prepared.message)
        # Driven apart, so that a hook that suspends in a synchronous call fails its own entry alone.
        end = drive(onion) if isinstance(services.flow, BlockingFlow) else await onion
    except Exception as error:
        return error
    if not sent:
        return _sent_or_not(end, False)
    return sent[-1] if isinstance(end, Message) else _bad_return(end)


def _onion(
    hooks: Sequence[Middleware], innermost_layer: Callable[[Message], Any], flow: Flow | None = None
) -> Callable[[Message], Coroutine[Any, Any, Message]]:
    layer = innermost_layer
    for middleware in reversed(hooks):
        if inspect.iscoroutinefunction(middleware.dispatch):
            layer = _async_layer(middleware.dispatch, layer)
        else:
            assert flow is not None
            layer = _plain_layer(middleware.dispatch, layer, flow)
    return layer


def _async_layer(hook: Callable[..., Any], inner: Callable[[Message], Any]) -> Callable[[Message], Any]:
    return lambda message: hook(message, inner)


def _plain_layer(hook: Callable[..., Any], inner: Callable[[Message], Any], flow: Flow) -> Callable[[Message], Any]:
    async def around(message: Message) -> Any:
        if isinstance(flow, BlockingFlow):
            return hook(message, lambda changed: drive(inner(changed)))
        loop = asyncio.get_running_loop()
        task = asyncio.current_task()
        cancels = task.cancelling() if task else 0

        def call_next(changed: Message) -> Any:
            return asyncio.run_coroutine_threadsafe(inner(changed), loop).result()

        sent = await _hook_threads.run_waiting(hook, message, call_next)
        if task and task.cancelling() > cancels:  # the hook has ended all the same; its caller must too
            raise asyncio.CancelledError
        return sent

    return around


_hook_threads = Threads(1)
"""Hooks wait in them for further hooks, so that any fixed number of threads could be too few."""


def dispatch_hooks(middlewares: Sequence[Middleware]) -> tuple[Middleware, ...]:
    """Those that wrap dispatch."""
    return tuple(one for one in middlewares if overrides(one, "dispatch"))


# -- recording level `queued` -----------------------------------------------------------------------------------


async def _record_queued(services: Services, prepared: Sequence[Prepared], sent: Sequence[Message | Exception]) -> None:
    claims = [
        Claim(
            message.id,
            message.run,
            message.task,
            one.queue,
            "",
            message.enqueued_at,
            0.0,
            1,
            one.ttl,
            message.enqueued_at,
            message.labels,
            message.parent,
            message.unique_key,
        )
        for one, message in zip(prepared, sent, strict=True)
        if one.ttl is not None and isinstance(message, Message)
    ]

    async def put(claim: Claim) -> None:
        try:
            await services.results.put_queued(claim)
        except (AwsError, ConfigError) as error:
            # The message is in the queue: the task will run, and its claim writes the record.
            logger.warning("task %s is queued but not recorded yet: %s", claim.id, error, extra={"task_id": claim.id})

    if claims:
        await services.flow.map(put, claims, 16)
