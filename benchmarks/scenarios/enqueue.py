"""Sending: `enqueue_many`, and `aenqueue` of a hundred coroutines, against the bare client and the alternatives."""

from __future__ import annotations

from ..contend import run
from ..endpoints import Endpoints
from ..table import Case, Row, compare, in_turn

MANY, MANY_EQUAL = "bare SendMessageBatch", "bare SendMessageBatch, equal configuration"
EACH = "bare SendMessage, 100 coroutines"
TASKIQ, CELERY, DRAMATIQ = "taskiq-aio-sqs kiq, 16 senders", "celery delay", "dramatiq send"

CASES = [
    Case("enqueue_many", "taskq_sls", "send_many", 10_000),
    Case(MANY, "bare", "send_many", 10_000),
    Case(MANY_EQUAL, "bare", "send_many", 10_000, {"tuned": True}),
    Case("aenqueue", "taskq_sls", "send_each", 5_000, {"senders": 100}),
    Case(EACH, "bare", "send_each", 2_000, {"senders": 100}),
    Case(TASKIQ, "taskiq", "send_each", 1_600, {"senders": 16}),
    Case(CELERY, "celery", "send_each", 500),
    Case(DRAMATIQ, "dramatiq", "send_each", 500),
]

DELAY = 0.01
"""Seconds added to each request in the scenarios with network latency."""


def rows(endpoints: Endpoints, rounds: int) -> list[Row]:
    """Processor time per task sent."""
    figures = in_turn(endpoints, CASES, rounds)
    return [
        compare("enqueue_many", figures, "enqueue_many", MANY, 1.0),
        compare("enqueue_many", figures, "enqueue_many", MANY_EQUAL, 1.2),
        compare("enqueue_many", figures, "enqueue_many", TASKIQ, 8, times=True),
        compare("enqueue_many", figures, "enqueue_many", CELERY, None, times=True),
        compare("enqueue_many", figures, "enqueue_many", DRAMATIQ, None, times=True),
        compare("aenqueue, 100 coroutines", figures, "aenqueue", EACH, 5, times=True),
        compare("aenqueue, 100 coroutines", figures, "aenqueue", TASKIQ, 5, times=True),
        _at_a_distance(endpoints, rounds),
    ]


def _at_a_distance(endpoints: Endpoints, rounds: int) -> Row:
    """Tasks per second of 100 coroutines with 10 ms of network; the bare client has its 10 default connections."""
    figures: dict[str, list[float]] = {"aenqueue": [], "one send per call": []}
    for _ in range(rounds):
        for name, contender, senders, tasks in (
            ("aenqueue", "taskq_sls", 100, 5_000),
            ("one send per call", "bare", 100, 1_000),
        ):
            with endpoints.queue() as queue:
                endpoints.counts(delay=DELAY)
                options = {"tasks": tasks, "warm": tasks // 10, "senders": senders, "tapped": True}
                found = run(endpoints, contender, "send_each", queue, **options)
                endpoints.counts(delay=0)
            figures[name].append(found["wall"] / found["tasks"] * 1e6)
    return compare(
        "aenqueue, 100 coroutines, 10 ms away",
        figures,
        "aenqueue",
        "one send per call",
        5,
        times=True,
        unit="us of wall time per task",
    )
