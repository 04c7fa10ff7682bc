"""The page of tasks: search and filter, with live updates."""

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
from ..request_context import RequestContext, read_labels
from .components import choice, duration, field, labels, next_links, section, status, table, task_names, time
from .html import NOTHING, Child, Html, address, link, markup, tag
from .layout import View, redirect
from .search import (
    ACTIVE_RECORDS,
    ACTIVE_STATES,
    ActiveTasks,
    Search,
    SearchResult,
    active_tasks,
    indexed_states,
    search_tasks,
)

UPDATE_SECONDS = 5
"""Time between two updates of the first page."""

FILTER = ("q", "status", "from", "to", "after")
"""Parameters that the links to more tasks repeat, beside the labels."""

ACTIVE = "open"
"""Value of the status filter for QUEUED or RUNNING."""


async def show(context: RequestContext, request: Request) -> View | Response:
    """Return the tasks that match the filter, newest first. A whole id redirects to its task."""
    given = request.query_params
    name = given.get("q", "").strip()
    if name and "cursor" not in given and await _is_id(context, name):
        return redirect(address("task", id=name))
    search = _search(context, request, name)
    live, found = await _results(context, search)
    live += next_links("tasks", {**{key: given.get(key) for key in FILTER}, "label": _labels(request)}, found)
    return View(
        title="Tasks",
        page="tasks",
        before=_form(context, request, name),
        live=markup(live),
        every=UPDATE_SECONDS if search.cursor is None and search.after is None else 0,
    )


async def _is_id(context: RequestContext, text: str) -> bool:
    if text in context.app.registry.names or not ID_PATTERN.fullmatch(text):
        return False
    return await context.services.results.get(text, now=context.now) is not None


async def _results(context: RequestContext, search: Search) -> tuple[list[Html], SearchResult]:
    by_states = len(indexed_states(context.app, search)) > 1
    if search == Search() and by_states:
        found, active = await asyncio.gather(search_tasks(context, search), active_tasks(context))
        shown = _table(context, active.records, "Queued or running, newest first")
        return [
            section("Queued or running", shown, _searched(active)),
            section("Ended, or waiting for a retry", _table(context, found.records, "Tasks, newest first")),
        ], found
    found = await search_tasks(context, search)
    note = _active_link(search) if by_states and not search.states else NOTHING
    return [_table(context, found.records, "Tasks, newest first"), note], found


def _searched(active: ActiveTasks) -> Html:
    """Return a note on the names that were searched, if not all were."""
    if len(active.names) == active.total and not active.more:
        return NOTHING
    text = (
        f"Searched the tasks that workers reported, and the newest {ACTIVE_RECORDS} tasks of {len(active.names)} of "
        f"{active.total} task names, busiest first"
    )
    everything = link("Search all names", "tasks", status=ACTIVE)
    return markup([task_names(text, active.names), tag("p", everything)])


def _active_link(search: Search) -> Html:
    """Return a link to the active tasks, which a search by several states does not find."""
    wanted = [f"{name}={value}" for name, value in search.labels.items()]
    find = link("Find queued and running tasks", "tasks", status=ACTIVE, label=wanted)
    return tag("p", "Only tasks that have ended or wait for a retry are shown. ", find, class_="muted")


def _search(context: RequestContext, request: Request, name: str) -> Search:
    given = request.query_params
    state = given.get("status", "")
    if state and state != ACTIVE and state not in list(State):
        raise ProblemError("invalid", f"status={state!r:.40} must be one of {', '.join(State)}, {ACTIVE}")
    return Search(
        states=ACTIVE_STATES if state == ACTIVE else frozenset({State(state)} if state else ()),
        name=name,
        since=_time("from", given.get("from", "")),
        until=_time("to", given.get("to", "")),
        labels=read_labels(context.app, _labels(request)),
        cursor=given.get("cursor") or None,
        after=given.get("after") or None,
    )


def _labels(request: Request) -> list[str]:
    return [text for label in request.query_params.getlist("label") if (text := label.strip())]


def _time(name: str, text: str) -> float | None:
    if not text:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise ProblemError("invalid", f"{name}={text!r:.40} must be a time, such as 2027-01-15T08:00") from None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def _form(context: RequestContext, request: Request, name: str) -> Html:
    given = request.query_params
    states = [("", "any"), (ACTIVE, "queued or running"), *((state, state.lower()) for state in State)]
    names = tag("datalist", [tag("option", value=known) for known in context.app.registry.names[:500]], id="names")
    return tag(
        "form",
        field("Task or id", "q", name, hint="Part of a task name, or a whole id.", type="search", list="names"),
        names,
        choice("Status", "status", states, given.get("status", "")),
        field("From (UTC)", "from", given.get("from", ""), type="datetime-local"),
        field("To (UTC)", "to", given.get("to", ""), type="datetime-local"),
        [
            field("Label" if number == 1 else "And label", "label", text, number=number, placeholder="name=value")
            for number, text in enumerate([*_labels(request), ""], 1)
        ],
        tag("p", tag("button", "Search"), " ", link("Clear", "tasks"), class_="field"),
        method="get",
        action="tasks",
        role="search",
        class_="filter",
    )


def _table(context: RequestContext, records: Sequence[TaskRecord], caption: str) -> Html:
    rows = [_row(summary(context.app, record)) for record in records]
    header = ("Id", "Task", "Status", "Attempt", "Enqueued (UTC)", "Duration", "Message", "Labels")
    return table(caption, header, rows, empty="No matching tasks.")


def _row(task: TaskSummary) -> tuple[Child, ...]:
    return (
        link(task.id, "task", id=task.id),
        task.task,
        status(task.status, stalled=task.stalled),
        str(task.attempt),
        time(task.enqueued_at),
        # Not while it runs: the duration would change with every update.
        "-" if task.status is State.RUNNING else duration(task.duration),
        _message(task),
        labels(task.labels),
    )


def _message(task: TaskSummary) -> Child:
    if task.error is not None:
        return clipped(f"{task.error.type}: {task.error.message}", 200)
    if task.progress is not None:
        done, total, note = task.progress.done, task.progress.total, task.progress.note or ""
        return clipped(f"{done:g} of {total:g} {note}" if total else f"{done:g} {note}", 200)
    return clipped(task.reason or "", 200)
