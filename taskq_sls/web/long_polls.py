"""Requests that wait for a task, bounded so that each is answered in its time."""

from __future__ import annotations

import asyncio
import random

from ..client.app import App
from ..client.waiting import wait_for_records
from ..errors import ResultTimeout
from ..results.records import TaskRecord
from .limits import MAX_LONG_POLLS

CROWDED_SECONDS = 1.0
"""How long a request waits at least that found no place; at most three times as long. Its caller asks again then."""


class LongPolls:
    """The waits of one process. Further ones would only queue for the connections to the table."""

    def __init__(self) -> None:
        self._under_way = 0

    async def wait(self, app: App, id: str, seconds: float) -> TaskRecord | None:
        """Wait for the end of a task.

        Args:
            seconds: longest wait. It is less if `MAX_LONG_POLLS` requests wait already.

        Returns:
            Its record, or None if it has not ended in time, or the table has not answered.
        """
        services = await app.services.on_loop(waiting=True)
        if self._under_way >= MAX_LONG_POLLS:
            await services.flow.sleep(min(seconds, CROWDED_SECONDS * random.uniform(1, 3)))
            return None
        self._under_way += 1
        try:
            async with asyncio.timeout(seconds):
                return (await wait_for_records(app.clock, services, [id], seconds))[id]
        except (ResultTimeout, TimeoutError):
            return None
        finally:
            self._under_way -= 1
