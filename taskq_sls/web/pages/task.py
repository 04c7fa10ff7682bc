"""The page of one task: its record, attempts, arguments and related tasks, and the actions on it."""

from __future__ import annotations

import json
from collections.abc import Mapping

from starlette.requests import Request

from ...core.redaction import contains_mask
from ...core.states import State
from ...operations.dead_letter_view import DeadLetterView, Selection
from ...operations.dead_letters import list_dead_letters
from ...results.layout import MAX_CALL_BYTES
from ...results.records import TaskRecord
from ..limits import MAX_DEAD_LETTERS_READ
from ..models.tasks import Arguments, TaskDetail
from ..problems import ProblemError
from ..request_context import RequestContext
from ..routes.tasks import NO_RECORD, read_detail
from .components import (
    action,
    alert,
    area,
    definition_list,
    duration,
    error_block,
    field,
    hidden_input,
    json_block,
    labels,
    next_links,
    section,
    status,
    table,
    time,
)
from .forms import MESSAGES
from .html import NOTHING, Html, link, markup, tag
from .layout import View, breadcrumb
from .search import Search, SearchResult, search_names, search_tasks
from .timeline import attempt_history

UPDATE_SECONDS = 5
"""Time between two updates of a task that has not ended."""

REPEATS = "repeats"
"""Value of the parameter `children` for tasks that repeat the task."""


async def show(context: RequestContext, request: Request) -> View:
    """Return the page. Dead letter and children are read only on request, as each takes more than one read."""
    given = request.query_params
    id = given.get("id", "").strip()
    record = await context.services.results.get(id, now=context.now) if id else None
    letter = await _dead_letter(context, id, record) if "arguments" in given and id else None
    message = MESSAGES.get(given.get("outcome", ""))
    before = markup([breadcrumb("Tasks", "tasks"), alert(message) if message else NOTHING])
    if record is not None:
        return await _task_view(context, record, letter, before, given)
    if letter is not None:
        after = [_letter_arguments(context, letter), _actions(context, id, None, letter, None)]
        return View(letter.task or id, "tasks", before=before, after=markup(after))
    raise ProblemError("no-record", NO_RECORD)


async def _task_view(
    context: RequestContext,
    record: TaskRecord,
    letter: DeadLetterView | None,
    before: Html,
    given: Mapping[str, str],
) -> View:
    task = await read_detail(context, record)
    children = await _children(context, record, given) if "children" in given else None
    live = [_definitions(task), attempt_history(record), _outcome(task)]
    # The dead letter of a failed task has its full arguments, so the form does not begin with those of the record.
    known = None if record.status is State.FAILED else task.arguments
    after = [
        _arguments(context, task, record, letter, asked="arguments" in given),
        _family(task, children, given),
        _actions(context, record.id, record, letter, known),
    ]
    return View(
        title=record.task,
        page="tasks",
        before=before,
        live=markup(live),
        after=markup(after),
        every=0 if record.status.terminal else UPDATE_SECONDS,
    )


async def _dead_letter(context: RequestContext, id: str, record: TaskRecord | None) -> DeadLetterView | None:
    queue = record.queue if record is not None and record.queue in context.app.queues else None
    if queue is not None and not await context.services.broker.has_dead_letter_queue(queue):
        return None
    only = Selection(ids=frozenset({id}))
    found = await list_dead_letters(
        context.app, context.services, queue, only, limit=1, most_seen=MAX_DEAD_LETTERS_READ
    )
    return found.dead_letters[0] if found.dead_letters else None


async def _children(context: RequestContext, record: TaskRecord, given: Mapping[str, str]) -> SearchResult:
    """Search for tasks with this task as parent, which no index has.

    It enqueued them while it ran; tasks that repeat it were sent after its end, and have its name.
    """
    search = Search(parent=record.id, cursor=given.get("cursor") or None, after=given.get("after") or None)
    if given.get("children") == REPEATS:
        return await search_names(context, (record.task,), search._replace(since=record.finished_at))
    first_start = record.started_at if record.attempt == 1 and not record.run else None
    since = record.enqueued_at if first_start is None else first_start
    until = None if record.finished_at is None else record.finished_at + 1
    return await search_tasks(context, search._replace(since=since, until=until))


def _definitions(task: TaskDetail) -> Html:
    progress = task.progress
    return definition_list(
        [
            ("Status", status(task.status, stalled=task.stalled)),
            ("Cancel", "requested" if task.cancel_requested and task.status is State.RUNNING else None),
            ("Id", tag("code", task.id)),
            ("Queue", task.queue),
            ("Attempt", f"{task.attempt}, run {task.run}" if task.run else str(task.attempt)),
            ("Progress", None if progress is None else _progress(progress.done, progress.total, progress.note)),
            ("Reason", task.reason),
            ("Labels", labels(task.labels) if task.labels else None),
            ("Unique key", task.unique_key),
            ("Record kept until (UTC)", time(task.expires_at)),
        ]
    )


def _progress(done: float, total: float | None, note: str | None) -> Html:
    text = f"{done:g} of {total:g}" if total else f"{done:g}"
    meter = tag("progress", value=done, max=total, aria_label=f"progress: {text}") if total else None
    return tag("span", meter, f" {text} ", note)


