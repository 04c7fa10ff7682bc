"""From enqueue to the first line of the task, in an idle worker, against a bare send into an open long poll."""

from __future__ import annotations

import statistics
from typing import Any

from ..endpoints import Endpoints
from ..table import Case, Row, compare, in_turn

BARE = "bare send and long poll"
CASES = [Case("latency", "taskq_sls", "latency", 45), Case(BARE, "bare", "latency", 45, {"tuned": True})]


def rows(endpoints: Endpoints, rounds: int) -> list[Row]:
    """Milliseconds, the median of 40."""

    def milliseconds(figures: dict[str, Any]) -> float:
        return statistics.median(figures["seconds"]) * 1000

    figures = in_turn(endpoints, CASES, rounds, milliseconds)
    return [compare("latency, enqueue to start", figures, "latency", BARE, 1.2, unit="ms")]
