"""Checks the schedule group, its role and its dead letters, if scheduling is configured."""

from __future__ import annotations

from ...aws.port import AwsClient
from ...core.queues import SCHEDULES_DEAD_LETTERS
from ...core.settings import ROLE_ARN, Settings
from ...errors import AwsError, TaskQError
from .finding import PROVISION, Finding, allow, denied, fail, ok, unreadable, warn
from .queues import READ_ATTRIBUTES, find_url, queue_attributes

_NOTHING = "taskq-doctor"


async def check_schedules(scheduler: AwsClient, sqs: AwsClient, settings: Settings) -> list[Finding]:
    """One line for the schedule group and one for the dead letters if they are fine, else one per fault."""
    group = settings.schedule_group
    if group is None:
        return []
    try:
        dead_letters, arn = await _check_dead_letters(sqs, settings)
        return [*await _check_group(scheduler, group, _check_role(settings, arn)), *dead_letters]
    except TaskQError as error:
        return [fail(f"schedule group {group}", str(error))]


async def _check_group(scheduler: AwsClient, group: str, faults: list[Finding]) -> list[Finding]:
    subject = f"schedule group {group}"
    try:
        answer = await scheduler.call("get_schedule_group", Name=group)
    except AwsError as error:
        if error.code == "ResourceNotFoundException":
            fix = f"{PROVISION}, or name the right group with TASKQ_SCHEDULE_GROUP"
            return [fail(subject, "does not exist", fix), *faults]
        if denied(error):
            return [unreadable(subject, "", error, "scheduler:GetScheduleGroup"), *faults]
        return [fail(subject, str(error)), *faults]
    if answer.get("State") == "DELETING":
        deleting = fail(subject, "is being deleted with its schedules", "wait until it is gone, then provision")
        faults = [deleting, *faults]
    faults += await _check_permissions(scheduler, group)
    return faults or [ok(subject, "exists, with a role to send with")]


def _check_role(settings: Settings, queue_arn: str | None) -> list[Finding]:
    subject, role = "schedule role", settings.schedule_role_arn
    if role is None:
        fix = "set TASKQ_SCHEDULE_ROLE_ARN to the role with which schedules send to the queues"
        return [fail(subject, "is not set: schedules, and delays of more than 15 minutes, cannot be made", fix)]
    if not ROLE_ARN.fullmatch(role):
        return [fail(subject, f"{role!r} is not the ARN of a role", "correct TASKQ_SCHEDULE_ROLE_ARN")]
    account = role.split(":")[4]
    if queue_arn is not None and account != (found := queue_arn.split(":")[4]):
        detail = f"{role} is of account {account}, the queues are of {found}; schedules stay within one account"
        return [fail(subject, detail, "name a role of the queues' account with TASKQ_SCHEDULE_ROLE_ARN")]
    return []


async def _check_permissions(scheduler: AwsClient, group: str) -> list[Finding]:
    """Calls that read nothing; creating cannot be tried without effect."""
    faults = []
    for action, operation, parameters in (
        ("scheduler:GetSchedule", "get_schedule", {"Name": _NOTHING}),
        ("scheduler:ListSchedules", "list_schedules", {"NamePrefix": _NOTHING, "MaxResults": 1}),
    ):
        try:
            await scheduler.call(operation, GroupName=group, **parameters)
        except AwsError as error:
            if denied(error):
                detail = f"{action} is not allowed: {error.code}; `taskq schedules` needs it, sending does not"
                faults.append(warn(f"schedule group {group}", detail, allow(action)))
    return faults


async def _check_dead_letters(sqs: AwsClient, settings: Settings) -> tuple[list[Finding], str | None]:
    """The findings, and the queue's ARN or None."""
    subject = f"queue {SCHEDULES_DEAD_LETTERS}"
    try:
        url = await find_url(sqs, settings, SCHEDULES_DEAD_LETTERS)
        attributes = None if url is None else await queue_attributes(sqs, url)
    except AwsError as error:
        if not denied(error):
            raise
        return [unreadable(subject, "", error, READ_ATTRIBUTES)], None
    if attributes is None:
        name = url or settings.queue_name(SCHEDULES_DEAD_LETTERS)
        return [fail(subject, f"{name!r} does not exist: a firing that cannot be sent is lost", PROVISION)], None
    arn = attributes.get("QueueArn")
    counted = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible")
    if count := sum(int(attributes.get(name, 0)) for name in counted):
        detail = f"holds {count} firings that never reached their queue"
        fix = "read their attributes ERROR_CODE and ERROR_MESSAGE: a missing queue, or a role that may not send"
        return [warn(subject, detail, fix)], arn
    return [ok(subject, "empty")], arn
