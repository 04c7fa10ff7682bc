"""From prepared messages to the queue, through the hooks of their tasks."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Coroutine, Generator, Sequence
from functools import partial
from typing import Any

from ..brokers.base import Answer
from ..core.flow import BlockingFlow, Flow, drive, innermost
from ..core.message import Message
from ..core.threads import ThreadPool
from ..errors import AwsError, ConfigError, EnqueueError, FailedEntry, SuspendedError
from ..middleware.base import Middleware, overrides
from ..results.records import Claim
from .sending import NotSent, OutgoingTask, send
from .services import Services

logger = logging.getLogger("taskq_sls.dispatch")


async def dispatch(
    services: Services, prepared: Sequence[OutgoingTask], deliver: Deliver = send
) -> list[Message | Exception]:
    """Send all; answer for each the message as sent, or why it was not.

    Args:
        deliver: what becomes of messages that have passed their hooks.

    Raises:
        ConfigError: a queue does not exist, or there are no credentials. Nothing was sent to that queue.
        PayloadTooLarge: a body is over the limit, and there is no bucket for its arguments; nothing was sent.
    """
    if not any(one.hooks for one in prepared):
        answers = await deliver(services, prepared, [one.message for one in prepared])
        sent: list[Message | Exception] = [
            one.message if answer is None else NotSent(answer) for one, answer in zip(prepared, answers, strict=True)
        ]
    elif any(needs_own_request(one) for one in prepared):
        sent = await services.flow.map(lambda one: dispatch_one(services, one, deliver), prepared, 8)
    else:
        sent = await dispatch_batch(services, prepared, deliver)
    await _record_queued(services, prepared, sent)
    return sent


def raise_failures(sent: Sequence[object], prepared: Sequence[OutgoingTask], handles: Sequence[Any]) -> None:
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


# -- recording level `queued` -----------------------------------------------------------------------------------


async def _record_queued(
    services: Services, prepared: Sequence[OutgoingTask], sent: Sequence[Message | Exception]
) -> None:
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
            # What a hook put in place of arguments stands in the message; what was there before may be meant for nobody.
            one.call if message.args is one.message.args and message.kwargs is one.message.kwargs else None,
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


Deliver = Callable[[Services, Sequence[OutgoingTask], Sequence[Message]], Awaitable[list[Answer]]]
"""Takes messages that have passed their hooks: None or the reason for each."""


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


# -- hooks that keep batches ------------------------------------------------------------------------------------


async def dispatch_batch(
    services: Services, prepared: Sequence[OutgoingTask], deliver: Deliver
) -> list[Message | Exception]:
    """Send messages through their async hooks in batches; for each the message as sent, or why it was not."""
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
            answers = await deliver(services, [prepared[index] for index in wanted], list(wanted.values()))
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


async def _ask_to_send(prepared: OutgoingTask, message: Message) -> Message:
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


def _check_identity(prepared: OutgoingTask, message: Message) -> None:
    """A unique key is locked for the task as it was named before the hooks."""
    names = ("id", "task", "unique_key")
    if prepared.held is not None and any(getattr(message, name) != getattr(prepared.message, name) for name in names):
        raise ConfigError("a dispatch hook changed the id, task or unique key of a message that has a unique key")


def _twice() -> Exception:
    return ConfigError("a dispatch hook called call_next twice; a message can be sent once")


def _bad_return(value: Any) -> Exception:
    return ConfigError(f"a dispatch hook returned {value!r}; return what call_next returned")


# -- plain hooks, which wait for their own message --------------------------------------------------------------


def needs_own_request(prepared: OutgoingTask) -> bool:
    """Whether a plain hook wraps the message: it needs the queue's real answer at once."""
    return any(not inspect.iscoroutinefunction(hook.dispatch) for hook in prepared.hooks)


async def dispatch_one(services: Services, prepared: OutgoingTask, deliver: Deliver) -> Message | Exception:
    """Send one message through its hooks by itself; the message as sent, or why it was not."""
    sent: list[Message] = []

    async def send_it(message: Message) -> Message:
        if sent:
            raise _twice()
        _check_identity(prepared, message)
        answer = (await deliver(services, [prepared], [message]))[0]
        if answer is not None:
            raise NotSent(answer)
        sent.append(message)
        return message

    try:
        onion = _onion(prepared.hooks, send_it, services.flow)(prepared.message)
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


_hook_threads = ThreadPool(1)
"""Hooks wait in them for further hooks, so that any fixed number of threads could be too few."""


def dispatch_hooks(middlewares: Sequence[Middleware]) -> tuple[Middleware, ...]:
    """Those that wrap dispatch."""
    return tuple(one for one in middlewares if overrides(one, "dispatch"))
