"""A queue as the app declares it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import ConfigError
from .number_checks import MAX_FLOAT, is_number, is_whole

NAME = re.compile(r"[A-Za-z0-9_-]{1,60}(\.fifo)?")
"""Logical queue names. SQS allows 80 characters; prefix, ``-dlq`` and ``.fifo`` take their share."""

VISIBILITY_TIMEOUT = 60
"""Default visibility timeout in seconds: short, so that a crashed worker's messages come back soon."""

SCHEDULES_DEAD_LETTERS = "schedules-dlq"
"""Logical name of the standard queue for firings of schedules that never reached their queue."""


@dataclass(frozen=True, slots=True)
class Queue:
    """One SQS queue and how its messages are held and delivered.

    Args:
        name: logical name; ends in ``.fifo`` for a FIFO queue. The physical name is ``{prefix}-{name}``.
        visibility_timeout: the hold, in seconds (5 to 43,200): how long a received message stays hidden
            between two heartbeats of a worker. SQS allows 0 to 43,200.
        function_timeout: timeout of the Lambda function that consumes this queue, in seconds (1 to 900),
            when one does. The queue's own visibility is then 6 times this plus the batch window, as the Lambda
            guide advises.
        function_memory: memory of that function, in MB (128 to 10,240); None for the stack's own default.
        weight: share of a worker's free slots when several queues have messages (above 0).
        batch_size: records per Lambda invocation, 1 to 10,000 (1 to 10 on FIFO); above 10 needs a window.
        batch_window: seconds Lambda may wait to fill a batch, 0 to 300; not on FIFO.
        max_concurrency: most Lambda invocations at once, 2 to 1,000; None for no cap.
        max_receive_count: receives before SQS itself moves a message to the dead-letter queue; the net for
            what dies before it can be claimed. 1 to 1,000; default 100, on FIFO 1,000. A task may have no more attempts than
            nine tenths of them.
        function_policy: IAM statements for what the tasks of that function need besides, each with Effect, Action and
            Resource, and if need be Condition and Sid.
        function_environment: environment variables of that function beside the library's own, 3,300 bytes in all. In
            both, ``${Prefix}``, ``${Stage}``, ``${AWS::Region}``, ``${AWS::AccountId}`` and ``${AWS::Partition}`` are
            those of the stack.

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
        if self.function_timeout is not None:
            self._range("function_timeout", self.function_timeout, 1, 900, "seconds")
        if self.function_memory is not None:
            self._range("function_memory", self.function_memory, 128, 10_240, "MB")
        self._range("batch_size", self.batch_size, 1, 10 if self.fifo else 10_000, "records")
        self._range("batch_window", self.batch_window, 0, 0 if self.fifo else 300, "seconds")
        if self.batch_size > 10 and self.batch_window < 1:
            raise ConfigError(
                f"Queue {self.name!r}: batch_size={self.batch_size} is above 10, which needs batch_window of 1 second or more"
            )
        if self.max_concurrency is not None:
            self._range("max_concurrency", self.max_concurrency, 2, 1_000, "invocations")
        if self.max_receive_count is not None:
            self._range("max_receive_count", self.max_receive_count, 1, 1_000, "receives")
        if not is_number(self.weight, 0, MAX_FLOAT) or self.weight == 0:
            raise ConfigError(f"Queue {self.name!r}: weight={self.weight!r} must be a number above 0")
        self._add_to_function()

    def _add_to_function(self) -> None:
        if self.function_policy == () and self.function_environment == {}:
            return
        from .function_settings import checked_environment, checked_statements  # a cold start should not pay

        owner = f"Queue {self.name!r}"
        # Copies: what is declared does not change with the caller's list.
        object.__setattr__(self, "function_policy", checked_statements(owner, self.function_policy))
        object.__setattr__(self, "function_environment", checked_environment(owner, self.function_environment))
        for option in ("function_policy", "function_environment"):
            if getattr(self, option) and self.function_timeout is None:
                raise ConfigError(
                    f"{owner}: {option} is for its Lambda function, and it has none; declare function_timeout too, or give "
                    "it to what runs `taskq worker`"
                )

    def _range(self, option: str, value: object, low: int, high: int, unit: str) -> None:
        if not is_whole(value, low, high):
            raise ConfigError(
                f"Queue {self.name!r}: {option}={value!r} must be a whole number of {low} to {high} {unit}"
            )

    @property
    def fifo(self) -> bool:
        """Whether this is a FIFO queue."""
        return self.name.endswith(".fifo")

    @property
    def receives_before_redrive(self) -> int:
        """`max_receive_count`, or its default for this type of queue."""
        return self.max_receive_count or (1_000 if self.fifo else 100)

    @property
    def receives_for_attempts(self) -> int:
        """Receives that attempts may use. A tenth, at least one, is for those that are no attempts, such as releases."""
        most = self.receives_before_redrive
        return max(1, most - max(1, most // 10))

    @property
    def queue_visibility(self) -> int:
        """The queue's own VisibilityTimeout attribute, in seconds."""
        if self.function_timeout is None:
            return self.visibility_timeout
        return min(43_200, 6 * self.function_timeout + self.batch_window)


def physical_name(prefix: str, name: str) -> str:
    """``{prefix}-{name}``: the name in SQS of a logical queue."""
    return f"{prefix}-{name}"


def dead_letter_name(name: str) -> str:
    """The logical name of a queue's dead-letter queue: ``slow-dlq``, ``ledger-dlq.fifo``."""
    return f"{name[:-5]}-dlq.fifo" if name.endswith(".fifo") else f"{name}-dlq"
