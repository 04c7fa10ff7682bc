"""The child processes of an app: started on demand, kept warm, one task at a time each."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ...core.context import NO_STATE, TaskContext
from ...core.error_info import RemoteTraceback
from ...core.message import ErrorInfo
from ...errors import ResultError, TaskCrashed
from ...serialization import Signature
from .exceptions import unpack
from .process import ChildProcess, how_it_ended

IDLE_SECONDS = 60.0
"""How long a child without a task is kept."""


@dataclass(frozen=True, slots=True)
class FunctionRef:
    """A function, as a fresh interpreter finds it.

    Args:
        wants_context: its first parameter is the task context.
        signature: how its values travel.
    """

    task: str
    module: str
    qualname: str
    wants_context: bool
    signature: Callable[[], Signature]


class ProcessPool:
    """Runs functions in child processes. How many at once is up to the caller.

    Attributes:
        inline: run functions in threads of this process instead, for tests.
    """

    def __init__(self) -> None:
        self.inline = False
        self._idle: list[ChildProcess] = []
        self._busy: dict[ChildProcess, asyncio.AbstractEventLoop] = {}

    async def run(self, target: FunctionRef, context: TaskContext) -> Any:
        """Run the function of an attempt, and return what it returned.

        Cancelling the caller ends the function, by force where it does not end by itself, and waits until its
        process has ended: what the function returns all the same is returned.

        Raises:
            TaskCrashed: the process ended before the function did, or could not be started.
            ResultError: the result cannot travel.
        """
        loop = asyncio.get_running_loop()
        request = _request(target, context)
        while True:
            child = self._take(loop)
            stopped, reply = await self._talk(child, loop, request, context)
            # A child that died while it waited never knew of the task.
            if reply[0] != "crashed" or child.began or stopped or not child.served:
                return _outcome(target, stopped, *reply)

    async def _talk(
        self, child: ChildProcess, loop: asyncio.AbstractEventLoop, request: dict[str, Any], context: TaskContext
    ) -> tuple[bool, tuple[str, Any]]:
        """Whether the attempt was stopped, and what became of it."""
        talk = loop.create_task(child.converse(request, context))
        stopped = False
        try:
            while not talk.done():
                try:
                    await asyncio.wait([talk])
                except asyncio.CancelledError:
                    stopped = True
                    if not talk.done():
                        child.stop(context._execution.stop_reason)
        finally:
            self._give_back(child, loop, talk)
        return stopped, talk.result()

    def kill(self) -> None:
        """End the children that run tasks of the running loop: for a driver that ends."""
        loop = asyncio.get_running_loop()
        for child in [child for child, owner in self._busy.items() if owner is loop]:
            child.kill()

    def close(self) -> None:
        """End the children without a task. A later `run` starts new ones."""
        idle, self._idle = self._idle, []
        for child in idle:
            child.close()

    def _take(self, loop: asyncio.AbstractEventLoop) -> ChildProcess:
        while self._idle:
            child = self._idle.pop()
            if child.alive:
                break
            child.close()
        else:
            child = ChildProcess()
        self._busy[child] = loop
        return child

    def _give_back(self, child: ChildProcess, loop: asyncio.AbstractEventLoop, talk: asyncio.Task[Any]) -> None:
        self._busy.pop(child, None)
        if child.stopping or not talk.done() or talk.cancelled() or talk.exception() is not None:
            child.close()
            return
        child.idle_since, child.served = loop.time(), True
        self._idle.append(child)
        loop.call_later(IDLE_SECONDS, self._trim, loop)

    def _trim(self, loop: asyncio.AbstractEventLoop) -> None:
        before = loop.time() - IDLE_SECONDS + 1
        for child in [child for child in self._idle if child.idle_since < before]:
            self._idle.remove(child)
            child.close()


def process_layer(
    children: ProcessPool, target: FunctionRef, call: Callable[[TaskContext], Any], threads: Any
) -> Callable[[TaskContext], Any]:
    """The innermost layer of a task that runs in a process: a coroutine function.

    Args:
        call: the function itself, for `Children.inline`.
        threads: where it then runs.
    """

    def without_state(context: TaskContext) -> Any:
        state, context._state = context._state, NO_STATE
        try:
            return call(context)
        finally:
            context._state = state

    async def run(context: TaskContext) -> Any:
        if children.inline:
            result = await threads.run(without_state, context)
            return await result if asyncio.iscoroutine(result) else result
        return await children.run(target, context)

    return run


def _request(target: FunctionRef, context: TaskContext) -> dict[str, Any]:
    fields = {
        "id": context.id,
        "task": context.task,
        "queue": context.queue,
        "attempt": context.attempt,
        "run": context.run,
        "labels": dict(context.labels),
        "deadline": context.deadline,
        "depth": context.depth,
        "parent": context.parent,
        "timeout": context.timeout,
        "options": _picklable(context.options),
        "scheduled_for": context._scheduled_for,
    }
    return {
        "target": (target.module, target.qualname),
        "wants_context": target.wants_context,
        "call": context._execution.call or ([], {}),
        "context": pickle.dumps(fields),
    }


def _picklable(options: Mapping[str, Any]) -> dict[str, Any]:
    kept = {}
    for name, value in options.items():
        try:
            pickle.dumps(value)
        except Exception:  # an option that only a hook in this process can use
            continue
        kept[name] = value
    return kept


def _outcome(target: FunctionRef, stopped: bool, word: str, value: Any) -> Any:
    if word == "done":
        return target.signature().decode_result(value)
    if word == "unfit":
        raise ResultError(value)
    if word == "failed":
        raise unpack(value)
    if word == "interrupted":
        raise asyncio.CancelledError from RemoteTraceback(ErrorInfo(*value["info"]))
    if stopped:
        raise asyncio.CancelledError
    if word == "garbled":
        raise TaskCrashed(
            f"the child process of {target.task} was killed: it sent {value}. Code of a task that forks must end the "
            "fork by os._exit, and must write to no file descriptor that it has not opened"
        )
    raise TaskCrashed(f"the child process of {target.task} ended while the task ran: {how_it_ended(value)}")
