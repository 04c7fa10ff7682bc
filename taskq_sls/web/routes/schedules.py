"""Schedules: list, create, show, pause, resume, delete."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query

from ...client.schedule_handle import ScheduleHandle
from ...errors import ConfigError
from ...operations.presenters import schedule_fields
from ...operations.schedules import ScheduleView, is_of, kind_of, list_schedules, show_schedule
from ...scheduler.parse import parse
from ..models.schedules import CreateSchedule, ScheduleChanged, ScheduleCreated, SchedulePage, ScheduleState
from ..problems import ProblemError
from ..request_context import BODY, Context, RequestContext, allowed
from .enqueueing import find_task

router = APIRouter(prefix="/v1/schedules", tags=["schedules"])

Name = Annotated[
    str,
    Path(pattern=r"^[0-9a-zA-Z_.-]{1,64}$", description="Name of the schedule.", examples=["d-shop.report-1f0c8a7e"]),
]


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
    if not is_of(context.app, name):
        raise _missing(name)
    try:
        return context.app.schedule_handle(name)
    except ConfigError:
        raise _missing(name) from None


def _missing(name: str) -> ProblemError:
    return ProblemError("not-found", f"schedule {name!r:.80} does not exist")


def _state(view: ScheduleView) -> ScheduleState:
    return ScheduleState.model_validate({**schedule_fields(view), "kind": kind_of(view.stored.spec.name)})
