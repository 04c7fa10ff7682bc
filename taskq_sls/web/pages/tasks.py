"""The tasks: search, filter, and watch them come and end."""

from __future__ import annotations

from datetime import UTC, datetime

from starlette.requests import Request
from starlette.responses import Response

from ...message import ID_PATTERN
from ...results.records import State
from ..calls import Call
from ..limits import clipped
from ..models.tasks import TaskSummary, summary
from ..problems import ProblemError
from ..routes.filters import read_labels
from .answers import redirect
from .finding import Found, Search, find
from .html import NOTHING, Child, Html, address, link, markup, tag
from .parts import choice, duration, field, labels, status, table, time
from .view import View

EVERY = 5
"""Seconds between two looks at the first page."""


async def show(call: Call, request: Request) -> View | Response:
    """Tasks that fit a filter, newest first. An id leads straight to its task."""
    given = request.query_params
    name = given.get("q", "").strip()
    if name and "cursor" not in given and name not in call.app.registry.names and ID_PATTERN.fullmatch(name):
        record = await call.services.results.get(name, now=call.now)
        if record is not None:
            return redirect(address("task", id=record.id))
    found = await find(call, _search(request, name))
    live = markup([_table(call, found), _more(request, found)])
    first = "cursor" not in given
    return View("Tasks", "tasks", before=_form(call, request, name), live=live, every=EVERY if first else 0)


def _search(request: Request, name: str) -> Search:
    given = request.query_params
    state = given.get("status", "")
    if state and state not in list(State):
        raise ProblemError("invalid", f"status {state!r:.40} is none of {', '.join(State)}")
    return Search(
        State(state) if state else None,
        name,
        _moment("from", given.get("from", "")),
        _moment("to", given.get("to", "")),
        read_labels([text] if (text := given.get("label", "").strip()) else []),
        given.get("cursor") or None,
    )


def _moment(name: str, text: str) -> float | None:
    if not text:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise ProblemError("invalid", f"{name}={text!r:.40} is no time, such as 2027-01-15T08:00") from None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def _form(call: Call, request: Request, name: str) -> Html:
    given = request.query_params
    states = [("", "any"), *((state, state.lower()) for state in State)]
    known = tag("datalist", [tag("option", value=one) for one in call.app.registry.names[:500]], id="names")
    return tag(
        "form",
        field("Task or id", "q", name, hint="Part of a task's name, or a whole id.", type="search", list="names"),
        known,
        choice("Status", "status", states, given.get("status", "")),
        field("From (UTC)", "from", given.get("from", ""), type="datetime-local"),
        field("To (UTC)", "to", given.get("to", ""), type="datetime-local"),
        field("Label", "label", given.get("label", ""), placeholder="name=value"),
        tag("p", tag("button", "Search"), " ", link("Clear", "tasks"), class_="field"),
        method="get",
        action="tasks",
        role="search",
        class_="filter",
    )


def _table(call: Call, found: Found) -> Html:
    rows = [_row(summary(call.app, one)) for one in found.records]
    header = ("Id", "Task", "Status", "Attempt", "Enqueued (UTC)", "Duration", "What it says", "Labels")
    return table("Tasks, newest first", header, rows, empty="No task fits.")


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


def _more(request: Request, found: Found) -> Html:
    parts: list[Html] = []
    if found.hint:
        parts.append(tag("p", found.hint, class_="muted"))
    if found.cursor is not None:
        query = {name: value for name, value in request.query_params.items() if name != "cursor"}
        parts.append(tag("p", link("Older tasks", "tasks", **query, cursor=found.cursor)))
    return markup(parts) if parts else NOTHING
