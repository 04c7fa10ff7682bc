"""An idle worker: its receives and its processor time."""

from __future__ import annotations

from ..contend import Spread, run
from ..endpoints import Endpoints
from ..table import Row

SECONDS = 60.0
SETTLE = 3.0
"""Seconds after the start that are not counted."""


def rows(endpoints: Endpoints, rounds: int) -> list[Row]:
    """Receives and processor time of one minute."""
    with endpoints.queue() as queue:
        endpoints.counts()
        found = run(endpoints, "taskq_sls", "idle", queue, tasks=1, settle=SETTLE, seconds=SECONDS, tapped=True)
        counts = endpoints.counts()
    # The poll that opens at the start is not one of an idle minute.
    receives = (counts["ReceiveMessage"] - 1) / (SECONDS + SETTLE) * 60
    share = found["cpu"] / found["wall"] * 100
    print(f"  idle: {counts}, {share:.3f} % of a core", flush=True)
    return [
        Row(
            "idle worker, receives per minute",
            "",
            Spread.of([receives]),
            None,
            None,
            False,
            3.0,
            "receives",
        ),
        Row("idle worker, processor time", "", Spread.of([share]), None, None, False, 0.3, "% of a core"),
    ]
