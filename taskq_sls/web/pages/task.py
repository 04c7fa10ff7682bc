"""One task: what is known of it, and what can be done with it."""

from __future__ import annotations

import json
from collections.abc import Mapping

from starlette.requests import Request

from ...core.redaction import contains_mask
from ...core.states import State
from ...errors import PayloadMissing
from ...operations.dead_letter_view import DeadLetterView, Selection
from ...operations.dead_letters import list_dead_letters
from ...payloads.claim_check import fetch_result
from ...results.limits import MAX_CALL_BYTES
from ...results.records import TaskRecord
from ..limits import MAX_DEAD_LETTERS_READ
from ..models.tasks import Arguments, TaskDetail, detail
from ..problems import ProblemError
from ..request_context import RequestContext
from ..routes.tasks import NO_RECORD
from .components import (
    action,
    alert,
    area,
    definition_list,
    duration,
    field,
    json_block,
    labels,
    section,
    status,
    table,
    time,
)
from .html import NOTHING, Html, link, markup, tag
from .layout import View, breadcrumb
from .pagination import next_links
from .search import Search, SearchResult, search_names, search_tasks
from .task_actions import MESSAGES
from .timeline import attempt_history

UPDATE_SECONDS = 5
"""Seconds between two looks at a task that has not ended."""

REPEATS = "repeats"
"""Which children are looked for: those that were sent to repeat a task."""


async def show(context: RequestContext, request: Request) -> View:
    """A task. Its arguments and its children are looked for when somebody asks: both read more than one record."""
    given = request.query_params
    id = given.get("id", "").strip()
    record = await context.services.results.get(id, now=context.now) if id else None
    letter = await _dead_letter(context, id, record) if "arguments" in given and id else None
    if record is None and letter is None:
        raise ProblemError("no-record", NO_RECORD)
    said = MESSAGES.get(given.get("said", ""))
    before = [breadcrumb("Tasks", "tasks"), alert(said) if said else NOTHING]
    live: list[Html] = []
    after: list[Html] = []
    known: Arguments | None = None
    if record is not None:
        one = await _detail(context, record)
        known = None if record.status is State.FAILED else one.arguments
        live = [_facts(one), attempt_history(record), _outcome(one)]
        children = await _children(context, record, given) if "children" in given else None
        after += [_arguments(context, one, record, letter, given), _family(one, children, given)]
    elif letter is not None:
        after.append(_letter(context, letter))
    if "admin" in context.principal.scopes:
        after.append(_actions(id, record, letter, known))
    title = record.task if record is not None else letter.task if letter is not None else None
    running = record is not None and not record.status.terminal
    return View(
        title or id, "tasks", markup(before), markup(live), markup(after), every=UPDATE_SECONDS if running else 0
    )


async def _detail(context: RequestContext, record: TaskRecord) -> TaskDetail:
    if record.result_key is None:
        return detail(context.app, record)
    try:
        return detail(context.app, await fetch_result(context.services.payloads, record))
    except PayloadMissing:
        return detail(context.app, record, missing=True)


async def _dead_letter(context: RequestContext, id: str, record: TaskRecord | None) -> DeadLetterView | None:
    """The dead letter of a task, which has its arguments."""
    queue = record.queue if record is not None and record.queue in context.app.queues else None
    if queue is not None and not await context.services.broker.has_dead_letter_queue(queue):
        return None
    only = Selection(ids=frozenset({id}))
    found = await list_dead_letters(
        context.app, context.services, queue, only, limit=1, most_seen=MAX_DEAD_LETTERS_READ
    )
    return found.dead_letters[0] if found.dead_letters else None


async def _children(context: RequestContext, record: TaskRecord, given: Mapping[str, str]) -> SearchResult:
    """Tasks that name this one as their parent, as far as one look goes: no index leads to them.

    It enqueued them while it ran. What repeats it was sent later, by somebody, and has its name.
    """
    began = record.started_at if record.attempt == 1 and not record.run else None
    search = Search(parent=record.id, cursor=given.get("cursor") or None, after=given.get("after") or None)
    if given.get("children") == REPEATS:
        return await search_names(context, (record.task,), search._replace(since=record.finished_at))
    since = record.enqueued_at if began is None else began
    until = None if record.finished_at is None else record.finished_at + 1
    return await search_tasks(context, search._replace(since=since, until=until))


def _facts(detail: TaskDetail) -> Html:
    progress = detail.progress
    return definition_list(
        [
            ("Status", status(detail.status, stalled=detail.stalled)),
            ("Cancel", "requested" if detail.cancel_requested and detail.status is State.RUNNING else None),
            ("Id", tag("code", detail.id)),
            ("Queue", detail.queue),
            ("Attempt", f"{detail.attempt}, run {detail.run}" if detail.run else str(detail.attempt)),
            ("Progress", None if progress is None else _progress(progress.done, progress.total, progress.note)),
            ("Reason", detail.reason),
            ("Labels", labels(detail.labels) if detail.labels else None),
            ("Unique key", detail.unique_key),
            ("Record kept until (UTC)", time(detail.expires_at)),
        ]
    )


def _progress(done: float, total: float | None, note: str | None) -> Html:
    text = f"{done:g} of {total:g}" if total else f"{done:g}"
    meter = tag("progress", value=done, max=total, aria_label=f"progress: {text}") if total else None
    return tag("span", meter, f" {text} ", note)


