"""A queue as the app declares it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import ConfigError
from .number_checks import MAX_FLOAT, is_number, is_whole

NAME = re.compile(r"[A-Za-z0-9_-]{1,60}(\.fifo)?")
"""Logical queue names. SQS allows 80 characters, with prefix, ``-dlq`` and ``.fifo``."""

VISIBILITY_TIMEOUT = 60
"""Default visibility timeout in seconds. Short, so that messages of a crashed worker are redelivered soon."""

SCHEDULES_DEAD_LETTERS = "schedules-dlq"
"""Logical name of the standard queue for scheduled runs that never reached their queue."""


@dataclass(frozen=True, slots=True)
class Queue:
    """One SQS queue, and how its messages are delivered.

    Args:
        name: logical name; ends in ``.fifo`` for a FIFO queue. The physical name is ``{prefix}-{name}``.
        visibility_timeout: seconds for which a message that a worker received stays hidden (5 to 43,200; SQS allows 0
            to 43,200). The worker extends it every third of this time.
        function_timeout: timeout of the Lambda function that consumes this queue, in seconds (1 to 900); None without
            one. The VisibilityTimeout of the queue is then 6 times this plus the batch window, as the Lambda guide
            advises.
        function_memory: memory of that function, in MB (128 to 10,240); None for the default of the stack.
        weight: share of a worker's slots while several queues have messages (above 0).
        batch_size: records per Lambda invocation, 1 to 10,000 (1 to 10 on FIFO). Above 10 it needs a batch window.
        batch_window: seconds for which Lambda may wait to fill a batch, 0 to 300; not on FIFO.
        max_concurrency: most Lambda invocations at once, 2 to 1,000; None for no limit.
        max_receive_count: receives after which SQS itself moves a message to the dead-letter queue, 1 to 1,000; default
            100, on FIFO 1,000. It catches messages that crash their worker before the claim. A task may have attempts
            for up to nine tenths of it.
        function_policy: IAM statements that the tasks of that function need in addition, each with Effect, Action and
            Resource, and optionally Condition and Sid.
        function_environment: additional environment variables of that function, 3,300 bytes in all. In both,
            ``${Prefix}``, ``${Stage}``, ``${AWS::Region}``, ``${AWS::AccountId}`` and ``${AWS::Partition}`` are
            replaced by the values of the stack.

    Raises:
        ConfigError: a value is out of its range.
    """

    name: str
    visibility_timeout: int = VISIBILITY_TIMEOUT
    function_timeout: int | None = None
    weight: float = 1.0
    batch_size: int = 10
    batch_window: int = 0
    max_concurrency: int | None = None
    max_receive_count: int | None = None
    function_memory: int | None = None
    function_policy: Sequence[Mapping[str, Any]] = field(default=(), hash=False)
    function_environment: Mapping[str, str] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not NAME.fullmatch(self.name):
            raise ConfigError(
                f"Queue name {self.name!r}: use 1 to 60 letters, digits, '-' or '_', with '.fifo' at the end for FIFO"
            )
        self._range("visibility_timeout", self.visibility_timeout, 5, 43_200, "seconds")
        self._range("function_timeout", self.function_timeout, 1, 900, "seconds", optional=True)
        self._range("function_memory", self.function_memory, 128, 10_240, "MB", optional=True)
        self._range("batch_size", self.batch_size, 1, 10 if self.fifo else 10_000, "records")
        self._range("batch_window", self.batch_window, 0, 0 if self.fifo else 300, "seconds")
        if self.batch_size > 10 and self.batch_window < 1:
            raise ConfigError(
                f"Queue {self.name!r}: batch_size={self.batch_size} is above 10, which needs batch_window of 1 second or more"
            )
        self._range("max_concurrency", self.max_concurrency, 2, 1_000, "invocations", optional=True)
        self._range("max_receive_count", self.max_receive_count, 1, 1_000, "receives", optional=True)
        if not is_number(self.weight, 0, MAX_FLOAT) or self.weight == 0:
            raise ConfigError(f"Queue {self.name!r}: weight={self.weight!r} must be a number above 0")
        self._check_function_settings()

    def _check_function_settings(self) -> None:
        if self.function_policy == () and self.function_environment == {}:
            return
        from .function_settings import checked_environment, checked_statements  # few queues need it: saves cold start

        owner = f"Queue {self.name!r}"
        # Copies, so that later changes of the caller's list have no effect.
        object.__setattr__(self, "function_policy", checked_statements(owner, self.function_policy))
        object.__setattr__(self, "function_environment", checked_environment(owner, self.function_environment))
        for option in ("function_policy", "function_environment"):
            if getattr(self, option) and self.function_timeout is None:
                raise ConfigError(
                    f"{owner}: {option} is for its Lambda function, and it has none; declare function_timeout too, or "
                    "configure the machine that runs `taskq worker`"
                )

    def _range(self, option: str, value: object, low: int, high: int, unit: str, *, optional: bool = False) -> None:
        if optional and value is None:
            return
        if not is_whole(value, low, high):
            raise ConfigError(
                f"Queue {self.name!r}: {option}={value!r} must be a whole number of {low} to {high} {unit}"
            )

    @property
    def fifo(self) -> bool:
        """True for a FIFO queue."""
        return self.name.endswith(".fifo")

    @property
    def receives_before_redrive(self) -> int:
        """`max_receive_count`, or its default for this type of queue."""
        return self.max_receive_count or (1_000 if self.fifo else 100)

    @property
    def receives_for_attempts(self) -> int:
        """Receives for attempts. A tenth, at least one, is reserved for other receives, such as released messages."""
        most = self.receives_before_redrive
        return max(1, most - max(1, most // 10))

    @property
    def queue_visibility(self) -> int:
        """The VisibilityTimeout attribute of the queue, in seconds."""
        if self.function_timeout is None:
            return self.visibility_timeout
        return min(43_200, 6 * self.function_timeout + self.batch_window)


def physical_name(prefix: str, name: str) -> str:
    """``{prefix}-{name}``: the name in SQS of a logical queue."""
    return f"{prefix}-{name}"


def dead_letter_name(name: str) -> str:
    """The logical name of a queue's dead-letter queue: ``slow-dlq``, ``ledger-dlq.fifo``."""
    return f"{name[:-5]}-dlq.fifo" if name.endswith(".fifo") else f"{name}-dlq"
