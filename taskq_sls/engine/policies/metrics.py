"""Counts attempts for the metrics."""

from __future__ import annotations

from ...metrics.meter import Meter
from ...results.records import AttemptEnd
from ..attempt import Attempt
from .base import Observer


class AttemptMetrics(Observer):
    """Reports starts and stored ends of attempts to a meter. The driver writes the counters."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter

    def attempt_started(self, attempt: Attempt) -> None:
        context = attempt.context
        # A repeated attempt, or one of a dead letter, did not wait since the enqueue.
        due = None
        if context.attempt == 1 and context.run == 0:
            due = attempt.message.not_before or attempt.claim.enqueued_at
        self._meter.started(context.task, context.queue, attempt.started_at, due)

    def attempt_ended(self, attempt: Attempt, end: AttemptEnd) -> None:
        context = attempt.context
        seconds = end.now - attempt.started_at if attempt.started_at else None
        self._meter.ended(context.task, context.queue, end.now, end.state, end.reason, seconds)
