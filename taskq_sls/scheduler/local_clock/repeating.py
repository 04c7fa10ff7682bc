"""Work of the local clock that goes on whatever fails."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from ...core.backoff import Backoff
from ...core.fault_log import FaultLog
from ...core.flow import Flow
from ...errors import AwsError, TaskQError

logger = logging.getLogger("taskq_sls.scheduler")

BACKOFF, LONGEST_BACKOFF = 0.5, 30.0
"""Seconds after a fault until the next try: the first, doubling, and the longest. Up to half is left out."""

Step = Callable[[], Awaitable[None]]


async def retry_until_success(step: Step, flow: Flow, faults: FaultLog) -> None:
    """Take a step, again after faults that may pass.

    Raises:
        AwsError, ConfigError: what no repeat can mend.
    """
    backoff = Backoff(BACKOFF, LONGEST_BACKOFF)
    while True:
        try:
            await step()
        except AwsError as error:
            if not error.transient:
                raise
            faults.failed(error)
        else:
            faults.recovered()
            return
        await flow.sleep(backoff.next())


async def run_forever(
    step: Step, pause: Callable[[], float], flow: Flow, faults: FaultLog, *, later: bool = False
) -> None:
    """Take a step again and again, for ever. No fault ends it.

    Args:
        pause: seconds until the next time.
        later: begin with the pause.
    """
    backoff = Backoff(BACKOFF, LONGEST_BACKOFF)
    wait = pause() if later else 0.0
    while True:
        await flow.sleep(wait)
        try:
            await step()
        except Exception as error:
            if not isinstance(error, TaskQError):
                logger.exception("an unexpected fault", extra={"action": "scheduler_error"})
            faults.failed(error)
            wait = backoff.next()
        else:
            faults.recovered()
            backoff.reset()
            wait = pause()
