"""The routes of the API, one module for each noun."""

from __future__ import annotations

from . import dead_letters, enqueueing, health, queues, schedules, tasks

ROUTERS = (
    enqueueing.router,
    tasks.router,
    schedules.router,
    queues.router,
    dead_letters.router,
    health.router,
)
