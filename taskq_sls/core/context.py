"""What a running task can know of itself and say about itself."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import ArgumentsError, TaskQError
from .interrupts import TaskInterrupted

if TYPE_CHECKING:
    from .message import Message

NO_STATE: Any = object()
"""What a context holds where the app's lifespan has not been entered."""

_current: contextvars.ContextVar[TaskContext | None] = contextvars.ContextVar("taskq_current_task", default=None)


class Progress(NamedTuple):
    """How far a running task says it is."""

    done: float
    total: float | None = None
    note: str | None = None


class Fence(NamedTuple):
    """What every write of one attempt is compared with. `owner` is a random token per attempt."""

    id: str
    run: int
    attempt: int
    owner: str


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
        "_args",
        "_call",
        "_fence",
        "_hide",
        "_kwargs",
        "_lease_until",
        "_leased_at",
        "_progress",
        "_progress_saved",
        "_scheduled_for",
        "_started_at",
        "_state",
        "_stop",
        "_stuck_after",
        "_stuck_at",
        "_tally",
        "_task",
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
        self._state = state
        self.timeout = timeout
        self.options = options if options is not None else {}
        self._args: tuple[Any, ...] = ()
        self._kwargs: dict[str, Any] = {}
        # The arguments as the message brought them, for code in another process.
        self._call: tuple[list[Any], dict[str, Any]] | None = None
        self._scheduled_for = scheduled_for
        self._fence: Fence | None = None
        self._lease_until = 0.0
        # When the lease last began, by the monotonic clock.
        self._leased_at = 0.0
        # Takes the values of hidden arguments out of a text; None where nothing is hidden.
        self._hide: Callable[[str], str] | None = None
        self._progress: Progress | None = None
        self._progress_saved: Progress | None = None
        self._stop: str | None = None
        # When the function was entered, in epoch seconds; 0 before, and where nobody counts.
        self._started_at = 0.0
        self._tally: Any = None  # of the meter
        # Seconds after which the attempt has ignored its time limit for too long, and when that is by the loop's clock.
        self._stuck_after: float | None = None
        self._stuck_at: float | None = None
        self._task: asyncio.Task[Any] | None = None

    @property
    def scheduled_for(self) -> datetime | None:
        """The scheduled time of the firing that made this task, aware and in UTC; None where no schedule did."""
        return None if self._scheduled_for is None else datetime.fromisoformat(self._scheduled_for)

    @property
    def state(self) -> Any:
        """What the app's lifespan yielded.

        Raises:
            TaskQError: the task runs in a process of its own, where the lifespan was not entered.
        """
        if self._state is NO_STATE:
            raise TaskQError(
                f'context.state: task {self.task} has run_in="process", and what the lifespan yielded stays in the '
                "worker's own process; open what the function needs in its module, at first use"
            )
        return self._state

    @property
    def cancelled(self) -> bool:
        """Whether somebody asked to cancel the task, or its lease was lost: a sync task should end soon.

        A task that returns all the same has SUCCEEDED; see `raise_if_cancelled`.
        """
        return self._stop is not None

    def raise_if_cancelled(self) -> None:
        """End a sync task here if it was cancelled; its state becomes CANCELLED.

        Raises:
            TaskInterrupted: it was cancelled. Not an Exception: let it pass.
        """
        if self._stop is not None:
            raise TaskInterrupted(f"task {self.id} was asked to end: {self._stop}")

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
        self._note_progress(Progress(_amount("done", done), None if total is None else _amount("total", total), note))

    def _note_progress(self, progress: Progress) -> None:
        if self._hide is not None and progress.note:
            progress = progress._replace(note=self._hide(progress.note))
        self._progress = progress

    @classmethod
    def of(cls, message: Message, **more: Any) -> TaskContext:
        """The context of an attempt of `message`."""
        return cls(
            message.id,
            message.task,
            run=message.run,
            labels=message.labels,
            depth=message.depth,
            parent=message.parent,
            **more,
        )

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
