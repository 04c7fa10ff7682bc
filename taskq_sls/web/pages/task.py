"""One task: what is known of it, and what can be done with it."""

from __future__ import annotations

from starlette.requests import Request

from ...claim_check import redeem_result
from ...errors import PayloadMissing
from ...operations.dead_letter import DeadLetterView
from ...operations.dead_letters import list_dead_letters
from ...operations.selection import Selection
from ...results.base import Query
from ...results.records import State, TaskRecord
from ..calls import Call
from ..limits import MOST_SEEN
from ..models.tasks import TaskDetail, detail
from ..problems import ProblemError
from ..routes.tasks import NO_RECORD
from .actions import SAID
from .finding import MOST_NAMES
from .html import NOTHING, Html, link, markup, tag
from .layout import crumb
from .parts import action, area, as_json, duration, facts, field, labels, notice, section, status, table, time
from .timeline import moments, spans
from .view import View

EVERY = 5
"""Seconds between two looks at a task that has not ended."""

MOST_SIBLINGS = 200
"""Tasks of a task's time that are looked at for its children."""


async def show(call: Call, request: Request) -> View:
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
    if record is not None:
        one = await _detail(call, record)
        live = [_facts(one), _life(record, call.now), _outcome(one)]
        children = await _children(call, record) if "children" in given else None
        after += [_arguments(call, id, record, letter, "arguments" in given), _family(one, children)]
    elif letter is not None:
        after.append(_letter(call, letter))
    if "admin" in call.principal.scopes:
        after.append(_actions(id, record, letter))
    title = record.task if record is not None else letter.task if letter is not None else None
    running = record is not None and not record.status.terminal
    return View(title or id, "tasks", markup(before), markup(live), markup(after), every=EVERY if running else 0)


async def _detail(call: Call, record: TaskRecord) -> TaskDetail:
    if record.result_key is None:
        return detail(call.app, record)
    try:
        return detail(call.app, await redeem_result(call.services.payloads, record))
    except PayloadMissing:
        return detail(call.app, record, missing=True)


async def _dead_letter(call: Call, id: str, record: TaskRecord | None) -> DeadLetterView | None:
    """The dead letter of a task, which has its arguments."""
    queue = record.queue if record is not None and record.queue in call.app.queues else None
    if queue is not None and not await call.services.broker.has_dead_letter_queue(queue):
        return None
    only = Selection(ids=frozenset({id}))
    found = await list_dead_letters(call.app, call.services, queue, only, limit=1, most_seen=MOST_SEEN)
    return found.dead_letters[0] if found.dead_letters else None


async def _children(call: Call, record: TaskRecord) -> tuple[list[TaskRecord], bool]:
    """Tasks that this one enqueued, as far as a bounded look finds them, and whether there may be more."""
    names = call.app.registry.names[:MOST_NAMES]
    if not names:
        return [], False
    since = record.enqueued_at or record.started_at
    until = None if record.finished_at is None else record.finished_at + 1
    page = await call.services.results.list(Query(names, None, since, until, MOST_SIBLINGS), now=call.now)
    found = [one for one in page if one.parent == record.id]
    return found, page.cursor is not None or len(call.app.registry.names) > len(names)


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


