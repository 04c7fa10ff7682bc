"""The schedules: how they stand, and when they fire next."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from itertools import islice

from starlette.requests import Request

from ...client.schedule_handle import next_run
from ...operations.schedules import ScheduleView, kind_of, list_schedules
from ..request_context import RequestContext
from .components import action, alert, section, status, table, time
from .html import NOTHING, Child, Html, link, markup, tag
from .layout import View
from .task_actions import MESSAGES
from .timeline import DAY_SECONDS, Step, event_list, tick_strip

MIN_PAGE_SCHEDULES = 50
"""Schedules after which a page ends; one read brings up to 100."""

MAX_RUNS_DRAWN = 48
"""Runs of one schedule that are drawn."""

NEXT_RUNS_LISTED = 10
"""Runs of all schedules that are told one by one."""


async def show(context: RequestContext, request: Request) -> View:
    """About 100 schedules, by name: first those of the code, then those made at run time."""
    given = request.query_params
    found, cursor = await _some(context, given.get("cursor") or None)
    now = context.now
    runs = {schedule.stored.spec.name: _runs(schedule, now) for schedule in found}
    said = MESSAGES.get(given.get("said", ""))
    content = [
        alert(said) if said else NOTHING,
        section("Next runs", _first_runs(found, runs)),
        section("Schedules", _table(context, found, runs, now)),
        tag("p", link("More schedules", "schedules", cursor=cursor)) if cursor else NOTHING,
    ]
    return View("Schedules", "schedules", before=markup(content))


async def _some(context: RequestContext, cursor: str | None) -> tuple[list[ScheduleView], str | None]:
    """Schedules of both kinds, and where to go on."""
    found: list[ScheduleView] = []
    while True:
        page = await list_schedules(context.app, context.services, cursor=cursor)
        found += page.schedules
        cursor = page.cursor
        if cursor is None or len(found) >= MIN_PAGE_SCHEDULES:
            return found, cursor


def _runs(schedule: ScheduleView, now: float) -> list[float]:
    """When it fires in the next 24 hours, as far as that is drawn."""
    found: list[float] = []
    at = schedule.next_at
    while at is not None and at <= now + DAY_SECONDS and len(found) < MAX_RUNS_DRAWN:
        found.append(at)
        following = next_run(schedule.stored, at)
        at = None if following is None else following.timestamp()
    return found


def _first_runs(schedules: Sequence[ScheduleView], runs: dict[str, list[float]]) -> Html:
    every = heapq.merge(
        *(
            [(at, schedule.stored.spec.name, schedule.task) for at in runs[schedule.stored.spec.name]]
            for schedule in schedules
        )
    )
    first = list(islice(every, NEXT_RUNS_LISTED))
    if not first:
        return tag("p", "None in the next 24 hours.", class_="muted")
    return event_list(
        [Step(at, tag("span", task or "?", " ", tag("small", name))) for at, name, task in first], "Next runs"
    )


def _table(
    context: RequestContext, schedules: Sequence[ScheduleView], runs: dict[str, list[float]], now: float
) -> Html:
    admin = "admin" in context.principal.scopes
    header = ["Name", "Task", "When", "State", "Next run (UTC)", "Next 24 hours", "Last run (UTC)"]
    rows = [_row(schedule, runs[schedule.stored.spec.name], now, admin=admin) for schedule in schedules]
    return table("How they stand; changes take effect at once", [*header, "Change"] if admin else header, rows)


def _row(schedule: ScheduleView, runs: Sequence[float], now: float, *, admin: bool) -> list[Child]:
    spec = schedule.stored.spec
    kind = {"declared": "declared in code", "runtime": "made at run time"}.get(kind_of(spec.name) or "")
    last: Child = time(schedule.last_at)
    if schedule.last_id is not None and schedule.last is not None:
        last = markup([last, " ", link(markup([status(schedule.last.status)]), "task", id=schedule.last_id)])
    row: list[Child] = [
        tag("span", spec.name, tag("br"), tag("small", kind)),
        schedule.task or "-",
        tag("span", tag("code", spec.expression), tag("br"), tag("small", spec.timezone)),
        schedule.state,
        time(schedule.next_at),
        tick_strip(runs, now),
        last,
    ]
    if admin:
        paused = not spec.enabled
        page, text = ("resume", "Resume") if paused else ("pause", "Pause")
        row.append(action(page, text, {"name": spec.name}, name=spec.name))
    return row
