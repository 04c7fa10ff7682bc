"""Schedules."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from ...core.states import State
from .base import Timestamp
from .tasks import RequestBody, TaskName


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
        description="cron(...), rate(...) or at(...), as EventBridge Scheduler has them.",
        examples=["rate(5 minutes)"],
    )
    timezone: str = Field(default="UTC", max_length=64, examples=["Europe/Berlin"])
    start: Timestamp | None = Field(default=None, description="Nothing fires before.")
    end: Timestamp | None = Field(default=None, description="Nothing fires after.")
    window: int = Field(default=0, ge=0, le=1440, description="Minutes within which EventBridge may choose the moment.")
    jitter: int = Field(default=0, ge=0, le=43_200, description="Seconds by which firings are put off, evenly spread.")
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    id: str | None = Field(
        default=None,
        pattern="^.{1,100}$",
        description="Makes the schedule's name: with it, repeating the request is safe.",
    )
    queue: str | None = None
    group: str | None = Field(default=None, description="Message group, needed on FIFO queues.")
    labels: dict[str, str] | None = None
    expires_in: float | None = Field(default=None, description="Seconds after the scheduled time.")
    overlap: Literal["allow", "skip"] | None = None
    misfire: Literal["skip", "once", "all"] | None = None

    def options(self) -> dict[str, Any]:
        """The options of the task that are given."""
        names = ("id", "queue", "group", "labels", "expires_in", "overlap", "misfire")
        return {name: value for name in names if (value := getattr(self, name)) is not None}


class ScheduleState(BaseModel):
    """A schedule as it stands."""

    name: str = Field(examples=["d-shop.report-1f0c8a7e"])
    kind: Literal["declared", "runtime"] = Field(description="Declared in code, or made at run time.")
    state: Literal["on", "paused", "ended"]
    expression: str
    timezone: str
    task: str | None = Field(description="Null for a message that is not ours.")
    queue: str
    group: str | None
    start: datetime | None
    end: datetime | None
    window: int = Field(description="Minutes.")
    created_at: datetime | None
    modified_at: datetime | None
    next_run: datetime | None
    last_run: datetime | None = Field(description="The last firing that is known of.")
    last_status: State | None = Field(description="What became of its task, where that is recorded.")
    last_task_id: str | None


class SchedulePage(BaseModel):
    """Schedules by name: first those that the code declares."""

    schedules: list[ScheduleState]
    cursor: str | None = Field(description="Asks for the next page; null on the last one.")


class ScheduleCreated(BaseModel):
    """A schedule that stands; one of the same id that stood already is left as it was."""

    name: str
    task: str


class ScheduleChanged(BaseModel):
    """A schedule that was changed."""

    name: str
    action: Literal["paused", "resumed", "deleted"]
