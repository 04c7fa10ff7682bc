"""Dispatch: outgoing tasks go through their hooks, are sent, and are recorded as queued if their task says so.

Async hooks keep batches. A hook's innermost ``call_next`` only asks for the send: the hooks of all messages are run
to that point one after the other, the batch is sent, and each hook is resumed with the answer to its own message.
"""

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

PARALLEL_SENDS = 8
"""Messages of one call that are sent at once if each needs a request of its own."""

PARALLEL_RECORDS = 16
"""Records of one call that are written at once."""

Deliver = Callable[[Services, Sequence[OutgoingTask], Sequence[Message]], Awaitable[list[Answer]]]
"""Takes messages that have passed their hooks: None, or the reason, for each."""


async def dispatch(
    services: Services, tasks: Sequence[OutgoingTask], deliver: Deliver = send
) -> list[Message | Exception]:
    """Send tasks through their hooks. Returns for each the message as sent, or the reason why it was not.

    Args:
        deliver: takes the messages that have passed their hooks.

    Raises:
        ConfigError: a queue does not exist, or there are no credentials. Nothing was sent to that queue.
        PayloadTooLarge: a body is over the limit, and there is no bucket for its arguments. Nothing was sent.
    """
    sent: list[Message | Exception]
    if not any(task.hooks for task in tasks):
        answers = await deliver(services, tasks, [task.message for task in tasks])
        sent = [
            task.message if answer is None else NotSent(answer) for task, answer in zip(tasks, answers, strict=True)
        ]
    elif any(_needs_own_request(task) for task in tasks):
        sent = await services.flow.map(lambda task: _dispatch_one(services, task, deliver), tasks, PARALLEL_SENDS)
    else:
        sent = await _dispatch_batch(services, tasks, deliver)
    if any(task.ttl is not None for task in tasks):
        await _record_queued(services, tasks, sent)
    return sent


def raise_failures(sent: Sequence[object], tasks: Sequence[OutgoingTask], handles: Sequence[Any]) -> None:
    """Raise EnqueueError if a message was not sent. The exception of a hook around a single message is raised as it is."""
    failed = {index: outcome for index, outcome in enumerate(sent) if isinstance(outcome, Exception)}
    if not failed:
        return
    if len(sent) == 1 and not isinstance(failed[0], NotSent):
        raise failed[0]
    entries = [_failed_entry(index, tasks[index].message.id, error) for index, error in failed.items()]
    raise EnqueueError([handle for index, handle in enumerate(handles) if index not in failed], entries)


def _failed_entry(index: int, id: str, error: Exception) -> FailedEntry:
    if isinstance(error, NotSent):
        return FailedEntry(index, id, error.error.code, error.error.message)
    return FailedEntry(index, id, code=type(error).__name__, message=str(error), error=error)


async def _record_queued(
    services: Services, tasks: Sequence[OutgoingTask], sent: Sequence[Message | Exception]
) -> None:
    """Write the records of tasks with ``record="queued"``."""
    claims = [
        Claim(
            id=message.id,
            run=message.run,
            task=message.task,
            queue=task.queue,
            owner="",
            now=message.enqueued_at,
            lease_until=0.0,
            max_attempts=1,
            ttl=task.ttl,
            enqueued_at=message.enqueued_at,
            labels=message.labels,
            parent=message.parent,
            unique_key=message.unique_key,
            # If a hook replaced the arguments, the originals are not recorded: the hook may have removed secrets.
            call=task.call if message.args is task.message.args and message.kwargs is task.message.kwargs else None,
        )
        for task, message in zip(tasks, sent, strict=True)
        if task.ttl is not None and isinstance(message, Message)
    ]

    async def put(claim: Claim) -> None:
        try:
            await services.results.put_queued(claim)
        except (AwsError, ConfigError) as error:
            # The message is in the queue: the task will run, and its claim writes the record.
            logger.warning("task %s is queued but not recorded yet: %s", claim.id, error, extra={"task_id": claim.id})

    await services.flow.map(put, claims, PARALLEL_RECORDS)


# -- async hooks, which keep batches ----------------------------------------------------------------------------


class _Send:
    """A hook chain yields this to ask for its message to be sent."""

    __slots__ = ("message",)

    def __init__(self, message: Message) -> None:
        self.message = message

    def __await__(self) -> Generator[_Send, None, None]:
        yield self


class _PassOn:
    """Passes a hook's own wait on to the event loop, unchanged."""

    __slots__ = ("waiting_for",)

    def __init__(self, waiting_for: Any) -> None:
        self.waiting_for = waiting_for

    def __await__(self) -> Generator[Any, Any, Any]:
        return (yield self.waiting_for)


