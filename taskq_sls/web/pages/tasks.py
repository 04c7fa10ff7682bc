"""The tasks: search, filter, and watch them come and end."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

from starlette.requests import Request
from starlette.responses import Response

from ...core.message import ID_PATTERN
from ...core.states import State
from ...results.records import TaskRecord
from ..limits import clipped
from ..models.tasks import TaskSummary, summary
from ..problems import ProblemError
from ..request_context import RequestContext
from ..routes.filters import read_labels
from .active_tasks import NEWEST, Unended, unended
from .components import choice, duration, field, labels, section, status, table, time
from .html import NOTHING, Child, Html, address, link, markup, tag
from .pagination import further, names_of
from .responses import redirect
from .search import OPEN, Search, by_state, find
from .view import View

EVERY = 5
"""Seconds between two looks at the first page."""

FILTER = ("q", "status", "from", "to", "after")
"""What a link to more of the same repeats, beside labels."""

OPEN_STATES = "open"
"""The choice of all states that no index holds."""


async def show(call: RequestContext, request: Request) -> View | Response:
    """Tasks that fit a filter, newest first. An id leads straight to its task."""
    given = request.query_params
    name = given.get("q", "").strip()
    if name and "cursor" not in given and name not in call.app.registry.names and ID_PATTERN.fullmatch(name):
        record = await call.services.results.get(name, now=call.now)
        if record is not None:
            return redirect(address("task", id=record.id))
    search = _search(call, request, name)
    first = search.cursor is None and search.after is None
    live: list[Html]
    if search == Search() and len(by_state(call.app, search)) > 1:
        found, now = await asyncio.gather(find(call, search), unended(call))
        live = [
            section("Queued or running", _table(call, now.records, "Queued or running, newest first"), _looked(now)),
            section("Ended, or waiting for a retry", _table(call, found.records, "Tasks, newest first")),
        ]
    else:
        found = await find(call, search)
        live = [_table(call, found.records, "Tasks, newest first"), _left_out(call, search)]
    live += further("tasks", {**{key: given.get(key) for key in FILTER}, "label": _labels(request)}, found)
    return View("Tasks", "tasks", before=_form(call, request, name), live=markup(live), every=EVERY if first else 0)


def _looked(found: Unended) -> Html:
    """Where what has not ended was looked for."""
    if len(found.names) == found.total and not found.more:
        return NOTHING
    text = (
        f"Looked for among what workers have reported, and the newest {NEWEST} tasks of {len(found.names)} of "
        f"{found.total} names, the busiest"
    )
    way = link("Look among all names", "tasks", status=OPEN_STATES)
    return markup([names_of(text, found.names), tag("p", way)])


def _left_out(call: RequestContext, search: Search) -> Html:
    """What a look by several states does not show."""
    if search.states or len(by_state(call.app, search)) < 2:
        return NOTHING
    text = "These have ended, or wait for a retry; queued and running ones are not among them. "
    wanted = [f"{name}={value}" for name, value in search.labels.items()]
    return tag("p", text, link("Look for those", "tasks", status=OPEN_STATES, label=wanted), class_="muted")


def _search(call: RequestContext, request: Request, name: str) -> Search:
    given = request.query_params
    state = given.get("status", "")
    if state and state != OPEN_STATES and state not in list(State):
        raise ProblemError("invalid", f"status {state!r:.40} is none of {', '.join(State)}, {OPEN_STATES}")
    return Search(
        OPEN if state == OPEN_STATES else frozenset({State(state)} if state else ()),
        name,
        _moment("from", given.get("from", "")),
        _moment("to", given.get("to", "")),
        read_labels(call.app, _labels(request)),
        cursor=given.get("cursor") or None,
        after=given.get("after") or None,
    )


def _labels(request: Request) -> list[str]:
    return [text for one in request.query_params.getlist("label") if (text := one.strip())]


def _moment(name: str, text: str) -> float | None:
    if not text:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise ProblemError("invalid", f"{name}={text!r:.40} is no time, such as 2027-01-15T08:00") from None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def _form(call: RequestContext, request: Request, name: str) -> Html:
    given = request.query_params
    states = [("", "any"), (OPEN_STATES, "queued or running"), *((state, state.lower()) for state in State)]
    wanted = _labels(request)
    known = tag("datalist", [tag("option", value=one) for one in call.app.registry.names[:500]], id="names")
    return tag(
        "form",
        field("Task or id", "q", name, hint="Part of a task's name, or a whole id.", type="search", list="names"),
        known,
        choice("Status", "status", states, given.get("status", "")),
        field("From (UTC)", "from", given.get("from", ""), type="datetime-local"),
        field("To (UTC)", "to", given.get("to", ""), type="datetime-local"),
        [
            field("Label" if number == 1 else "And label", "label", text, number=number, placeholder="name=value")
            for number, text in enumerate([*wanted, ""], 1)
        ],
        tag("p", tag("button", "Search"), " ", link("Clear", "tasks"), class_="field"),
        method="get",
        action="tasks",
        role="search",
        class_="filter",
    )


def _table(call: RequestContext, records: Sequence[TaskRecord], caption: str) -> Html:
    rows = [_row(summary(call.app, one)) for one in records]
    header = ("Id", "Task", "Status", "Attempt", "Enqueued (UTC)", "Duration", "What it says", "Labels")
    return table(caption, header, rows, empty="No task fits.")


def _row(one: TaskSummary) -> tuple[Child, ...]:
    return (
        link(one.id, "task", id=one.id),
        one.task,
        status(one.status, stalled=one.stalled),
        str(one.attempt),
        time(one.enqueued_at),
        # That of a running task changes with every look, and would be news each time.
        "-" if one.status is State.RUNNING else duration(one.duration),
        _says(one),
        labels(one.labels),
    )


def _says(one: TaskSummary) -> Child:
    if one.error is not None:
        return clipped(f"{one.error.type}: {one.error.message}", 200)
    if one.progress is not None:
        share = f"{one.progress.done:g} of {one.progress.total:g}" if one.progress.total else f"{one.progress.done:g}"
        return clipped(f"{share} {one.progress.note or ''}", 200)
    return clipped(one.reason or "", 200)
