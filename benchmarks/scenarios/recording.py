"""A worker with results in DynamoDB, and the two writes of a task alone."""

from __future__ import annotations

from ..endpoints import Endpoints
from ..table import Case, Row, compare, in_turn
from .work import FILLED, SETTLE

CELERY, CELERY_SOLO = "celery, DynamoDB results", "celery, DynamoDB results, solo pool"
TWICE, TWICE_EQUAL = "two bare UpdateItem", "two bare UpdateItem, equal configuration"

CASES = [
    Case("finished", "taskq_sls", "work", 8_000, {"concurrency": 100, "record": "finished", "settle": SETTLE}, FILLED),
    Case("started", "taskq_sls", "work", 3_000, {"concurrency": 100, "record": "started", "settle": SETTLE}, FILLED),
    Case(CELERY, "celery", "work", 200, {"results": True}, ("celery", "send_each", {"results": True})),
    Case(
        CELERY_SOLO,
        "celery",
        "work",
        200,
        {"results": True, "pool": "solo"},
        ("celery", "send_each", {"results": True}),
    ),
    Case("claim and finish", "taskq_sls", "claim_and_finish", 2_000),
    Case(TWICE, "bare", "update_twice", 2_000),
    Case(TWICE_EQUAL, "bare", "update_twice", 2_000, {"tuned": True}),
]


def rows(endpoints: Endpoints, rounds: int) -> list[Row]:
    """Processor time per task."""
    figures = in_turn(endpoints, CASES, rounds)
    return [
        compare("worker, recording finished", figures, "finished", CELERY, 10, times=True),
        compare("worker, recording started", figures, "started", CELERY, 5, times=True),
        compare("worker, recording finished", figures, "finished", CELERY_SOLO, None, times=True),
        compare("worker, recording started", figures, "started", CELERY_SOLO, None, times=True),
        compare("claim and finish", figures, "claim and finish", TWICE, 1.0),
        compare("claim and finish", figures, "claim and finish", TWICE_EQUAL, None),
    ]