async def _dispatch_batch(
    services: Services, tasks: Sequence[OutgoingTask], deliver: Deliver
) -> list[Message | Exception]:
    """Send messages through their async hooks in batches."""
    chains = [_chain(task.hooks, partial(_ask_to_send, task))(task.message) for task in tasks]
    try:
        ends = [await _advance(chain, services.flow) for chain in chains]
        to_send = {index: end.message for index, end in enumerate(ends) if isinstance(end, _Send)}
        failure: Exception | None = None
        answers: list[Answer] = []
        try:
            answers = await deliver(services, [tasks[index] for index in to_send], list(to_send.values()))
        except Exception as raised:  # of all entries: each hook gets it, then the caller
            failure = raised
        errors = _errors(answers, failure, len(to_send))
        for (index, message), error in zip(to_send.items(), errors, strict=True):
            end = await _advance(chains[index], services.flow, error)
            ends[index] = (error or message) if isinstance(end, Message) else end
        if failure is not None:
            raise failure
    finally:
        for chain in chains:
            chain.close()
    return [_outcome(end, index in to_send) for index, end in enumerate(ends)]


def _errors(answers: Sequence[Answer], failure: Exception | None, count: int) -> list[Exception | None]:
    """The error of each entry: of the whole call, or of the entry alone."""
    if failure is not None:
        return [failure] * count
    return [None if answer is None else NotSent(answer) for answer in answers]


async def _ask_to_send(task: OutgoingTask, message: Message) -> Message:
    _check_identity(task, message)
    await _Send(message)
    return message


async def _advance(
    chain: Coroutine[Any, Any, Message], flow: Flow, error: BaseException | None = None
) -> _Send | Message | Exception:
    """Run a chain of hooks until it asks for the send, or ends."""
    value: Any = None
    while True:
        try:
            waiting_for = chain.send(value) if error is None else chain.throw(error)
        except StopIteration as stop:
            return stop.value if isinstance(stop.value, Message) else _bad_return(stop.value)
        except Exception as raised:
            return raised
        if isinstance(waiting_for, _Send):
            return waiting_for
        if isinstance(flow, BlockingFlow):
            return SuspendedError(
                f"the dispatch hook {innermost(chain)} awaited something that needs an event loop, inside a "
                "synchronous enqueue; use aenqueue, or do not wait there"
            )
        error = None
        try:
            value = await _PassOn(waiting_for)
        except BaseException as raised:
            error = raised


def _outcome(end: _Send | Message | Exception, asked: bool) -> Message | Exception:
    """A message's outcome from the end of its hooks; `asked` if they called call_next."""
    if isinstance(end, _Send):
        return _called_twice()
    if isinstance(end, Exception) or asked:
        return end
    return ConfigError("a dispatch hook returned without calling call_next: the message was not sent")


def _check_identity(task: OutgoingTask, message: Message) -> None:
    """Raise ConfigError if hooks changed the names under which a unique key is locked."""
    names = ("id", "task", "unique_key")
    if task.key_claim is not None and any(getattr(message, name) != getattr(task.message, name) for name in names):
        raise ConfigError("a dispatch hook changed the id, task or unique key of a message that has a unique key")


def _called_twice() -> Exception:
    return ConfigError("a dispatch hook called call_next twice; a message can be sent once")


def _bad_return(value: Any) -> Exception:
    return ConfigError(f"a dispatch hook returned {value!r}; return what call_next returned")


# -- plain hooks, each of which waits for its own message -------------------------------------------------------


def _needs_own_request(task: OutgoingTask) -> bool:
    """True if a plain hook wraps the message: its call_next must return the queue's answer."""
    return any(not inspect.iscoroutinefunction(hook.dispatch) for hook in task.hooks)


async def _dispatch_one(services: Services, task: OutgoingTask, deliver: Deliver) -> Message | Exception:
    """Send one message through its hooks by itself."""
    sent: list[Message] = []

    async def send_it(message: Message) -> Message:
        if sent:
            raise _called_twice()
        _check_identity(task, message)
        answer = (await deliver(services, [task], [message]))[0]
        if answer is not None:
            raise NotSent(answer)
        sent.append(message)
        return message

    try:
        chain = _chain(task.hooks, send_it, services.flow)(task.message)
        # Driven separately, so that a hook that suspends in a synchronous call fails only its own entry.
        end = drive(chain) if isinstance(services.flow, BlockingFlow) else await chain
    except Exception as error:
        return error
    if not sent:
        return _outcome(end, asked=False)
    return sent[-1] if isinstance(end, Message) else _bad_return(end)


def _chain(
    hooks: Sequence[Middleware], innermost_layer: Callable[[Message], Any], flow: Flow | None = None
) -> Callable[[Message], Coroutine[Any, Any, Message]]:
    layer = innermost_layer
    for middleware in reversed(hooks):
        if inspect.iscoroutinefunction(middleware.dispatch):
            layer = partial(_call_hook, middleware.dispatch, layer)
        else:
            assert flow is not None
            layer = partial(_call_plain_hook, middleware.dispatch, layer, flow)
    return layer


def _call_hook(hook: Callable[..., Any], inner: Callable[[Message], Any], message: Message) -> Any:
    return hook(message, inner)


async def _call_plain_hook(
    hook: Callable[..., Any], inner: Callable[[Message], Any], flow: Flow, message: Message
) -> Any:
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


_hook_threads = ThreadPool(1)
"""Hooks wait in these threads for further hooks, so any fixed number of threads could be too few."""


def dispatch_hooks(middlewares: Sequence[Middleware]) -> tuple[Middleware, ...]:
    """The middlewares that wrap dispatch."""
    return tuple(middleware for middleware in middlewares if overrides(middleware, "dispatch"))
