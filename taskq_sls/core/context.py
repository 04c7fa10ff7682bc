"""The context of a running task: its identity, its limits, and its progress."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
from collections.abc import Callable, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any, NamedTuple

from ..errors import ArgumentsError, TaskQError
from .interrupts import TaskInterrupted

NO_STATE: Any = object()
"""State of a context if the app's lifespan has not been entered."""

_current: contextvars.ContextVar[TaskContext | None] = contextvars.ContextVar("taskq_current_task", default=None)


def uncancel(task: asyncio.Task[Any]) -> None:
    """Take all cancellations of a task back, so that it can wait again."""
    while task.cancelling():
        task.uncancel()


class Progress(NamedTuple):
    """How far a running task says it is."""

    done: float
    total: float | None = None
    note: str | None = None


class Execution:
    """State of a running attempt, shared by the engine, the hooks and the function. Users see a `TaskContext`.

    Attributes:
        args, kwargs: the arguments of the function.
        call: the arguments as JSON values, for code in another process.
        asyncio_task: runs the hooks and the function, or None.
        stop_reason: ``cancelled``, ``lease_lost``, ``shutdown`` or ``deadline`` once the attempt has to end.
        progress: the newest one that the function reported.
        mask: removes the values of redacted arguments from a text; None if there are none.
        stuck_after: seconds after which the attempt has ignored its time limit for too long, or None.
        stuck_at: when that is, by the event loop's clock; None until the time limit has passed.
    """

    # Defaults of the class: an attempt sets few of them.
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = MappingProxyType({})
    call: tuple[list[Any], dict[str, Any]] | None = None
    asyncio_task: asyncio.Task[Any] | None = None
    stop_reason: str | None = None
    progress: Progress | None = None
    mask: Callable[[str], str] | None = None
    stuck_after: float | None = None
    stuck_at: float | None = None

    def report_progress(self, progress: Progress) -> None:
        """Keep the newest progress, without the values of redacted arguments."""
        if self.mask is not None and progress.note:
            progress = progress._replace(note=self.mask(progress.note))
        self.progress = progress


class TaskContext:
    """One attempt, as the task sees it. Annotate a task's first parameter with it, or call `current_task()`.

    Attributes:
        id: the task's id.
        task: the task's name.
        queue: logical name of the queue it came from.
        attempt: counted from 1 within the run; an upper bound where nothing is recorded at the start.
        run: 0, or the number of times it was redriven.
        labels: as given at the enqueue.
        deadline: epoch seconds at which the attempt will be stopped, or None.
        depth: how many tasks enqueued each other up to this one; 0 for one enqueued outside of tasks.
        parent: id of the task that enqueued it, or None.
        options: options that middlewares declared, as given on the task.
    """

    __slots__ = (
        "_execution",
        "_scheduled_for",
        "_state",
        "attempt",
        "deadline",
        "depth",
        "id",
        "labels",
        "options",
        "parent",
        "queue",
        "run",
        "task",
        "timeout",
    )

    def __init__(
        self,
        id: str,
        task: str,
        *,
        queue: str = "",
        attempt: int = 1,
        run: int = 0,
        labels: Mapping[str, str] | None = None,
        deadline: float | None = None,
        depth: int = 0,
        parent: str | None = None,
        state: Any = None,
        timeout: float | None = None,
        options: Mapping[str, Any] | None = None,
        scheduled_for: str | None = None,
        _execution: Execution | None = None,
    ) -> None:
        self.id = id
        self.task = task
        self.queue = queue
        self.attempt = attempt
        self.run = run
        self.labels = labels if labels is not None else {}
        self.deadline = deadline
        self.depth = depth
        self.parent = parent
        self.timeout = timeout
        self.options = options if options is not None else {}
        self._state = state
        self._scheduled_for = scheduled_for
        self._execution = Execution() if _execution is None else _execution

    @property
    def scheduled_for(self) -> datetime | None:
        """The scheduled time of the firing that made this task, aware and in UTC; None if no schedule did."""
        return None if self._scheduled_for is None else datetime.fromisoformat(self._scheduled_for)

    @property
    def state(self) -> Any:
        """The value that the app's lifespan yielded.

        Raises:
            TaskQError: the task runs in a process of its own, where the lifespan was not entered.
        """
        if self._state is NO_STATE:
            raise TaskQError(
                f'context.state: task {self.task} has run_in="process", and the value that the lifespan yielded stays in the '
                "worker's own process; open what the function needs in its module, at first use"
            )
        return self._state

    @property
    def cancelled(self) -> bool:
        """True if the task was asked to cancel, or its lease was lost: a sync task should end soon.

        A task that returns all the same has SUCCEEDED; see `raise_if_cancelled`.
        """
        return self._execution.stop_reason is not None

    def raise_if_cancelled(self) -> None:
        """End a sync task here if it was cancelled; its state becomes CANCELLED.

        Raises:
            TaskInterrupted: it was cancelled. Not an Exception: let it pass.
        """
        if (reason := self._execution.stop_reason) is not None:
            raise TaskInterrupted(f"task {self.id} was asked to end: {reason}")

    def progress(self, done: float, total: float | None = None, note: str | None = None) -> None:
        """Say how far the task is. Cheap: the newest value is written at most once a second.

        Args:
            done: units of work done.
            total: units in all, if known.
            note: a few words.

        Raises:
            ArgumentsError: `done` or `total` is no number, or `note` no text. A TypeError, too.
        """
        if note is not None and not isinstance(note, str):
            raise ArgumentsError(f"progress(note=...) is of type {type(note).__name__}; give a str or None")
        amounts = _amount("done", done), None if total is None else _amount("total", total)
        self._execution.report_progress(Progress(*amounts, note))

    def __repr__(self) -> str:
        return f"TaskContext(id={self.id!r}, task={self.task!r}, attempt={self.attempt})"


def _amount(name: str, value: Any) -> float:
    """A number of any type, as one that can be stored."""
    if isinstance(value, int | float):
        return value
    # Text has no __float__, though float() takes it.
    if hasattr(value, "__float__") or hasattr(value, "__index__"):
        with contextlib.suppress(TypeError, ValueError, OverflowError):
            return float(value)
    raise ArgumentsError(f"progress({name}=...) is of type {type(value).__name__}; give a number, such as 3 or 0.5")


def current_task() -> TaskContext:
    """The context of the task that is running here.

    Raises:
        TaskQError: no task is running in this context.
    """
    context = _current.get()
    if context is None:
        raise TaskQError("current_task(): no task is running here; it works inside a task's function and what it calls")
    return context


def running_task() -> TaskContext | None:
    """The context of the task that is running here, or None."""
    return _current.get()
