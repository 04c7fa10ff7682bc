"""The retry policy of a task, and the delays between its attempts."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from ..errors import ConfigError, TaskError, TaskQError, WaitInTask, restored
from .number_checks import MAX_FLOAT, is_number, is_whole
from .queues import Queue
from .times import DAY, MAX_VISIBILITY_STEP, RETENTION

Jitter = Literal["full", "equal", "none"]

RETENTION_MARGIN_SECONDS = 3600.0
"""A retry must be due at least this long before the end of the queue's retention."""

MAX_RETRY_LATER_SECONDS = 366 * DAY
"""Longest wait of RetryLater: a year, as for delays. EventBridge may refuse schedules further ahead."""


class RetryLater(Exception):
    """Raise this in a task to retry it after at least `seconds`. It counts as a failed attempt.

    Args:
        seconds: shortest delay, 0 to a year. A delay beyond the queue's retention needs EventBridge Scheduler.
        message: text for the log and the record.

    Raises:
        ConfigError: `seconds` is out of range, or not a number.
    """

    def __init__(self, seconds: float, message: str = "") -> None:
        try:
            fits = 0 <= seconds <= MAX_RETRY_LATER_SECONDS
        except TypeError:  # a timedelta, a text, None
            fits = False
        if not fits:
            raise ConfigError(f"RetryLater({seconds!r}): give 0 to {MAX_RETRY_LATER_SECONDS:,.0f} seconds (a year)")
        self.seconds = float(seconds)
        super().__init__(message or f"asked to be tried again in {seconds:g} s")

    def __reduce__(self) -> tuple[Any, ...]:
        return restored, (type(self), self.args), self.__dict__


def _exception_classes(option: str, classes: Any) -> tuple[type[BaseException], ...]:
    found = tuple(classes) if isinstance(classes, tuple | list) else (classes,)
    if not all(isinstance(kind, type) and issubclass(kind, BaseException) for kind in found):
        raise ConfigError(f"Retry({option}={found!r}): give exception classes")
    return found


