"""A queue with a backlog of no-op tasks, one worker process, no results stored."""

from __future__ import annotations

from ..endpoints import Endpoints
from ..table import Case, Row, compare, in_turn

BARE, BARE_EQUAL = "bare receive 10, delete 10", "bare receive 10, delete 10, equal configuration"
TASKIQ, TASKIQ_TENS = "taskiq-aio-sqs", "taskiq-aio-sqs, told to receive tens"
CELERY, CELERY_SOLO, DRAMATIQ = "celery", "celery, solo pool", "dramatiq"
SETTLE = 2.5
"""Seconds in which a worker also starts its heartbeat and sends its first report."""


FILLED = ("taskq_sls", "send_many", {})

CASES = [
    Case("worker", "taskq_sls", "work", 20_000, {"concurrency": 100, "settle": SETTLE}, FILLED),
    Case(BARE, "bare", "work", 20_000, {"settle": SETTLE}, FILLED),
    Case(BARE_EQUAL, "bare", "work", 20_000, {"tuned": True, "settle": SETTLE}, FILLED),
    Case(TASKIQ, "taskiq", "work", 1_600, {"concurrency": 100}, ("taskiq", "send_each", {"senders": 16})),
    Case(
        TASKIQ_TENS, "taskiq", "work", 1_600, {"concurrency": 100, "tens": 10}, ("taskiq", "send_each", {"senders": 16})
    ),
    Case(CELERY, "celery", "work", 300, {}, ("celery", "send_each", {})),
    Case(CELERY_SOLO, "celery", "work", 300, {"pool": "solo"}, ("celery", "send_each", {})),
    Case(DRAMATIQ, "dramatiq", "work", 500, {}, ("dramatiq", "send_each", {})),
]


def rows(endpoints: Endpoints, rounds: int) -> list[Row]:
    """Processor time per task."""
    figures = in_turn(endpoints, CASES, rounds)
    what = "worker, no results"
    return [
        compare(what, figures, "worker", BARE, 1.2),
        compare(what, figures, "worker", BARE_EQUAL, 1.4),
        compare(what, figures, "worker", TASKIQ, 4, times=True),
        compare(what, figures, "worker", TASKIQ_TENS, None, times=True),
        compare(what, figures, "worker", CELERY, 8, times=True),
        compare(what, figures, "worker", CELERY_SOLO, None, times=True),
        compare(what, figures, "worker", DRAMATIQ, None, times=True),
    ]
