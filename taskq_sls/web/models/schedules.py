"""Schedules: requests to create them, and their state."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from ...core.states import State
from .base import RequestBody, TaskName, Timestamp


class CreateSchedule(RequestBody):
    """A schedule of a task."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"task": "shop.tasks:report", "expression": "cron(0 9 ? * MON-FRI *)", "timezone": "Europe/Berlin"}
            ]
        }
    )

    task: str = TaskName
    expression: str = Field(
        max_length=256,
        description="cron(...), rate(...) or at(...), in the syntax of EventBridge Scheduler.",
        examples=["rate(5 minutes)"],
    )
    timezone: str = Field(default="UTC", max_length=64, examples=["Europe/Berlin"])
    start: Timestamp | None = Field(default=None, description="No run before this time.")
    end: Timestamp | None = Field(default=None, description="No run after this time.")
    window: int = Field(default=0, ge=0, le=1440, description="Flexible time window of EventBridge, in minutes.")
    jitter: int = Field(
        default=0,
        ge=0,
        le=43_200,
        description="Maximum delay of a run in seconds; each run gets a part of it, evenly spread.",
    )
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    id: str | None = Field(
        default=None,
        pattern="^.{1,100}$",
        description="Determines the schedule's name, so that repeating the request is safe.",
    )
    queue: str | None = None
    group: str | None = Field(default=None, description="Message group, needed on FIFO queues.")
    labels: dict[str, str] | None = None
    expires_in: float | None = Field(default=None, description="Seconds after the scheduled time.")
    overlap: Literal["allow", "skip"] | None = None
    misfire: Literal["skip", "once", "all"] | None = None

    def options(self) -> dict[str, Any]:
        """Return the options that are set."""
        names = ("id", "queue", "group", "labels", "expires_in", "overlap", "misfire")
        return {name: value for name in names if (value := getattr(self, name)) is not None}


class ScheduleState(BaseModel):
    """The state of a schedule."""

    name: str = Field(examples=["d-shop.report-1f0c8a7e"])
    kind: Literal["declared", "runtime"] = Field(description="Declared in code, or created at run time.")
    state: Literal["on", "paused", "ended"]
    expression: str
    timezone: str
    task: str | None = Field(description="Null if the schedule's message is not one of taskq.")
    queue: str
    group: str | None
    start: datetime | None
    end: datetime | None
    window: int = Field(description="Minutes.")
    created_at: datetime | None
    modified_at: datetime | None
    next_run: datetime | None
    last_run: datetime | None = Field(description="The last run that is known.")
    last_status: State | None = Field(description="Status of its task, if recorded.")
    last_task_id: str | None


class SchedulePage(BaseModel):
    """Schedules by name: first those declared in code."""

    schedules: list[ScheduleState]
    cursor: str | None = Field(description="Cursor of the next page; null on the last page.")


class ScheduleCreated(BaseModel):
    """The created schedule, or the existing schedule with the same id, unchanged."""

    name: str
    task: str


class ScheduleChanged(BaseModel):
    """The change that was made."""

    name: str
    action: Literal["paused", "resumed", "deleted"]
