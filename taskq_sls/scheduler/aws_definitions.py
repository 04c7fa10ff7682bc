"""Conversion between schedules and the parameters of EventBridge Scheduler's API."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from ..core.queues import SCHEDULES_DEAD_LETTERS
from ..core.schedule_spec import ScheduleSpec
from ..core.settings import Settings
from .spec import ScheduleSummary, StoredSchedule, is_fifo

KEPT = "Made by taskq_sls."
REMOVED = "Made by taskq_sls; removed after its last firing."
"""Descriptions. They also store `delete_after`: an update on some endpoints (moto) does not change
ActionAfterCompletion."""


def definition(spec: ScheduleSpec, target: str, role_arn: str, settings: Settings) -> dict[str, Any]:
    """The parameters of CreateSchedule and UpdateSchedule, except name and schedule group.

    All of them, since an update resets missing ones. The retry policy is the default: 185 tries within a day.

    Args:
        spec: in its normalized form.
        target: ARN of the queue.
    """
    parameters: dict[str, Any] = {
        "ScheduleExpression": spec.expression,
        "ScheduleExpressionTimezone": spec.timezone,
        "FlexibleTimeWindow": _window(spec.window),
        "State": "ENABLED" if spec.enabled else "DISABLED",
        "ActionAfterCompletion": "DELETE" if spec.delete_after else "NONE",
        "Description": REMOVED if spec.delete_after else KEPT,
        "Target": {
            "Arn": target,
            "RoleArn": role_arn,
            "Input": spec.body,
            "DeadLetterConfig": {"Arn": _dead_letters(target, settings)},
        },
    }
    if is_fifo(spec):
        parameters["Target"]["SqsParameters"] = {"MessageGroupId": spec.group}
    if spec.start is not None:
        parameters["StartDate"] = datetime.fromtimestamp(spec.start, UTC)
    if spec.end is not None:
        parameters["EndDate"] = datetime.fromtimestamp(spec.end, UTC)
    return parameters


def stored(answer: Mapping[str, Any], settings: Settings) -> StoredSchedule:
    """The schedule in an answer of GetSchedule. Fields that an endpoint omits have their defaults."""
    target = answer.get("Target", {})
    arn = target.get("Arn", "")
    created = _seconds(answer.get("CreationDate")) or 0.0
    spec = ScheduleSpec(
        name=answer["Name"],
        expression=answer["ScheduleExpression"],
        timezone=answer.get("ScheduleExpressionTimezone") or "UTC",
        queue=logical_queue(arn, settings),
        body=target.get("Input") or "",
        start=_seconds(answer.get("StartDate")),
        end=_seconds(answer.get("EndDate")),
        window=_minutes(answer.get("FlexibleTimeWindow") or {}),
        enabled=answer.get("State", "ENABLED") == "ENABLED",
        group=(target.get("SqsParameters") or {}).get("MessageGroupId"),
        delete_after=_deleted_after(answer),
    )
    modified = _seconds(answer.get("LastModificationDate"))
    return StoredSchedule(
        spec=spec,
        arn=answer.get("Arn", ""),
        target=arn,
        created=created,
        modified=created if modified is None else modified,
    )


def summary(entry: Mapping[str, Any]) -> ScheduleSummary:
    """One entry of ListSchedules."""
    created = _seconds(entry.get("CreationDate")) or 0.0
    modified = _seconds(entry.get("LastModificationDate"))
    enabled = entry.get("State", "ENABLED") == "ENABLED"
    return ScheduleSummary(entry["Name"], enabled, created, created if modified is None else modified)


def logical_queue(arn: str, settings: Settings) -> str:
    """The logical name of the queue with this ARN if the app's configuration has it, else the physical name."""
    physical = arn.rpartition(":")[2]
    for queue, url in settings.queue_urls.items():
        if url.rpartition("/")[2] == physical:
            return queue
    return physical.removeprefix(f"{settings.prefix}-")


def _dead_letters(target: str, settings: Settings) -> str:
    """The ARN of the dead-letter queue for firings, in the account and region of the target."""
    url = settings.queue_urls.get(SCHEDULES_DEAD_LETTERS)
    name = settings.queue_name(SCHEDULES_DEAD_LETTERS) if url is None else url.rpartition("/")[2]
    return f"{target.rpartition(':')[0]}:{name}"


def _window(minutes: int) -> dict[str, Any]:
    return {"Mode": "FLEXIBLE", "MaximumWindowInMinutes": minutes} if minutes else {"Mode": "OFF"}


def _minutes(window: Mapping[str, Any]) -> int:
    return int(window.get("MaximumWindowInMinutes") or 0) if window.get("Mode") == "FLEXIBLE" else 0


def _deleted_after(answer: Mapping[str, Any]) -> bool:
    description = answer.get("Description")
    if description in (KEPT, REMOVED):
        return bool(description == REMOVED)
    return bool(answer.get("ActionAfterCompletion") == "DELETE")


def _seconds(value: datetime | float | None) -> float | None:
    if value is None:
        return None
    return value.timestamp() if isinstance(value, datetime) else float(value)
