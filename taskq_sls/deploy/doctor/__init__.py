"""Checks an app and its resources in AWS without changing anything, and reports each fault with its fix."""

from __future__ import annotations

from ...app import TaskQ
from ...aws.port import AwsPort
from ...core.queues import SCHEDULES_DEAD_LETTERS, dead_letter_name
from ...core.settings import Settings
from ...errors import TaskQError
from .account import check_account, check_clock
from .bucket import check_bucket
from .finding import Finding, Level, check_packages, fail, ok, warn
from .queues import check_queues
from .schedules import check_schedules
from .table import check_overdue, check_table

__all__ = ["CLIENT_OPTIONS", "Finding", "Level", "examine"]

CLIENT_OPTIONS = {"connect_timeout": 2.0, "read_timeout": 5.0, "max_attempts": 1}
"""Client options of the checks: an endpoint that is down is reported within seconds."""


async def examine(app: TaskQ, port: AwsPort) -> list[Finding]:
    """Run all checks, in the order in which to fix things. If no call can succeed, checks that need one are skipped.

    Args:
        port: made with `CLIENT_OPTIONS`; it only reads, and receives no message.
    """
    findings = [*check_packages(), *_check_app(app)]
    if any(finding.level == "fail" for finding in findings):
        return findings
    queue = app.settings.queue_name(next(iter(app.queues)))
    account = await check_account(port, queue)
    findings += [*account, *await check_clock(port, app.clock, queue)]
    if any(finding.level == "fail" for finding in account):
        return findings
    findings += await check_queues(port.client("sqs"), app.settings, list(app.queues.values()))
    findings += await check_table(port.client("dynamodb"), app.settings.table)
    findings += await check_overdue(app, port)
    if app.settings.bucket is not None:
        findings += await check_bucket(port.client("s3"), app.settings.bucket)
    if app.settings.schedule_group is not None:
        findings += await check_schedules(port.client("scheduler"), port.client("sqs"), app.settings)
    elif app.schedules:
        detail = f"{len(app.schedules)} are declared, and no scheduler is configured: none of them fires"
        findings.append(warn("schedules", detail, "set TASKQ_SCHEDULE_ROLE_ARN and TASKQ_SCHEDULE_GROUP"))
    return findings


def _check_queue_urls(app: TaskQ, settings: Settings) -> list[Finding]:
    known = {SCHEDULES_DEAD_LETTERS, *app.queues, *map(dead_letter_name, app.queues)}
    return [
        warn(
            "configuration",
            f"TASKQ_QUEUE_URLS names queue {name!r}, which the app does not declare; it has {', '.join(app.queues)}",
            "correct the name: an unknown one is not used",
        )
        for name in settings.queue_urls
        if name not in known
    ]


def _check_app(app: TaskQ) -> list[Finding]:
    findings = []
    try:
        settings = app.settings
        findings.append(ok("configuration", f"prefix {settings.prefix!r}, table {settings.table!r}"))
        findings += _check_queue_urls(app, settings)
    except TaskQError as error:
        findings.append(fail("configuration", str(error), "correct the environment or the arguments of TaskQ(...)"))
    broken = 0
    for task in app.registry:
        try:
            task.plan.signature  # noqa: B018  # compiled at first use, which may raise
        except TaskQError as error:
            broken += 1
            findings.append(fail(f"task {task.name}", str(error), "correct the function's annotations"))
    if not len(app.registry):
        fix = "import the modules that define them where the app is defined"
        findings.append(warn("tasks", "the app has none", fix))
    elif not broken:
        findings.append(ok("tasks", f"{len(app.registry)} registered"))
    return findings