@dataclass(frozen=True, slots=True)
class Retry:
    """The number of attempts of a task, and the delays between them.

    The delay after attempt *n* is ``min(max_delay, backoff * factor ** (n - 1))``, then jittered.

    Args:
        max_attempts: attempts in all, the first included (1 to 1,000). 1 means at most once: a crashed attempt is not
            repeated either.
        backoff: delay after the first attempt, in seconds (0 or more).
        factor: growth per attempt (1 or more).
        max_delay: longest delay, in seconds.
        jitter: ``full`` draws from 0 to the delay, ``equal`` from half of it to the whole, ``none`` keeps it.
        retry_on: only these exceptions are retried. The end of another task (TaskFailed, TaskCancelled, TaskExpired,
            TaskStalled) and a refused wait (WaitInTask) are retried only if their class, or a base class up to
            TaskQError, is listed here.
        give_up_on: these exceptions are never retried, even if `retry_on` includes them.

    For an ExceptionGroup the exceptions inside decide: if one of them is not retried, the task fails; otherwise the
    longest RetryLater counts. A group class in `retry_on` includes all exceptions inside.

    Raises:
        ConfigError: a value is out of range, or all delays together exceed the 14 days for which SQS keeps a message.
    """

    max_attempts: int = 3
    backoff: float = 1.0
    factor: float = 2.0
    max_delay: float = 600.0
    jitter: Jitter = "full"
    retry_on: tuple[type[BaseException], ...] = (Exception,)
    give_up_on: tuple[type[BaseException], ...] = ()

    def __post_init__(self) -> None:
        if not is_whole(self.max_attempts, 1, 1000):
            raise ConfigError(
                f"Retry(max_attempts={self.max_attempts!r}): give a whole number of 1 to 1000, the first attempt included"
            )
        for name, low in (("backoff", 0.0), ("factor", 1.0), ("max_delay", 0.0)):
            value = getattr(self, name)
            if not is_number(value, low, MAX_FLOAT):
                raise ConfigError(f"Retry({name}={value!r}): give a number of {low:g} or more")
        if self.jitter not in ("full", "equal", "none"):
            raise ConfigError(f"Retry(jitter={self.jitter!r}): use 'full', 'equal' or 'none'")
        for name in ("retry_on", "give_up_on"):
            object.__setattr__(self, name, _exception_classes(name, getattr(self, name)))
        if self.horizon > RETENTION - RETENTION_MARGIN_SECONDS:
            raise ConfigError(
                f"Retry: all delays together come to {self.horizon / 86_400:.1f} days; SQS keeps a message for 14 days. "
                "Lower max_attempts or max_delay"
            )

    @property
    def horizon(self) -> float:
        """The sum of the longest delays, in seconds."""
        return sum(self._ceiling(attempt) for attempt in range(1, self.max_attempts))

    def receives(self, longest_wait: float) -> int:
        """Receives that all attempts need, if a delay above `longest_wait` seconds takes several receives."""
        if self.max_delay <= longest_wait:
            return self.max_attempts
        waits = (self._ceiling(attempt) for attempt in range(1, self.max_attempts))
        return self.max_attempts + sum(max(0, math.ceil(wait / longest_wait) - 1) for wait in waits)

    def _ceiling(self, attempt: int) -> float:
        try:
            return min(self.max_delay, self.backoff * self.factor ** (attempt - 1))
        except OverflowError:
            return self.max_delay

    def delay(self, attempt: int, error: BaseException | None = None) -> float:
        """Delay in seconds after `attempt` (counted from 1) failed with `error`."""
        ceiling = self._ceiling(attempt)
        if self.jitter == "full":
            ceiling *= random.random()
        elif self.jitter == "equal":
            ceiling *= 0.5 + random.random() / 2
        return max([ceiling, *(each.seconds for each in _inside(error) if isinstance(each, RetryLater))])

    def refuses(self, attempt: int, error: BaseException) -> str | None:
        """The reason why `error` in `attempt` is final (``exhausted``, ``not_retryable``), or None if it is retried."""
        groups = tuple(kind for kind in self.retry_on if issubclass(kind, BaseExceptionGroup))
        if any(isinstance(each, self.give_up_on) for each in _inside(error)):
            return "not_retryable"
        if not all(self._is_retried(each) for each in _inside(error, whole=groups)):
            return "not_retryable"
        return "exhausted" if attempt >= self.max_attempts else None

    def _is_retried(self, error: BaseException) -> bool:
        if isinstance(error, RetryLater | BaseExceptionGroup):
            return True  # for a group, the exceptions inside decide
        if isinstance(error, TaskError | WaitInTask):
            # Another attempt would most likely enqueue the other task again, and end the same way.
            return isinstance(error, tuple(kind for kind in self.retry_on if issubclass(kind, TaskQError)))
        return isinstance(error, self.retry_on)


def _inside(error: BaseException | None, whole: tuple[type[BaseException], ...] = ()) -> Iterator[BaseException]:
    """The exception and, if it is a group, those inside, but not those inside groups of the classes in `whole`."""
    waiting = [] if error is None else [error]
    while waiting:
        yield (each := waiting.pop())
        if isinstance(each, BaseExceptionGroup) and not isinstance(each, whole):
            waiting.extend(each.exceptions)


def check_receives(where: str, retry: Retry, queue: Queue) -> None:
    """Refuse more attempts than the queue has receives: SQS would move the message while its task waits for a retry.

    Raises:
        ConfigError: it has not enough of them.
    """
    needed, most = retry.receives(MAX_VISIBILITY_STEP), queue.receives_for_attempts
    if needed > most:
        wait = f" and waits above {MAX_VISIBILITY_STEP // 3600} h" if needed > retry.max_attempts else ""
        raise ConfigError(
            f"{where}: max_attempts={retry.max_attempts}{wait} take {needed} receives, and queue {queue.name!r} has "
            f"{most} for attempts, of max_receive_count={queue.receives_before_redrive} (a tenth is kept for receives that are "
            "no attempts): SQS would move the message to the dead-letter queue before the last one. Lower max_attempts, or "
            "raise Queue(max_receive_count=...), up to 1,000"
        )
