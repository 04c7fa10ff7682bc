"""Schedules, with their JSON: list, create, show, pause, resume, delete."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict, Field

from ...client.schedule_handle import ScheduleHandle
from ...core.states import State
from ...errors import ConfigError
from ...operations.presenters import schedule_fields
from ...operations.schedules import ScheduleView, is_of, kind_of, list_schedules, show_schedule
from ...scheduler.parse import parse
from ..problems import ProblemError
from ..request_context import BODY, Context, RequestBody, RequestContext, TaskName, Timestamp, allowed
from .enqueueing import find_task

router = APIRouter(prefix="/v1/schedules", tags=["schedules"])

Name = Annotated[
    str,
    Path(pattern=r"^[0-9a-zA-Z_.-]{1,64}$", description="Name of the schedule.", examples=["d-shop.report-1f0c8a7e"]),
]


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


@router.get("", operation_id="listSchedules", summary="List schedules", **allowed("read", "no-scheduler"))
async def get_schedules(
    context: Context,
    kind: Annotated[
        Literal["declared", "runtime"] | None, Query(description="Declared in code, or created at run time.")
    ] = None,
    cursor: Annotated[str | None, Query(max_length=4_000, description="Cursor of the previous page.")] = None,
) -> SchedulePage:
    """Up to 100 schedules a page, each with its next run and the status of the last one."""
    page = await list_schedules(context.app, context.services, kind=kind, cursor=cursor)
    return SchedulePage(schedules=[_state(schedule) for schedule in page.schedules], cursor=page.cursor)


@router.post(
    "",
    operation_id="createSchedule",
    summary="Schedule a task",
    status_code=201,
    **allowed("admin", *BODY, "not-over-http", "not-found", "no-scheduler"),
)
async def create_schedule(given: CreateSchedule, context: Context) -> ScheduleCreated:
    """Only tasks declared with `http=True` can be scheduled. With an id, repeating the request is safe."""
    task = find_task(context.app, given.task)
    when = parse(given.expression.strip(), given.timezone, given.start, given.end, given.window, given.jitter)
    args, kwargs = task.plan.signature.decode(given.args, given.kwargs)
    handle = await task.with_options(**given.options()).aschedule(when, *args, **kwargs)
    return ScheduleCreated(name=handle.id, task=task.name)


@router.get(
    "/{name}",
    operation_id="getSchedule",
    summary="Show a schedule",
    **allowed("read", "not-found", "no-scheduler"),
)
async def get_schedule(name: Name, context: Context) -> ScheduleState:
    """Its definition, state, next run and last run."""
    view = await show_schedule(context.app, context.services, name)
    if view is None:
        raise _missing(name)
    return _state(view)


@router.post(
    "/{name}/pause",
    operation_id="pauseSchedule",
    summary="Pause a schedule",
    **allowed("admin", "not-found", "no-scheduler"),
)
async def pause_schedule(name: Name, context: Context) -> ScheduleChanged:
    """The next deployment, or sync, resumes a schedule declared in code."""
    if not await _handle(context, name).apause():
        raise _missing(name)
    return ScheduleChanged(name=name, action="paused")


@router.post(
    "/{name}/resume",
    operation_id="resumeSchedule",
    summary="Resume a paused schedule",
    **allowed("admin", "not-found", "no-scheduler"),
)
async def resume_schedule(name: Name, context: Context) -> ScheduleChanged:
    """Runs that were due during the pause are not made up for."""
    if not await _handle(context, name).aresume():
        raise _missing(name)
    return ScheduleChanged(name=name, action="resumed")


@router.delete(
    "/{name}",
    operation_id="deleteSchedule",
    summary="Delete a schedule",
    **allowed("admin", "not-found", "no-scheduler"),
)
async def delete_schedule(name: Name, context: Context) -> ScheduleChanged:
    """Tasks that it has sent are kept. The next deployment, or sync, creates a schedule declared in code again."""
    if not await _handle(context, name).acancel():
        raise _missing(name)
    return ScheduleChanged(name=name, action="deleted")


def _handle(context: RequestContext, name: str) -> ScheduleHandle:
    try:
        if is_of(context.app, name):
            return context.app.schedule_handle(name)
    except ConfigError:
        pass
    raise _missing(name)


def _missing(name: str) -> ProblemError:
    return ProblemError("not-found", f"schedule {name!r:.80} does not exist")


def _state(view: ScheduleView) -> ScheduleState:
    return ScheduleState.model_validate({**schedule_fields(view), "kind": kind_of(view.stored.spec.name)})
