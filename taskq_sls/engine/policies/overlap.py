"""Skips a scheduled run while the one before still runs, if its schedule asks for that."""

from __future__ import annotations

import logging
from collections.abc import Awaitable

from ...core.backoff import outage_seconds
from ...core.delivery import DONE, Outcome, Release
from ...core.states import CANCELLED
from ...middleware.logging import fields
from ..attempt import Attempt, Engine
from ..recording import new_end, record, release
from .base import Observer

logger = logging.getLogger("taskq_sls.task")


class ScheduleOverlap(Observer):
    """Ends a scheduled run as CANCELLED, reason ``overlap``, if another run of its schedule holds the unique key."""

    def admit(self, engine: Engine, attempt: Attempt) -> Awaitable[Outcome | None] | None:
        if attempt.message.schedule is None or attempt.fence is None or attempt.claim.unique_key is None:
            return None
        return self._skip_if_taken(engine, attempt)

    async def _skip_if_taken(self, engine: Engine, attempt: Attempt) -> Outcome | None:
        from ...scheduler.overlap import holder  # an app without such schedules does not need it

        context = attempt.context
        try:
            other = await holder(engine.results, attempt.claim)
        except Exception as error:
            engine.claim_faults.failed(error)
            released = await release(engine, attempt)
            return Release(outage_seconds()) if isinstance(released, Release) else released
        if other is None:
            return None
        logger.info("%s skipped: %s still runs", context.task, other, extra=fields(context, "task_skipped"))
        return await record(engine, attempt, new_end(engine, attempt, CANCELLED, reason="overlap"), DONE)
