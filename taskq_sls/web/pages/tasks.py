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
from .components import choice, duration, field, labels, section, status, table, time
from .html import NOTHING, Child, Html, address, link, markup, tag
from .layout import View
from .pagination import next_links, task_names
from .responses import redirect
from .search import ACTIVE_RECORDS, ACTIVE_STATES, ActiveTasks, Search, active_tasks, indexed_states, search_tasks

UPDATE_SECONDS = 5
"""Seconds between two looks at the first page."""

FILTER = ("q", "status", "from", "to", "after")
"""What a link to more of the same repeats, beside labels."""

ACTIVE = "open"
"""The choice of all states that no index holds."""


async def show(context: RequestContext, request: Request) -> View | Response:
    """Tasks that fit a filter, newest first. An id leads straight to its task."""
    given = request.query_params
    name = given.get("q", "").strip()
    if name and "cursor" not in given and name not in context.app.registry.names and ID_PATTERN.fullmatch(name):
        record = await context.services.results.get(name, now=context.now)
        if record is not None:
            return redirect(address("task", id=record.id))
    search = _search(context, request, name)
    first = search.cursor is None and search.after is None
    live: list[Html]
    if search == Search() and len(indexed_states(context.app, search)) > 1:
        found, now = await asyncio.gather(search_tasks(context, search), active_tasks(context))
        live = [
            section("Queued or running", _table(context, now.records, "Queued or running, newest first"), _looked(now)),
            section("Ended, or waiting for a retry", _table(context, found.records, "Tasks, newest first")),
        ]
    else:
        found = await search_tasks(context, search)
        live = [_table(context, found.records, "Tasks, newest first"), _left_out(context, search)]
    live += next_links("tasks", {**{key: given.get(key) for key in FILTER}, "label": _labels(request)}, found)
    return View(
        "Tasks", "tasks", before=_form(context, request, name), live=markup(live), every=UPDATE_SECONDS if first else 0
    )


def _looked(found: ActiveTasks) -> Html:
    """Where what has not ended was looked for."""
    if len(found.names) == found.total and not found.more:
        return NOTHING
    text = (
        f"Looked for among what workers have reported, and the newest {ACTIVE_RECORDS} tasks of {len(found.names)} of "
        f"{found.total} names, the busiest"
    )
    way = link("Look among all names", "tasks", status=ACTIVE)
    return markup([task_names(text, found.names), tag("p", way)])


def _left_out(context: RequestContext, search: Search) -> Html:
    """What a look by several states does not show."""
    if search.states or len(indexed_states(context.app, search)) < 2:
        return NOTHING
    text = "These have ended, or wait for a retry; queued and running ones are not among them. "
    wanted = [f"{name}={value}" for name, value in search.labels.items()]
    return tag("p", text, link("Look for those", "tasks", status=ACTIVE, label=wanted), class_="muted")


def _search(context: RequestContext, request: Request, name: str) -> Search:
    given = request.query_params
    state = given.get("status", "")
    if state and state != ACTIVE and state not in list(State):
        raise ProblemError("invalid", f"status {state!r:.40} is none of {', '.join(State)}, {ACTIVE}")
    return Search(
        ACTIVE_STATES if state == ACTIVE else frozenset({State(state)} if state else ()),
        name,
        _moment("from", given.get("from", "")),
        _moment("to", given.get("to", "")),
        read_labels(context.app, _labels(request)),
        cursor=given.get("cursor") or None,
        after=given.get("after") or None,
    )


def _labels(request: Request) -> list[str]:
    return [text for label in request.query_params.getlist("label") if (text := label.strip())]


def _moment(name: str, text: str) -> float | None:
    if not text:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise ProblemError("invalid", f"{name}={text!r:.40} is no time, such as 2027-01-15T08:00") from None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def _form(context: RequestContext, request: Request, name: str) -> Html:
    given = request.query_params
    states = [("", "any"), (ACTIVE, "queued or running"), *((state, state.lower()) for state in State)]
    wanted = _labels(request)
    known = tag("datalist", [tag("option", value=name) for name in context.app.registry.names[:500]], id="names")
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


def _table(context: RequestContext, records: Sequence[TaskRecord], caption: str) -> Html:
    rows = [_row(summary(context.app, record)) for record in records]
    header = ("Id", "Task", "Status", "Attempt", "Enqueued (UTC)", "Duration", "What it says", "Labels")
    return table(caption, header, rows, empty="No task fits.")


def _row(task: TaskSummary) -> tuple[Child, ...]:
    return (
        link(task.id, "task", id=task.id),
        task.task,
        status(task.status, stalled=task.stalled),
        str(task.attempt),
        time(task.enqueued_at),
        # That of a running task changes with every look, and would be news each time.
        "-" if task.status is State.RUNNING else duration(task.duration),
        _says(task),
        labels(task.labels),
    )


def _says(task: TaskSummary) -> Child:
    if task.error is not None:
        return clipped(f"{task.error.type}: {task.error.message}", 200)
    if task.progress is not None:
        share = (
            f"{task.progress.done:g} of {task.progress.total:g}" if task.progress.total else f"{task.progress.done:g}"
        )
        return clipped(f"{share} {task.progress.note or ''}", 200)
    return clipped(task.reason or "", 200)