def _life(record: TaskRecord, now: float) -> Html:
    """Enqueued, started, ended: the record has the times of the last attempt alone."""
    steps: list[tuple[float, Html | str]] = []
    parts: list[tuple[float, str, str]] = []
    if record.enqueued_at is not None:
        steps.append((record.enqueued_at, "enqueued"))
    if record.started_at is not None:
        number = f"attempt {record.attempt}" if record.attempt else "attempt"
        steps.append((record.started_at, f"{number} started"))
        if record.enqueued_at is not None:
            name = "waited" if record.attempt <= 1 and not record.run else "waited, earlier attempts included,"
            parts.append((max(0.0, record.started_at - record.enqueued_at), "waiting", name))
    ended = record.finished_at if record.status.terminal else None
    if record.status is State.RETRYING:
        steps.append((record.updated_at, "attempt failed"))
        if record.next_at is not None:
            steps.append((record.next_at, "next attempt due"))
    elif ended is not None:
        steps.append((ended, markup([status(record.status)])))
        if record.started_at is not None:
            style = "good" if record.status is State.SUCCEEDED else "bad"
            parts.append((max(0.0, ended - record.started_at), style, "last attempt ran"))
    elif record.status is State.RUNNING and record.lease_until is not None:
        steps.append((record.lease_until, "lease ends, unless it is renewed"))
    earlier = record.attempt - 1
    content: list[Html] = [
        spans(parts) if ended is not None and sum(part[0] for part in parts) > 0 else NOTHING,
        moments(steps, "What happened when"),
    ]
    if earlier > 0:
        text = f"{earlier} earlier attempt{'s' if earlier > 1 else ''} failed before; records keep the times of the last one."
        content.append(tag("p", text, class_="muted"))
    return section("Attempts", *content)


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


def _arguments(call: Call, id: str, record: TaskRecord, letter: DeadLetterView | None, asked: bool) -> Html:
    if letter is not None:
        return _letter(call, letter)
    if asked:
        text = "No dead letter of it could be found just now, and records do not hold arguments."
        return section("Arguments", tag("p", text))
    if record.status is not State.FAILED and not record.stalled(call.now):
        text = "Records do not hold arguments. The dead letter of a task that failed does."
        return section("Arguments", tag("p", text, class_="muted"))
    ask = link("Look for its dead letter, which holds them", "task", id=id, arguments=1)
    return section("Arguments", tag("p", ask))


def _letter(call: Call, letter: DeadLetterView) -> Html:
    args, kwargs = call.app.redacted(letter.task, letter.args, letter.kwargs)
    where = link("its dead letter", "dead-letter", queue=letter.queue, message=letter.message_id)
    if letter.payload is not None:
        return section("Arguments", tag("p", "They are too large for a message, and in the bucket. See ", where, "."))
    return section(
        "Arguments",
        as_json({"args": args, "kwargs": kwargs}, label="Arguments"),
        tag("p", "From ", where, "."),
    )


def _family(one: TaskDetail, children: tuple[list[TaskRecord], bool] | None) -> Html:
    above = tag("p", "Enqueued by ", link(one.parent, "task", id=one.parent), ".") if one.parent else None
    if children is None:
        below = tag("p", link("Look for the tasks that it enqueued", "task", id=one.id, children=1))
        return section("Parent and children", above, below)
    found, more = children
    rows = [
        (link(child.id, "task", id=child.id), child.task, status(child.status), time(child.enqueued_at))
        for child in found
    ]
    shown = table("Tasks that it enqueued", ("Id", "Task", "Status", "Enqueued (UTC)"), rows, empty="None was found.")
    hint = tag("p", "Not all tasks of that time were looked at: there may be more.", class_="muted") if more else None
    return section("Parent and children", above, shown, hint)


def _actions(id: str, record: TaskRecord | None, letter: DeadLetterView | None) -> Html:
    parts: list[Html] = []
    if record is not None and not record.status.terminal:
        parts.append(action("cancel", "Cancel", {"id": id}, style="danger"))
    if letter is not None or (record is not None and record.status.terminal):
        parts.append(_retry(id, record, letter))
    return section("Actions", *parts) if parts else NOTHING


def _retry(id: str, record: TaskRecord | None, letter: DeadLetterView | None) -> Html:
    queue = record.queue if record is not None else letter.source or "" if letter is not None else ""
    explained = (
        "Where its dead letter is there, that is sent back: a new run of the same id, with its own arguments unless others "
        "are given. Otherwise a new task is sent, with the arguments given here ([] for none)."
    )
    form = tag(
        "form",
        tag("p", explained),
        tag("input", type="hidden", name="id", value=id),
        area("Positional arguments (JSON list)", "args", rows=3),
        area("Keyword arguments (JSON object)", "kwargs", rows=3),
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
