"""Lambda containers: one invocation at a time each, kept warm in between."""

from __future__ import annotations

import json
import queue
import threading
import uuid
from collections.abc import Callable, Mapping
from typing import Any, Literal, Protocol

from ..core.clock import Clock, SystemClock
from ..errors import TaskQError
from .context import LambdaContext
from .function import Function
from .process import Ended, Late, Process

Event = Mapping[str, Any]
Kind = Literal["init", "error", "timeout", "crash"]


class InvocationFailed(TaskQError):
    """An invocation ended without an answer.

    Attributes:
        kind: ``init`` (the module could not be imported), ``error`` (the handler raised, or returned a value
            that JSON lacks), ``timeout`` or ``crash`` (the process ended).
        traceback: the function's traceback as text, or empty.
    """

    def __init__(self, kind: Kind, message: str, traceback: str = "") -> None:
        self.kind = kind
        self.traceback = traceback
        super().__init__(message)


class Container(Protocol):
    """Something that can run the function, one invocation at a time."""

    @property
    def alive(self) -> bool:
        """True if it can take another invocation."""
        ...

    def invoke(self, event: Event, *, timeout: float, request_id: str) -> Any:
        """Run the function and return its answer, after JSON.

        Args:
            event: a JSON value.
            timeout: seconds until the invocation is ended.
            request_id: the invocation's id.

        Raises:
            InvocationFailed: there is no answer.
        """
        ...

    def close(self) -> None:
        """End it, at once."""
        ...


class ProcessContainer:
    """A container in a process of its own, started by its first invocation.

    At the timeout the process and everything it started are killed, as Lambda does; and also if the
    process ends by itself. The function's output goes to this process's stderr.

    Args:
        function: the function to run, with its environment.
        clock: source of time for the deadline.
    """

    def __init__(self, function: Function, *, clock: Clock | None = None) -> None:
        self.function = function
        self._clock: Clock = clock or SystemClock()
        self._process: Process | None = None
        self._closed = False

    @property
    def alive(self) -> bool:
        return not self._closed

    @property
    def pid(self) -> int | None:
        """The process id, or None before the first invocation and after the end."""
        return self._process.pid if self._process else None

    def invoke(self, event: Event, *, timeout: float, request_id: str) -> Any:
        process = self._started()
        # After the start: Lambda does not charge a first import to the function's timeout.
        command = {
            "event": event,
            "request_id": request_id,
            "deadline": self._clock.time() + timeout,
            "arn": self.function.arn,
            "trace": _trace_id(self._clock.time()),
        }
        answer = self._ask(process, json.dumps(command).encode() + b"\n", timeout, "timeout", "crash")
        if "error" in answer:
            raise _failure("error", answer["error"])
        return answer.get("answer")

    def close(self) -> None:
        self._closed = True
        process, self._process = self._process, None
        if process is not None:
            process.kill()

    def _started(self) -> Process:
        if self._process is not None:
            return self._process
        function = self.function
        self._process = process = Process(
            ["taskq_sls.local_aws.container_main", function.handler],
            environment=function.process_environment(uuid.uuid4().hex),
            directory=function.directory,
        )
        answer = self._ask(process, b"", function.init_timeout, "init", "init")
        if "error" in answer:
            self.close()
            raise _failure("init", answer["error"])
        return process

    def _ask(self, process: Process, line: bytes, timeout: float, late: Kind, ended: Kind) -> dict[str, Any]:
        try:
            answer: dict[str, Any] = json.loads(process.exchange(line, timeout))
        except Late:
            self.close()
            doing = "init" if late == "init" else "task"
            raise InvocationFailed(late, f"{doing} timed out after {timeout:.2f} seconds") from None
        except Ended:
            self.close()
            raise InvocationFailed(ended, f"the process ended with {process.exit_status}") from None
        return answer


class InlineContainer:
    """A container in a thread of this process, for tests: quick to start, but it cannot be killed.

    After a timeout its thread is left to itself and another container takes over.

    Args:
        handler: called with the event and a :class:`LambdaContext`.
        function_name: the name in that context.
        clock: source of time for the deadline.
    """

    def __init__(
        self, handler: Callable[[Any, Any], Any], *, function_name: str = "taskq", clock: Clock | None = None
    ) -> None:
        self._handler = handler
        self._function_name = function_name
        self._clock: Clock = clock or SystemClock()
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._closed = False

    @property
    def alive(self) -> bool:
        return not self._closed

    def invoke(self, event: Event, *, timeout: float, request_id: str) -> Any:
        if self._thread is None:
            # One thread for its life: a handler may keep an event loop in it.
            self._thread = threading.Thread(target=self._run, name="taskq-container", daemon=True)
            self._thread.start()
        context = LambdaContext(
            timeout=timeout, clock=self._clock, aws_request_id=request_id, function_name=self._function_name
        )
        job = _Job(json.loads(json.dumps(event)), context)
        self._jobs.put(job)
        if not job.done.wait(timeout):
            self._end()
            raise InvocationFailed("timeout", f"task timed out after {timeout:.2f} seconds")
        if job.error is not None:
            raise InvocationFailed("error", f"{type(job.error).__name__}: {job.error}") from job.error
        return job.answer

    def close(self) -> None:
        self._end()
        if self._thread is not None:
            self._thread.join(1.0)

    def _end(self) -> None:
        self._closed = True
        self._jobs.put(None)

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                job.answer = json.loads(json.dumps(self._handler(job.event, job.context)))
            except BaseException as error:
                job.error = error
            job.done.set()


class _Job:
    """One invocation on its way through the thread."""

    def __init__(self, event: Any, context: LambdaContext) -> None:
        self.event = event
        self.context = context
        self.done = threading.Event()
        self.answer: Any = None
        self.error: BaseException | None = None


def _failure(kind: Kind, error: Mapping[str, str]) -> InvocationFailed:
    return InvocationFailed(kind, f"{error['type']}: {error['message']}", error["traceback"])


def _trace_id(now: float) -> str:
    token = uuid.uuid4().hex
    return f"Root=1-{int(now):08x}-{token[:24]};Parent={token[:16]};Sampled=0"


class ContainerPool:
    """At most `size` containers, each lent to one invocation at a time.

    Args:
        make: makes a container; must be quick (the container starts with its first invocation).
        size: most containers at once: the function's concurrency, 1 or more.
    """

    def __init__(self, make: Callable[[], Container], size: int) -> None:
        self._make = make
        self._size = size
        self._change = threading.Condition()
        self._idle: list[Container] = []
        self._lent = 0
        self._closed = False

    def acquire(self, timeout: float) -> Container | None:
        """A free container, the warmest first; None if none was free within `timeout` seconds or it was closed."""
        with self._change:
            self._change.wait_for(lambda: self._closed or self._lent < self._size, timeout)
            if self._closed or self._lent >= self._size:
                return None
            self._lent += 1
            return self._idle.pop() if self._idle else self._make()

    def release(self, container: Container) -> None:
        """Give a container back. One that ended is forgotten, so that the next invocation gets a new one."""
        with self._change:
            self._lent -= 1
            keep = container.alive and not self._closed
            if keep:
                self._idle.append(container)
            self._change.notify()
        if not keep:
            container.close()

    def close(self) -> None:
        """End the idle containers, refuse waiting callers, and end the lent containers as they are returned."""
        with self._change:
            self._closed = True
            idle, self._idle = self._idle, []
            self._change.notify_all()
        for container in idle:
            container.close()
