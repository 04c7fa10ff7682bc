"""A backlog a hundred times as long: the cost of a task, and the memory of the worker. And two processes."""

from __future__ import annotations

from ..contend import finish, run, start
from ..endpoints import Endpoints
from ..table import Case, Row, compare, measure
from .work import FILLED

SHORT, LONG = 1_000, 100_000


def rows(endpoints: Endpoints, rounds: int) -> list[Row]:
    """Processor time per task, and peak memory."""
    return [*backlog(endpoints, min(rounds, 2), SHORT, LONG), _processes(endpoints, min(rounds, 2))]


def backlog(endpoints: Endpoints, rounds: int, few: int, many: int, target: float | None = 1.1) -> list[Row]:
    """The short backlog runs ten times for each long one, so that both last long enough to be measured.

    `target` is that of the cost.
    """
    short, long = f"backlog of {few:,}", f"backlog of {many:,}"
    costs: dict[str, list[float]] = {short: [], long: []}
    memory: dict[str, list[float]] = {short: [], long: []}
    for _ in range(rounds):
        for name, tasks, times in ((short, few, 10), (long, many, 1)):
            case = Case(name, "taskq_sls", "work", tasks, {"concurrency": 100}, FILLED)
            found = [measure(endpoints, case) for _ in range(times)]
            costs[name].append(sum(report["cpu"] for report in found) / sum(report["tasks"] for report in found) * 1e6)
            memory[name].append(max(report["memory"] for report in found) / 1024)
            print(f"  {name}: {costs[name][-1]:.4g} us, {memory[name][-1]:.1f} MB", flush=True)
    return [
        compare(f"worker, {long}", costs, long, short, target),
        compare(f"memory of the worker, {long}", memory, long, short, 1.1, unit="MB"),
    ]


def _processes(endpoints: Endpoints, rounds: int) -> Row:
    """Throughput of one worker and of two, with tasks of 0 to 100 ms, so that the workers wait for the tasks."""
    figures: dict[str, list[float]] = {"one process": [], "two processes": []}
    for _ in range(rounds):
        for name, workers in (("one process", 1), ("two processes", 2)):
            with endpoints.queue() as queue:
                run(endpoints, "taskq_sls", "send_many", queue, tasks=7_990, warm=10)
                options = {"tasks": 2_000, "concurrency": 20, "pause": 0.1}
                together = [start(endpoints, "taskq_sls", "work", queue, **options) for _ in range(workers)]
                found = [finish(process) for process in together]
            figures[name].append(1e6 / sum(report["tasks"] / report["wall"] for report in found))
            print(f"  {name}: {figures[name][-1]:.4g} us of wall time per task", flush=True)
    return compare(
        "two processes", figures, "two processes", "one process", 1.7, times=True, unit="us of wall time per task"
    )
