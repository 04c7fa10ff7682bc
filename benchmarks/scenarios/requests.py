"""SQS requests per task, counted by the proxy: sent by `enqueue_many`, received, deleted."""

from __future__ import annotations

from ..contend import Spread, run
from ..endpoints import Endpoints
from ..table import Row

TASKS = 2_000
CASES = [(100, 0.0, 0.35), (100, 0.05, 0.35), (20, 0.0, 0.6), (20, 0.05, 0.6)]
"""Concurrency, the longest task in seconds (they are spread evenly from 0), the target."""


def rows(endpoints: Endpoints, rounds: int) -> list[Row]:
    """Requests, including a worker's first ones (the URL of the queue, an extra poll)."""
    found = []
    for concurrency, pause, target in CASES:
        figures = []
        for _ in range(min(rounds, 3)):
            with endpoints.queue() as queue:
                endpoints.counts()
                run(endpoints, "taskq_sls", "send_many", queue, tasks=TASKS - 10, warm=10, tapped=True)
                options = {"tasks": TASKS, "concurrency": concurrency, "pause": pause, "linger": 0.5}
                run(endpoints, "taskq_sls", "work", queue, tapped=True, **options)
                figures.append(sum(endpoints.counts().values()) / TASKS)
        name = f"SQS requests per task, concurrency {concurrency}, tasks of 0 to {pause * 1000:.0f} ms"
        found.append(Row(name, "", Spread.of(figures), None, None, False, target, "requests per task"))
        print(f"  {name}: {figures}", flush=True)
    for contender, tasks, options in (
        ("taskiq", 1_600, {"concurrency": 100, "senders": 16}),
        ("celery", 300, {}),
        ("dramatiq", 300, {}),
    ):
        with endpoints.queue() as queue:
            endpoints.counts()
            run(
                endpoints,
                contender,
                "send_each",
                queue,
                tasks=tasks - tasks // 10,
                warm=tasks // 10,
                tapped=True,
                **options,
            )
            run(endpoints, contender, "work", queue, tasks=tasks, linger=0.5, tapped=True, **options)
            figures = [sum(endpoints.counts().values()) / tasks]
        found.append(
            Row(
                f"SQS requests per task, {contender}",
                "",
                Spread.of(figures),
                None,
                None,
                False,
                None,
                "requests per task",
            )
        )
    return found
