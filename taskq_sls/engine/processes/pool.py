"""The child processes of an app: started on demand, kept for the next task, one task at a time in each."""

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
from .frames import MessageKind
from .process import ChildProcess, Reply, describe_exit

IDLE_SECONDS = 60.0
"""Time for which a child without a task is kept."""


@dataclass(frozen=True, slots=True)
class FunctionRef:
    """A function, by the names under which a fresh interpreter finds it.

    Args:
        task: the task's name.
        wants_context: its first parameter is the task context.
        signature: encodes its arguments and result.
    """

    task: str
    module: str
    qualname: str
    wants_context: bool
    signature: Callable[[], Signature]


class ProcessPool:
    """Runs functions in child processes. The caller limits how many run at once.

    Attributes:
        inline: run functions in threads of this process instead, for tests.
    """

    def __init__(self) -> None:
        self.inline = False
        self._idle: list[ChildProcess] = []
        self._busy: dict[ChildProcess, asyncio.AbstractEventLoop] = {}

    async def run(self, target: FunctionRef, context: TaskContext) -> Any:
        """Run the function of an attempt, and return its result.

        Cancelling the caller ends the function, by killing its process if need be, and waits until it has ended. If the
        function returns all the same, its value is returned.

        Raises:
            TaskCrashed: the process ended before the function did, or could not be started.
            ResultError: the result cannot be encoded.
        """
        loop = asyncio.get_running_loop()
        request = _request(target, context)
        while True:
            child = self._take(loop)
            stopped, end = await self._run_in(child, loop, request, context)
            # An idle child that died before it read the request has not begun the task: another one can run it.
            if end.kind is not MessageKind.CRASHED or child.began or stopped or not child.used:
                return _outcome(target, stopped, end)

    async def _run_in(
        self, child: ChildProcess, loop: asyncio.AbstractEventLoop, request: dict[str, Any], context: TaskContext
    ) -> tuple[bool, Reply]:
        """Run a task in a child. Returns True if the attempt was stopped, and how the task ended."""
        running = loop.create_task(child.run_task(request, context))
        stopped = False
        try:
            while not running.done():
                try:
                    await asyncio.wait([running])
                except asyncio.CancelledError:
                    stopped = True
                    if not running.done():
                        child.stop(context._execution.stop_reason)
        finally:
            self._release(child, loop, running)
        return stopped, running.result()

    def kill(self) -> None:
        """Kill the children that run tasks of the running loop, because its driver ends."""
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

    def _release(self, child: ChildProcess, loop: asyncio.AbstractEventLoop, running: asyncio.Task[Any]) -> None:
        self._busy.pop(child, None)
        if child.stopping or not running.done() or running.cancelled() or running.exception() is not None:
            child.close()
            return
        child.idle_since, child.used = loop.time(), True
        self._idle.append(child)
        loop.call_later(IDLE_SECONDS, self._close_idle, loop)

    def _close_idle(self, loop: asyncio.AbstractEventLoop) -> None:
        before = loop.time() - IDLE_SECONDS + 1
        for child in [child for child in self._idle if child.idle_since < before]:
            self._idle.remove(child)
            child.close()


def process_layer(
    children: ProcessPool, target: FunctionRef, call: Callable[[TaskContext], Any], threads: Any
) -> Callable[[TaskContext], Any]:
    """The innermost layer of a task that runs in a process: a coroutine function.

    Args:
        call: the function itself, for `ProcessPool.inline`.
        threads: runs it then.
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
    picklable = {}
    for name, value in options.items():
        try:
            pickle.dumps(value)
        except Exception:  # only a hook in this process can use such an option
            continue
        picklable[name] = value
    return picklable


def _outcome(target: FunctionRef, stopped: bool, end: Reply) -> Any:
    """Return or raise as the function did in its process."""
    if end.kind is MessageKind.RETURNED:
        return target.signature().decode_result(end.value)
    if end.kind is MessageKind.RESULT_REJECTED:
        raise ResultError(end.value)
    if end.kind is MessageKind.FAILED:
        raise unpack(end.value)
    if end.kind is MessageKind.INTERRUPTED:
        raise asyncio.CancelledError from RemoteTraceback(ErrorInfo(*end.value["info"]))
    if stopped:
        raise asyncio.CancelledError
    if end.kind is MessageKind.CRASHED:
        raise TaskCrashed(f"the child process of {target.task} ended while the task ran: {describe_exit(end.value)}")
    raise TaskCrashed(
        f"the child process of {target.task} was killed: it sent {end.value}. Code of a task that forks must end the fork "
        "with os._exit, and must write only to file descriptors that it has opened"
    )
