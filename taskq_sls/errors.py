"""The errors of this library, under one base. A message names the value, the limit and the fix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


class TaskQError(Exception):
    """Base of all errors raised by taskq_sls."""

    def __reduce__(self) -> tuple[Any, ...]:
        return restored, (type(self), self.args), self.__dict__


def restored(kind: type[BaseException], args: tuple[Any, ...]) -> BaseException:
    """Unpickle an exception. Its ``__init__`` is not called, since that takes other arguments than `args`."""
    error = kind.__new__(kind, *args)
    error.args = args
    return error


class ConfigError(TaskQError, ValueError):
    """A name, an option, a declaration or the environment is wrong; nothing was sent."""


class MissingResource(ConfigError):
    """A queue, table or bucket that the configuration names does not exist."""


class NotFound(ConfigError):
    """The requested task, schedule or other item does not exist."""


class UnresolvedAnnotation(ConfigError):
    """An annotation names something that is not defined (yet)."""


class ArgumentsError(TaskQError, TypeError):
    """The arguments do not fit the task, or a value cannot be restored exactly; nothing was sent."""


class PayloadTooLarge(TaskQError, ValueError):
    """A message or a result is larger than its store accepts."""


class DuplicateTask(TaskQError):
    """Another task has this unique key, and ``unique="raise"`` is set; nothing was sent.

    Attributes:
        id: id of the task that has the key.
        task: the task's name; a key counts within it.
        key: the unique key.
    """

    def __init__(self, *, id: str, task: str, key: str) -> None:
        self.id = id
        self.task = task
        self.key = key
        super().__init__(
            f"task {task} with unique_key={key!r} is enqueued already, as {id}, and has not ended; wait until it has ended, "
            'cancel it, or ask for its handle with unique="return"'
        )


class PayloadMissing(TaskQError):
    """The object with a message's arguments or a task's result is missing, or has other content."""


class EnqueueError(TaskQError):
    """Some entries of a send were not accepted by the queue.

    Attributes:
        sent: handles of the accepted entries, in order.
        failed: the other entries; each has ``index`` (position in the call), ``id`` (the task id: sending again with
            this id is safe), ``code``, ``message``, and ``error`` if an exception prevented the send (such as
            :class:`DuplicateTask`).
    """

    def __init__(self, sent: Sequence[Any], failed: Sequence[FailedEntry]) -> None:
        self.sent = list(sent)
        self.failed = list(failed)
        first = self.failed[0]
        more = f" (and {len(self.failed) - 1} more)" if len(self.failed) > 1 else ""
        super().__init__(
            f"{len(self.failed)} of {len(self.sent) + len(self.failed)} messages were not accepted; "
            f"entry {first.index}, task id {first.id}: {first.code}: {first.message}{more}. "
            "Sending an entry again with the same id is safe: with_options(id=...)."
        )


class FailedEntry:
    """One entry that was not sent."""

    __slots__ = ("code", "error", "id", "index", "message")

    def __init__(self, index: int, id: str, code: str, message: str, error: Exception | None = None) -> None:
        self.error = error
        self.index = index
        self.id = id
        self.code = code
        self.message = message

    def __repr__(self) -> str:
        return f"FailedEntry(index={self.index}, id={self.id!r}, code={self.code!r}, message={self.message!r})"


class UnmatchedEvent(TaskQError):
    """No route of the app matches an event; nothing was enqueued."""


class EventError(TaskQError):
    """Some tasks of an event were not enqueued. Handling the event again is safe: it makes the same task ids.

    Attributes:
        event_id: of the event.
        sent: ids of the tasks that were enqueued.
        failed: the errors of the others, by task name.
    """

    def __init__(self, event_id: str, sent: Sequence[str], failed: Mapping[str, Exception]) -> None:
        self.event_id = event_id
        self.sent = list(sent)
        self.failed = dict(failed)
        reasons = "; ".join(f"{task}: {type(error).__name__}: {error}" for task, error in self.failed.items())
        super().__init__(
            f"event {event_id}: {len(self.failed)} of {len(self.sent) + len(self.failed)} tasks were not enqueued: {reasons}. "
            "The event may come again: its tasks keep their ids."
        )


class UndecodableMessage(TaskQError):
    """A message body is not an envelope, or one of a newer version. The message is not deleted for that."""

    def __init__(self, reason: str, detail: str) -> None:
        self.reason = reason
        super().__init__(detail)


class AwsError(TaskQError):
    """A call to AWS failed.

    Attributes:
        operation: botocore's method name, such as ``send_message_batch``.
        code: the service's error code, or the class name of a transport error.
        status: HTTP status, or 0 without a response.
        transient: a retry may succeed (throttling, 5xx, connection errors, timeouts, expired credentials that can
            rotate).
        ambiguous: the request may have taken effect although there was no response.
        body: the parsed error response (it has the ``Item`` of a refused conditional write).
    """

    def __init__(
        self,
        operation: str,
        code: str,
        message: str,
        *,
        status: int = 0,
        transient: bool = False,
        ambiguous: bool = False,
        body: dict[str, Any] | None = None,
    ) -> None:
        self.operation = operation
        self.code = code
        self.message = message
        self.status = status
        self.transient = transient
        self.ambiguous = ambiguous
        self.body = body or {}
        super().__init__(f"{operation}: {code}: {message}")


class TaskError(TaskQError):
    """Base of the errors that ``handle.result()`` raises for a task that has no result.

    Attributes:
        id: the task's id.
        task: the task's name, if known.
    """

    def __init__(self, message: str, *, id: str, task: str | None = None) -> None:
        self.id = id
        self.task = task
        super().__init__(message)


class TaskFailed(TaskError):
    """The task ended FAILED.

    Attributes:
        error_type: qualified name of the remote exception, such as ``ValueError`` or ``shop.errors.OutOfStock``.
        error_message: its text.
        traceback: the remote traceback as text.
        attempts: attempts started in the last run.
        reason: why there was no further attempt (``exhausted``, ``not_retryable``, ``crashed``, ``result``, ...).
    """

    def __init__(
        self,
        *,
        id: str,
        task: str | None,
        error_type: str,
        error_message: str,
        traceback: str,
        attempts: int,
        reason: str | None,
    ) -> None:
        self.error_type = error_type
        self.error_message = error_message
        self.traceback = traceback
        self.attempts = attempts
        self.reason = reason
        text = (
            f"task {task or '?'} {id} failed ({reason or 'failed'}, attempt {attempts}): {error_type}: {error_message}"
        )
        if traceback:
            text += f"\n\nRemote traceback:\n{traceback}"
        super().__init__(text, id=id, task=task)


class TaskCancelled(TaskError):
    """The task was cancelled before it could finish."""


class TaskExpired(TaskError):
    """The task was older than its ``expires_in`` when a worker received it, and was not run."""


class TaskStalled(TaskError):
    """The task's lease has ended, or its next attempt was due, over 15 minutes ago, and no worker has started it."""


class WaitInTask(TaskQError, RuntimeError):
    """``result()`` or ``wait_all`` was called inside a running task, which would keep its slot while it waits."""


class ResultTimeout(TaskQError, TimeoutError):
    """``result(timeout=...)`` timed out. The task is not affected."""


class TaskTimeout(TaskQError, TimeoutError):
    """An attempt ran longer than the task's ``timeout`` and was stopped."""


class TaskCrashed(TaskQError):
    """The child process of an attempt with ``run_in="process"`` ended before its function did."""


class AttemptStopped(TaskQError):
    """An attempt of a task that runs at most once was stopped by the shutdown of its worker."""


class SuspendedError(TaskQError, RuntimeError):
    """A coroutine under a sync call tried to wait for an event loop."""


class ResultError(TaskQError):
    """A task's result cannot be stored: it cannot be restored exactly, or is too large."""
