"""Steps of the local clock that are repeated after faults."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from ...core.backoff import Backoff
from ...core.fault_log import FaultLog
from ...core.flow import Flow
from ...errors import AwsError, TaskQError

logger = logging.getLogger("taskq_sls.scheduler")

FIRST_BACKOFF_SECONDS, MAX_BACKOFF_SECONDS = 0.5, 30.0

Step = Callable[[], Awaitable[None]]


def new_backoff() -> Backoff:
    """The waits between tries after a fault."""
    return Backoff(FIRST_BACKOFF_SECONDS, MAX_BACKOFF_SECONDS)


async def retry_until_success(step: Step, flow: Flow, faults: FaultLog) -> None:
    """Run a step, again after each transient fault.

    Raises:
        AwsError, ConfigError: a permanent fault.
    """
    backoff = new_backoff()
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


async def run_forever(step: Step, pause: Callable[[], float], flow: Flow, faults: FaultLog) -> None:
    """Run a step again and again, `pause()` seconds after each. No fault ends it."""
    backoff = new_backoff()
    while True:
        try:
            await step()
        except Exception as error:
            if not isinstance(error, TaskQError):
                logger.exception("an unexpected fault", extra={"action": "scheduler_error"})
            faults.failed(error)
            await flow.sleep(backoff.next())
        else:
            faults.recovered()
            backoff.reset()
            await flow.sleep(pause())