def _outcome(task: TaskDetail) -> Html:
    parts: list[Html] = []
    if task.result_state == "present":
        parts.append(section("Result", json_block(task.result, label="Result")))
    elif task.result_state == "too_large":
        parts.append(section("Result", tag("p", "The result is too large for a page. The app can read it.")))
    elif task.result_state == "missing":
        parts.append(section("Result", tag("p", "The result is no longer in the bucket.")))
    if task.error is not None:
        parts.append(error_block(task.error.type, task.error.message, task.error.traceback))
    return markup(parts)


def _arguments(
    context: RequestContext, task: TaskDetail, record: TaskRecord, letter: DeadLetterView | None, *, asked: bool
) -> Html:
    if letter is not None:
        return _letter_arguments(context, letter)
    if task.arguments is not None:
        return section("Arguments", json_block(task.arguments.model_dump(), label="Arguments"))
    text = f"Not recorded: above {MAX_CALL_BYTES} bytes, or turned off for the task."
    if asked:
        return section("Arguments", tag("p", text, " Its dead letter was not found."))
    if record.status is not State.FAILED and not record.stalled(context.now):
        return section("Arguments", tag("p", text, class_="muted"))
    find = link("Find the dead letter, which has them", "task", id=task.id, arguments=1)
    return section("Arguments", tag("p", text, " ", find))


def _letter_arguments(context: RequestContext, letter: DeadLetterView) -> Html:
    args, kwargs = context.app.redacted(letter.task, letter.args, letter.kwargs)
    source = link("the dead letter", "dead-letter", queue=letter.queue, message=letter.message_id)
    if letter.payload is not None:
        return section("Arguments", tag("p", "Too large for a message; stored in the bucket. See ", source, "."))
    shown = json_block({"args": args, "kwargs": kwargs}, label="Arguments")
    return section("Arguments", shown, tag("p", "From ", source, "."))


def _family(task: TaskDetail, found: SearchResult | None, given: Mapping[str, str]) -> Html:
    parent = tag("p", "Enqueued by ", link(task.parent, "task", id=task.parent), ".") if task.parent else None
    searches = [tag("p", link("Find tasks that it enqueued", "task", id=task.id, children=1))]
    if task.status.terminal:
        searches.append(tag("p", link("Find tasks that repeat it", "task", id=task.id, children=REPEATS)))
    if found is None:
        return section("Parent and children", parent, searches)
    rows = [
        (link(child.id, "task", id=child.id), child.task, status(child.status), time(child.enqueued_at))
        for child in found.records
    ]
    caption = "Tasks that repeat it" if given.get("children") == REPEATS else "Tasks that it enqueued"
    empty = "None found." if found.cursor is None and found.after is None else "None found so far."
    shown = table(caption, ("Id", "Task", "Status", "Enqueued (UTC)"), rows, empty=empty)
    more = next_links("task", {key: given.get(key) for key in ("id", "children", "after")}, found)
    return section("Parent and children", parent, shown, more, tag("p", searches), id="family")


def _actions(
    context: RequestContext,
    id: str,
    record: TaskRecord | None,
    letter: DeadLetterView | None,
    known: Arguments | None,
) -> Html:
    if "admin" not in context.principal.scopes:
        return NOTHING
    if record is not None and not record.status.terminal:
        cancel = action("cancel", "Cancel", {"id": id}, style="danger")
        return section("Actions", cancel, _retry(id, record, letter, known) if letter is not None else None)
    return section("Actions", _retry(id, record, letter, known))


def _retry(id: str, record: TaskRecord | None, letter: DeadLetterView | None, known: Arguments | None) -> Html:
    """Return the form that runs a task again. It begins with the arguments of `known`."""
    queue = record.queue if record is not None else (letter.source or "" if letter is not None else "")
    hint = None
    if known is not None and contains_mask([known.args, known.kwargs]):
        hint = "Enter redacted values again."
    form = tag(
        "form",
        tag(
            "p",
            "If the task is in the dead-letter queue, it is redriven under the same id. Otherwise a new task is sent. Leave "
            "empty to reuse the arguments; [] means none.",
        ),
        hidden_input("id", id),
        area("Positional arguments (JSON list)", "args", _json(known and known.args), rows=3, hint=hint),
        area("Keyword arguments (JSON object)", "kwargs", _json(known and known.kwargs), rows=3),
        field("Message group", "group") if queue.endswith(".fifo") else None,
        tag("p", tag("button", "Run it again")),
        method="post",
        action="retry",
    )
    return tag("details", tag("summary", "Run it again"), _last_duration(record), form)


def _json(value: object) -> str:
    return "" if value is None else json.dumps(value, ensure_ascii=False)


def _last_duration(record: TaskRecord | None) -> Html:
    """Return the duration of the last attempt, which shows if a retry is cheap."""
    if record is None or record.started_at is None or record.finished_at is None:
        return NOTHING
    return tag("p", f"The last attempt took {duration(record.finished_at - record.started_at)}.", class_="muted")
