"""The log lines about ends of attempts; `StructuredLogging` logs starts and successes."""

from __future__ import annotations

import logging

from ...core.states import CANCELLED, FAILED, RETRYING, State
from ...middleware.logging import fields
from ...results.records import AttemptEnd
from ..attempt import Attempt
from .base import Observer

logger = logging.getLogger("taskq_sls.task")


class LogLines(Observer):
    """Logs every end but a success, before it is stored: the error is not lost with the end."""

    def attempt_failing(self, attempt: Attempt, end: AttemptEnd) -> None:
        context = attempt.context
        if end.state is State.EXPIRED:
            logger.info("%s expired", context.task, extra=fields(context, "task_expired"))
        elif not attempt.started_at:
            level = logging.ERROR if end.reason == "retention" else logging.WARNING
            extra = {**fields(context, "task_closed"), "reason": end.reason or end.state}
            logger.log(level, "%s: %s", context.task, end.reason or end.state, extra=extra)
        elif end.state is CANCELLED:
            logger.info("%s cancelled", context.task, extra=fields(context, "task_cancelled"))
        elif end.state is RETRYING:
            self._retrying(attempt, end)
        elif end.state is FAILED:
            self._failed(attempt, end)

    def attempt_dropped(self, attempt: Attempt, reason: str) -> None:
        context = attempt.context
        if reason == "released":
            logger.info("%s released", context.task, extra=fields(context, "task_released"))
        else:
            logger.warning("%s: another holder took over", context.task, extra=fields(context, "lease_lost"))

    @staticmethod
    def _retrying(attempt: Attempt, end: AttemptEnd) -> None:
        context, error = attempt.context, end.error
        delay = (end.next_at or end.now) - end.now
        logger.warning(
            "%s failed (attempt %d of %d), again in %.1f s: %s: %s",
            context.task,
            context.attempt,
            attempt.compiled.options.retry.max_attempts,
            delay,
            error and error.type,
            error and error.message,
            extra={**fields(context, "task_retrying"), "delay": round(delay, 3)},
        )

    @staticmethod
    def _failed(attempt: Attempt, end: AttemptEnd) -> None:
        context, error = attempt.context, end.error
        logger.error(
            "%s failed for good (%s, attempt %d): %s: %s",
            context.task,
            end.reason,
            context.attempt,
            error and error.type,
            error and error.message,
            extra={
                **fields(context, "task_failed"),
                "reason": end.reason,
                "traceback": error.traceback if error else "",
            },
        )
