"""The page of schedules: their state and next runs."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from itertools import islice

from starlette.requests import Request

from ...client.schedule_handle import next_run
from ...operations.schedules import ScheduleView, kind_of, list_schedules
from ..request_context import RequestContext
from .components import action, alert, section, status, table, time
from .forms import MESSAGES
from .html import NOTHING, Child, Html, link, markup, tag
from .layout import View
from .timeline import DAY_SECONDS, Step, event_list, tick_strip

MIN_PAGE_SCHEDULES = 50
"""A page ends after at least so many schedules; one read returns up to 100."""

MAX_RUNS_DRAWN = 48
"""Runs of one schedule on its strip."""

NEXT_RUNS_LISTED = 10
"""Runs of all schedules in the list."""


async def show(context: RequestContext, request: Request) -> View:
    """Return about 100 schedules by name: first those declared in code, then those created at run time."""
    given = request.query_params
    schedules, cursor = await _page(context, given.get("cursor") or None)
    now = context.now
    runs = {schedule.stored.spec.name: _runs(schedule, now) for schedule in schedules}
    message = MESSAGES.get(given.get("outcome", ""))
    content = [
        alert(message) if message else NOTHING,
        section("Next runs", _next_runs(schedules, runs)),
        section("Schedules", _table(context, schedules, runs, now)),
        tag("p", link("More schedules", "schedules", cursor=cursor)) if cursor else NOTHING,
    ]
    return View("Schedules", "schedules", before=markup(content))


async def _page(context: RequestContext, cursor: str | None) -> tuple[list[ScheduleView], str | None]:
    """Return schedules of both kinds, and the cursor of the next page."""
    found: list[ScheduleView] = []
    while True:
        page = await list_schedules(context.app, context.services, cursor=cursor)
        found += page.schedules
        cursor = page.cursor
        if cursor is None or len(found) >= MIN_PAGE_SCHEDULES:
            return found, cursor


def _runs(schedule: ScheduleView, now: float) -> list[float]:
    """Return the runs of the next 24 hours, at most `MAX_RUNS_DRAWN`."""
    found: list[float] = []
    at = schedule.next_at
    while at is not None and at <= now + DAY_SECONDS and len(found) < MAX_RUNS_DRAWN:
        found.append(at)
        following = next_run(schedule.stored, at)
        at = None if following is None else following.timestamp()
    return found


def _next_runs(schedules: Sequence[ScheduleView], runs: Mapping[str, Sequence[float]]) -> Html:
    by_schedule = [
        [(at, schedule.stored.spec.name, schedule.task) for at in runs[schedule.stored.spec.name]]
        for schedule in schedules
    ]
    first = islice(heapq.merge(*by_schedule), NEXT_RUNS_LISTED)
    steps = [Step(at, tag("span", task or "?", " ", tag("small", name))) for at, name, task in first]
    if not steps:
        return tag("p", "No runs in the next 24 hours.", class_="muted")
    return event_list(steps, "Next runs")


def _table(
    context: RequestContext, schedules: Sequence[ScheduleView], runs: Mapping[str, Sequence[float]], now: float
) -> Html:
    admin = "admin" in context.principal.scopes
    header = ["Name", "Task", "Expression", "State", "Next run (UTC)", "Next 24 hours", "Last run (UTC)"]
    rows = [_row(schedule, runs[schedule.stored.spec.name], now, admin=admin) for schedule in schedules]
    return table("Schedules; changes take effect at once", [*header, "Change"] if admin else header, rows)


def _row(schedule: ScheduleView, runs: Sequence[float], now: float, *, admin: bool) -> list[Child]:
    spec = schedule.stored.spec
    kind = {"declared": "declared in code", "runtime": "created at run time"}.get(kind_of(spec.name) or "")
    last: Child = time(schedule.last_at)
    if schedule.last_id is not None and schedule.last is not None:
        last = markup([last, " ", link(status(schedule.last.status), "task", id=schedule.last_id)])
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
        page, text = ("pause", "Pause") if spec.enabled else ("resume", "Resume")
        row.append(action(page, text, {"name": spec.name}, name=spec.name))
    return row
