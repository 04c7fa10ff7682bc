"""Lets concurrent callers on one event loop share requests. Each caller waits for the answer to its own entry.

A full batch is sent at once. A partial batch waits only for a request that is already under way, so a single caller does
not wait at all.

A request of one caller runs in a copy of that caller's context, so that a tracer finds the caller's span. A shared
request runs in a context with the variables that all its callers have in common, such as the span around a ``gather``.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")
A = TypeVar("A")


class _Waiting(NamedTuple, Generic[T, A]):
    """An entry, the future for its answer, and the context of its caller."""

    entry: T
    answer: asyncio.Future[A]
    context: contextvars.Context


class RequestBatcher(Generic[T, A]):
    """Collects entries and sends them in batches.

    Args:
        send: makes one request, and returns an answer for each entry. If it raises, every caller gets the error.
        batch: most entries of a request.
        in_flight: most requests at once.
    """

    def __init__(self, send: Callable[[list[T]], Awaitable[list[A]]], batch: int, in_flight: int) -> None:
        self._request = send
        self._batch = batch
        self._max_running = in_flight
        self._waiting: deque[_Waiting[T, A]] = deque()
        self._running: set[asyncio.Task[None]] = set()
        self._flush_soon = False

    async def send(self, entry: T) -> A:
        """Send an entry, together with those of other callers."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[A] = loop.create_future()
        self._waiting.append(_Waiting(entry, answer, contextvars.copy_context()))
        if len(self._waiting) >= self._batch:
            self._start(full=True)
        elif not self._running and not self._flush_soon:
            # Let the other callers that are ready to run add their entries first.
            self._flush_soon = True
            loop.call_soon(self._flush)
        return await answer

    def _flush(self) -> None:
        self._flush_soon = False
        self._start(full=bool(self._running))

    def _start(self, *, full: bool) -> None:
        """Start requests for the waiting entries; with `full`, for full batches only."""
        while (
            self._waiting and len(self._running) < self._max_running and (len(self._waiting) >= self._batch or not full)
        ):
            entries = [self._waiting.popleft() for _ in range(min(self._batch, len(self._waiting)))]
            # Entries of cancelled callers are not sent.
            entries = [entry for entry in entries if not entry.answer.done()]
            if entries:
                self._start_request(entries)

    def _start_request(self, entries: list[_Waiting[T, A]]) -> None:
        """Start the request for `entries`; if it cannot start, its callers get the error."""
        request = self._run(entries)
        try:
            # Without the argument `context`, which task factories written before Python 3.11 do not take.
            context = _shared_context([entry.context for entry in entries])
            task = context.run(asyncio.get_running_loop().create_task, request)
            task.add_done_callback(functools.partial(self._ended, entries))  # a factory may return another kind of task
        except BaseException as error:
            request.close()
            _fail(entries, error)
            if not isinstance(error, Exception):
                raise
            return
        self._running.add(task)

    def _ended(self, entries: list[_Waiting[T, A]], task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        # A task is cancelled, perhaps before it began, when the loop is closed.
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        if error is not None:
            _fail(entries, error)
        self._start(full=False)

    async def _run(self, entries: list[_Waiting[T, A]]) -> None:
        answers = await self._request([entry.entry for entry in entries])
        for entry, answer in zip(entries, answers, strict=True):
            if not entry.answer.done():
                entry.answer.set_result(answer)


def _fail(entries: Sequence[_Waiting[T, A]], error: BaseException) -> None:
    """Raise `error` in every caller without an answer."""
    for entry in entries:
        if entry.answer.done():
            continue
        if isinstance(error, asyncio.CancelledError):
            entry.answer.cancel()
        else:
            entry.answer.set_exception(error)


def _shared_context(contexts: Sequence[contextvars.Context]) -> contextvars.Context:
    """The context of a request: that of its only caller, or one with the variables that all callers share."""
    first, *others = contexts
    if not others:
        return first
    shared = contextvars.Context()
    absent = object()
    for variable, value in first.items():
        if all(other.get(variable, absent) is value for other in others):
            shared.run(variable.set, value)
    return shared
