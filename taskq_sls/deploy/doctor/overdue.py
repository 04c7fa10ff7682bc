"""Tasks that wait for a retry nobody starts: no worker runs, or SQS has moved their messages."""

from __future__ import annotations

from ...app import TaskQ
from ...aws.port import AwsPort
from ...core.states import State
from ...errors import TaskQError
from ...results.base import Query
from ...results.dynamodb.backend import DynamoResults
from ...results.records import STALL_AFTER
from .finding import Finding, warn

MOST_READ = 200
"""Records that the check reads at most."""

MOST_NAMED = 5
"""Ids that the finding names at most."""


async def check_overdue(app: TaskQ, port: AwsPort) -> list[Finding]:
    """Name tasks that are RETRYING and were due more than 15 minutes ago."""
    now = app.clock.time()
    results = DynamoResults(port.client("dynamodb"), port.flow, app.settings.table, port.describe)
    try:
        page = await results.list(Query(status=State.RETRYING, until=now - STALL_AFTER, limit=MOST_READ), now=now)
    except TaskQError:
        return []  # the check of the table says why
    overdue = [record.id for record in page if record.stalled(now)]
    if not overdue:
        return []
    named = ", ".join(overdue[:MOST_NAMED]) + (", ..." if len(overdue) > MOST_NAMED or page.cursor else "")
    return [
        warn(
            "tasks",
            f"{len(overdue)} wait for a retry that was due more than {STALL_AFTER / 60:.0f} minutes ago: {named}",
            "see that workers run; if SQS has moved their messages, `taskq dlq ls` ends these tasks and frees their keys",
        )
    ]