def _outcome(detail: TaskDetail) -> Html:
    parts: list[Html] = []
    if detail.result_state == "present":
        parts.append(section("Result", json_block(detail.result, label="Result")))
    elif detail.result_state == "too_large":
        parts.append(section("Result", tag("p", "It is too large for a page; the app can read it.")))
    elif detail.result_state == "missing":
        parts.append(section("Result", tag("p", "It was in the bucket, and is gone from there.")))
    if detail.error is not None:
        error = detail.error
        said = tag("p", tag("strong", error.type), f": {error.message}", class_="error")
        trace = json_block(error.traceback, label="Traceback", id="traceback") if error.traceback else NOTHING
        parts.append(section("Error", said, trace))
    return markup(parts)


def _arguments(
    context: RequestContext,
    detail: TaskDetail,
    record: TaskRecord,
    letter: DeadLetterView | None,
    given: Mapping[str, str],
) -> Html:
    if letter is not None:
        return _letter(context, letter)
    if detail.arguments is not None:
        return section("Arguments", json_block(detail.arguments.model_dump(), label="Arguments"))
    text = f"They are not recorded: above {MAX_CALL_BYTES} bytes, or the task is declared without."
    if "arguments" in given:
        return section("Arguments", tag("p", text, " No dead letter of it could be found just now."))
    if record.status is not State.FAILED and not record.stalled(context.now):
        return section("Arguments", tag("p", text, class_="muted"))
    ask = link("Look for its dead letter, which holds them", "task", id=detail.id, arguments=1)
    return section("Arguments", tag("p", text, " ", ask))


def _letter(context: RequestContext, letter: DeadLetterView) -> Html:
    args, kwargs = context.app.redacted(letter.task, letter.args, letter.kwargs)
    where = link("its dead letter", "dead-letter", queue=letter.queue, message=letter.message_id)
    if letter.payload is not None:
        return section("Arguments", tag("p", "They are too large for a message, and in the bucket. See ", where, "."))
    return section(
        "Arguments",
        json_block({"args": args, "kwargs": kwargs}, label="Arguments"),
        tag("p", "From ", where, "."),
    )


def _family(detail: TaskDetail, found: SearchResult | None, given: Mapping[str, str]) -> Html:
    above = tag("p", "Enqueued by ", link(detail.parent, "task", id=detail.parent), ".") if detail.parent else None
    ways = [tag("p", link("Look for the tasks that it enqueued", "task", id=detail.id, children=1))]
    if detail.status.terminal:
        ways.append(tag("p", link("Look for those that repeat it", "task", id=detail.id, children=REPEATS)))
    if found is None:
        return section("Parent and children", above, ways)
    rows = [
        (link(child.id, "task", id=child.id), child.task, status(child.status), time(child.enqueued_at))
        for child in found.records
    ]
    caption = "Tasks that repeat it" if given.get("children") == REPEATS else "Tasks that it enqueued"
    empty = "None was found." if found.cursor is None and found.after is None else "None was found so far."
    shown = table(caption, ("Id", "Task", "Status", "Enqueued (UTC)"), rows, empty=empty)
    return section(
        "Parent and children",
        above,
        shown,
        next_links("task", {key: given.get(key) for key in ("id", "children", "after")}, found),
        tag("p", ways),
        id="family",
    )


def _actions(id: str, record: TaskRecord | None, letter: DeadLetterView | None, known: Arguments | None) -> Html:
    parts: list[Html] = []
    if record is not None and not record.status.terminal:
        parts.append(action("cancel", "Cancel", {"id": id}, style="danger"))
    if letter is not None or (record is not None and record.status.terminal):
        parts.append(_retry(id, record, letter, known))
    return section("Actions", *parts) if parts else NOTHING


def _retry(id: str, record: TaskRecord | None, letter: DeadLetterView | None, known: Arguments | None) -> Html:
    """The form that runs a task again.

    Args:
        known: arguments to begin with; not where a dead letter has them, and whole.
    """
    queue = record.queue if record is not None else letter.source or "" if letter is not None else ""
    explained = (
        "Where its dead letter is there, that is sent back: a new run of the same id, with its own arguments unless others "
        "are given. Otherwise a new task is sent, with the arguments given here ([] for none)."
    )
    args = "" if known is None else json.dumps(known.args, ensure_ascii=False)
    kwargs = "" if known is None else json.dumps(known.kwargs, ensure_ascii=False)
    hidden = known is not None and contains_mask([known.args, known.kwargs])
    hint = "Values that are hidden must be given anew." if hidden else None
    form = tag(
        "form",
        tag("p", explained),
        tag("input", type="hidden", name="id", value=id),
        area("Positional arguments (JSON list)", "args", args, rows=3, hint=hint),
        area("Keyword arguments (JSON object)", "kwargs", kwargs, rows=3),
        field("Message group", "group") if queue.endswith(".fifo") else None,
        tag("p", tag("button", "Run it again")),
        method="post",
        action="retry",
    )
    # The duration of the last run says whether a retry is cheap.
    took = None
    if record is not None and record.started_at is not None and record.finished_at is not None:
        took = tag("p", f"The last attempt took {duration(record.finished_at - record.started_at)}.", class_="muted")
    return tag("details", tag("summary", "Run it again"), took, form)
