"""The schedules: how they stand, and when they fire next."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from itertools import islice

from starlette.requests import Request

from ...client.schedule_handle import next_run
from ...operations.schedules import ScheduleView, kind_of, list_schedules
from ..request_context import RequestContext
from .components import action, notice, section, status, table, time
from .html import NOTHING, Child, Html, link, markup, tag
from .task_actions import SAID
from .timeline import DAY, Step, moments, strip
from .view import View

ENOUGH = 50
"""Schedules after which a page ends; one read brings up to 100."""

MOST_RUNS = 48
"""Runs of one schedule that are drawn."""

FIRST_RUNS = 10
"""Runs of all schedules that are told one by one."""


async def show(call: RequestContext, request: Request) -> View:
    """About 100 schedules, by name: first those of the code, then those made at run time."""
    given = request.query_params
    found, cursor = await _some(call, given.get("cursor") or None)
    now = call.now
    runs = {one.stored.spec.name: _runs(one, now) for one in found}
    said = SAID.get(given.get("said", ""))
    content = [
        notice(said) if said else NOTHING,
        section("Next runs", _first_runs(found, runs)),
        section("Schedules", _table(call, found, runs, now)),
        tag("p", link("More schedules", "schedules", cursor=cursor)) if cursor else NOTHING,
    ]
    return View("Schedules", "schedules", before=markup(content))


async def _some(call: RequestContext, cursor: str | None) -> tuple[list[ScheduleView], str | None]:
    """Schedules of both kinds, and where to go on."""
    found: list[ScheduleView] = []
    while True:
        page = await list_schedules(call.app, call.services, cursor=cursor)
        found += page.schedules
        cursor = page.cursor
        if cursor is None or len(found) >= ENOUGH:
            return found, cursor


def _runs(one: ScheduleView, now: float) -> list[float]:
    """When it fires in the next 24 hours, as far as that is drawn."""
    found: list[float] = []
    at = one.next_at
    while at is not None and at <= now + DAY and len(found) < MOST_RUNS:
        found.append(at)
        following = next_run(one.stored, at)
        at = None if following is None else following.timestamp()
    return found


def _first_runs(schedules: Sequence[ScheduleView], runs: dict[str, list[float]]) -> Html:
    every = heapq.merge(
        *([(at, one.stored.spec.name, one.task) for at in runs[one.stored.spec.name]] for one in schedules)
    )
    first = list(islice(every, FIRST_RUNS))
    if not first:
        return tag("p", "None in the next 24 hours.", class_="muted")
    return moments(
        [Step(at, tag("span", task or "?", " ", tag("small", name))) for at, name, task in first], "Next runs"
    )


def _table(call: RequestContext, schedules: Sequence[ScheduleView], runs: dict[str, list[float]], now: float) -> Html:
    admin = "admin" in call.principal.scopes
    header = ["Name", "Task", "When", "State", "Next run (UTC)", "Next 24 hours", "Last run (UTC)"]
    rows = [_row(one, runs[one.stored.spec.name], now, admin=admin) for one in schedules]
    return table("How they stand; changes take effect at once", [*header, "Change"] if admin else header, rows)


def _row(one: ScheduleView, runs: Sequence[float], now: float, *, admin: bool) -> list[Child]:
    spec = one.stored.spec
    kind = {"declared": "declared in code", "runtime": "made at run time"}.get(kind_of(spec.name) or "")
    last: Child = time(one.last_at)
    if one.last_id is not None and one.last is not None:
        last = markup([last, " ", link(markup([status(one.last.status)]), "task", id=one.last_id)])
    row: list[Child] = [
        tag("span", spec.name, tag("br"), tag("small", kind)),
        one.task or "-",
        tag("span", tag("code", spec.expression), tag("br"), tag("small", spec.timezone)),
        one.state,
        time(one.next_at),
        strip(runs, now),
        last,
    ]
    if admin:
        paused = not spec.enabled
        page, text = ("resume", "Resume") if paused else ("pause", "Pause")
        row.append(action(page, text, {"name": spec.name}, name=spec.name))
    return row
