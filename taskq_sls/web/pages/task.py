"""One task: what is known of it, and what can be done with it."""

from __future__ import annotations

import json
from collections.abc import Mapping

from starlette.requests import Request

from ...core.redaction import contains_mask
from ...core.states import State
from ...errors import PayloadMissing
from ...operations.dead_letter_view import DeadLetterView
from ...operations.dead_letters import list_dead_letters
from ...operations.selection import Selection
from ...payloads.claim_check import fetch_result
from ...results.limits import MAX_CALL_BYTES
from ...results.records import TaskRecord
from ..limits import MOST_SEEN
from ..models.tasks import Arguments, TaskDetail, detail
from ..problems import ProblemError
from ..request_context import RequestContext
from ..routes.tasks import NO_RECORD
from .attempts_timeline import life
from .components import action, area, as_json, duration, facts, field, labels, notice, section, status, table, time
from .html import NOTHING, Html, link, markup, tag
from .layout import crumb
from .pagination import further
from .search import Found, Search, find, find_among
from .task_actions import SAID
from .view import View

EVERY = 5
"""Seconds between two looks at a task that has not ended."""

REPEATS = "repeats"
"""Which children are looked for: those that were sent to repeat a task."""


async def show(call: RequestContext, request: Request) -> View:
    """A task. Its arguments and its children are looked for when somebody asks: both read more than one record."""
    given = request.query_params
    id = given.get("id", "").strip()
    record = await call.services.results.get(id, now=call.now) if id else None
    letter = await _dead_letter(call, id, record) if "arguments" in given and id else None
    if record is None and letter is None:
        raise ProblemError("no-record", NO_RECORD)
    said = SAID.get(given.get("said", ""))
    before = [crumb("Tasks", "tasks"), notice(said) if said else NOTHING]
    live: list[Html] = []
    after: list[Html] = []
    known: Arguments | None = None
    if record is not None:
        one = await _detail(call, record)
        known = None if record.status is State.FAILED else one.arguments
        live = [_facts(one), life(record), _outcome(one)]
        children = await _children(call, record, given) if "children" in given else None
        after += [_arguments(call, one, record, letter, given), _family(one, children, given)]
    elif letter is not None:
        after.append(_letter(call, letter))
    if "admin" in call.principal.scopes:
        after.append(_actions(id, record, letter, known))
    title = record.task if record is not None else letter.task if letter is not None else None
    running = record is not None and not record.status.terminal
    return View(title or id, "tasks", markup(before), markup(live), markup(after), every=EVERY if running else 0)


async def _detail(call: RequestContext, record: TaskRecord) -> TaskDetail:
    if record.result_key is None:
        return detail(call.app, record)
    try:
        return detail(call.app, await fetch_result(call.services.payloads, record))
    except PayloadMissing:
        return detail(call.app, record, missing=True)


async def _dead_letter(call: RequestContext, id: str, record: TaskRecord | None) -> DeadLetterView | None:
    """The dead letter of a task, which has its arguments."""
    queue = record.queue if record is not None and record.queue in call.app.queues else None
    if queue is not None and not await call.services.broker.has_dead_letter_queue(queue):
        return None
    only = Selection(ids=frozenset({id}))
    found = await list_dead_letters(call.app, call.services, queue, only, limit=1, most_seen=MOST_SEEN)
    return found.dead_letters[0] if found.dead_letters else None


async def _children(call: RequestContext, record: TaskRecord, given: Mapping[str, str]) -> Found:
    """Tasks that name this one as their parent, as far as one look goes: no index leads to them.

    It enqueued them while it ran. What repeats it was sent later, by somebody, and has its name.
    """
    began = record.started_at if record.attempt == 1 and not record.run else None
    search = Search(parent=record.id, cursor=given.get("cursor") or None, after=given.get("after") or None)
    if given.get("children") == REPEATS:
        return await find_among(call, (record.task,), search._replace(since=record.finished_at))
    since = record.enqueued_at if began is None else began
    until = None if record.finished_at is None else record.finished_at + 1
    return await find(call, search._replace(since=since, until=until))


def _facts(one: TaskDetail) -> Html:
    progress = one.progress
    return facts(
        [
            ("Status", status(one.status, stalled=one.stalled)),
            ("Cancel", "requested" if one.cancel_requested and one.status is State.RUNNING else None),
            ("Id", tag("code", one.id)),
            ("Queue", one.queue),
            ("Attempt", f"{one.attempt}, run {one.run}" if one.run else str(one.attempt)),
            ("Progress", None if progress is None else _progress(progress.done, progress.total, progress.note)),
            ("Reason", one.reason),
            ("Labels", labels(one.labels) if one.labels else None),
            ("Unique key", one.unique_key),
            ("Record kept until (UTC)", time(one.expires_at)),
        ]
    )


def _progress(done: float, total: float | None, note: str | None) -> Html:
    text = f"{done:g} of {total:g}" if total else f"{done:g}"
    meter = tag("progress", value=done, max=total, aria_label=f"progress: {text}") if total else None
    return tag("span", meter, f" {text} ", note)


def _outcome(one: TaskDetail) -> Html:
    parts: list[Html] = []
    if one.result_state == "present":
        parts.append(section("Result", as_json(one.result, label="Result")))
    elif one.result_state == "too_large":
        parts.append(section("Result", tag("p", "It is too large for a page; the app can read it.")))
    elif one.result_state == "missing":
        parts.append(section("Result", tag("p", "It was in the bucket, and is gone from there.")))
    if one.error is not None:
        error = one.error
        said = tag("p", tag("strong", error.type), f": {error.message}", class_="error")
        trace = as_json(error.traceback, label="Traceback", id="traceback") if error.traceback else NOTHING
        parts.append(section("Error", said, trace))
    return markup(parts)


def _arguments(
    call: RequestContext, one: TaskDetail, record: TaskRecord, letter: DeadLetterView | None, given: Mapping[str, str]
) -> Html:
    if letter is not None:
        return _letter(call, letter)
    if one.arguments is not None:
        return section("Arguments", as_json(one.arguments.model_dump(), label="Arguments"))
    text = f"They are not recorded: above {MAX_CALL_BYTES} bytes, or the task is declared without."
    if "arguments" in given:
        return section("Arguments", tag("p", text, " No dead letter of it could be found just now."))
    if record.status is not State.FAILED and not record.stalled(call.now):
        return section("Arguments", tag("p", text, class_="muted"))
    ask = link("Look for its dead letter, which holds them", "task", id=one.id, arguments=1)
    return section("Arguments", tag("p", text, " ", ask))


def _letter(call: RequestContext, letter: DeadLetterView) -> Html:
    args, kwargs = call.app.redacted(letter.task, letter.args, letter.kwargs)
    where = link("its dead letter", "dead-letter", queue=letter.queue, message=letter.message_id)
    if letter.payload is not None:
        return section("Arguments", tag("p", "They are too large for a message, and in the bucket. See ", where, "."))
    return section(
        "Arguments",
        as_json({"args": args, "kwargs": kwargs}, label="Arguments"),
        tag("p", "From ", where, "."),
    )


def _family(one: TaskDetail, found: Found | None, given: Mapping[str, str]) -> Html:
    above = tag("p", "Enqueued by ", link(one.parent, "task", id=one.parent), ".") if one.parent else None
    ways = [tag("p", link("Look for the tasks that it enqueued", "task", id=one.id, children=1))]
    if one.status.terminal:
        ways.append(tag("p", link("Look for those that repeat it", "task", id=one.id, children=REPEATS)))
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
        further("task", {key: given.get(key) for key in ("id", "children", "after")}, found),
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
