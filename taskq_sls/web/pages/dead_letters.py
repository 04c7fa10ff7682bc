"""The pages of dead letters: a filtered list with reasons, and one dead letter with its arguments."""

from __future__ import annotations

import json

from starlette.requests import Request

from ...brokers.base import MAX_BODY_BYTES
from ..limits import MAX_DEAD_LETTERS_READ
from ..models.dead_letters import DeadLetter, DeadLetterDetail, DeadLetters
from ..request_context import RequestContext
from ..routes.dead_letters import get_dead_letter, get_dead_letters
from .components import (
    action,
    area,
    choice,
    definition_list,
    error_block,
    field,
    hidden_input,
    json_block,
    labels,
    section,
    table,
    time,
)
from .dead_letter_actions import ALL
from .html import NOTHING, Child, Html, link, markup, tag
from .layout import View, breadcrumb

MAX_SHOWN = 100
"""Dead letters on the page."""

FILTER = ("queue", "task", "reason", "label")


async def show(context: RequestContext, request: Request) -> View:
    """Return the dead letters that match the filter, latest failures first, and their number by reason.

    Messages must be received to be read, and are invisible to other consumers meanwhile. So this page does not update
    itself.
    """
    given = {name: value for name in FILTER if (value := request.query_params.get(name, "").strip())}
    found = await get_dead_letters(
        context,
        queue=given.get("queue"),
        task=[given["task"]] if "task" in given else None,
        reason=[given["reason"]] if "reason" in given else None,
        label=[given["label"]] if "label" in given else None,
        limit=MAX_DEAD_LETTERS_READ if "all" in request.query_params else MAX_SHOWN,
    )
    content = [
        _form(context, given),
        section("Reasons", _groups(found), _all(found, given)),
        section("Messages", _summary(found), _messages(context, found, given)),
    ]
    return View("Dead letters", "dead-letters", before=markup(content))


async def inspect(context: RequestContext, request: Request) -> View:
    given = request.query_params
    letter = await get_dead_letter(given.get("queue", ""), given.get("message", ""), context)
    content = [
        breadcrumb("Dead letters", "dead-letters", queue=letter.queue),
        _definitions(letter),
        section("Arguments", *_arguments(letter)),
        _error(letter),
    ]
    if "admin" in context.principal.scopes:
        content.append(_actions(letter))
    return View(f"Dead letter of {letter.task or 'an unknown task'}", "dead-letters", before=markup(content))


def _form(context: RequestContext, given: dict[str, str]) -> Html:
    queues = [("", "all"), *((name, name) for name in context.app.queues), ("schedules-dlq", "schedules")]
    if (chosen := given.get("queue", "")) not in dict(queues):
        queues.append((chosen, chosen))
    return tag(
        "form",
        choice("Queue", "queue", queues, chosen),
        field("Task", "task", given.get("task", "")),
        field("Reason", "reason", given.get("reason", ""), placeholder="exhausted"),
        field("Label", "label", given.get("label", ""), placeholder="name=value"),
        tag("p", tag("button", "Filter"), " ", link("Clear", "dead-letters"), class_="field"),
        method="get",
        action="dead-letters",
        role="search",
        class_="filter",
    )


def _groups(found: DeadLetters) -> Html:
    rows = [
        (
            link(group.reason, "dead-letters", queue=group.queue, reason=group.reason, task=group.task),
            group.task or "-",
            group.error_type or "-",
            group.queue,
            f"{group.total:,}",
            time(group.oldest),
            time(group.newest),
        )
        for group in found.groups
    ]
    header = ("Reason", "Task", "Error", "Queue", "Messages", "Oldest (UTC)", "Newest (UTC)")
    caption = f"Dead letters by reason, of {len(found.dead_letters):,} received"
    return table(caption, header, rows, empty="No dead letters.")


def _all(found: DeadLetters, given: dict[str, str]) -> Html:
    """Return a link that groups more dead letters, if not all were received."""
    if not found.missed or len(found.dead_letters) > MAX_SHOWN:
        return NOTHING
    more = link(f"Group up to {MAX_DEAD_LETTERS_READ:,}", "dead-letters", **given, all=1)
    return tag("p", more, " (takes a second for some hundreds, which are invisible to other consumers meanwhile)")


def _summary(found: DeadLetters) -> Html:
    text = f"{min(MAX_SHOWN, len(found.dead_letters))} shown; {found.seen:,} received."
    if found.missed:
        text += (
            f" About {found.missed:,} more were not: other consumers hold them, or the page is full. Narrow the filter."
        )
    if found.missing:
        text += f" These queues do not exist, so they were not searched: {', '.join(found.missing)}."
    return tag("p", text, class_="muted")


def _messages(context: RequestContext, found: DeadLetters, given: dict[str, str]) -> Html:
    if not found.dead_letters:
        return NOTHING
    admin = "admin" in context.principal.scopes
    header = ["Id", "Task", "Reason", "Error", "Attempts", "Failed (UTC)", "Labels"]
    rows = [_row(letter, admin=admin) for letter in found.dead_letters[:MAX_SHOWN]]
    listed = table("Dead letters, the latest failures first", ["Select", *header] if admin else header, rows)
    if not admin:
        return listed
    hidden = [hidden_input(name, value) for name, value in given.items()]
    buttons = tag(
        "p",
        tag("button", "Redrive selected", formaction="redrive"),
        tag("button", "Redrive all matching", formaction="redrive", name="which", value=ALL),
        tag("button", "Delete selected", formaction="purge", class_="danger"),
        tag("button", "Delete all matching", formaction="purge", name="which", value=ALL, class_="danger"),
        class_="buttons",
    )
    rate = field(
        "Messages per second",
        "rate",
        type="number",
        min="0.1",
        step="any",
        hint="Empty: no limit.",
        inputmode="decimal",
    )
    group = field("Message group", "group", hint="For scheduled messages of FIFO queues.")
    more = tag("details", tag("summary", "More options"), group)
    return tag("form", hidden, listed, rate, more, buttons, method="post", action="redrive", data_select="message")


def _row(letter: DeadLetter, *, admin: bool) -> list[Child]:
    name = letter.id or letter.message_id
    error = (
        f"{letter.error_type or ''}: {letter.error_message or ''}" if letter.error_type or letter.error_message else ""
    )
    row: list[Child] = [
        link(name, "dead-letter", queue=letter.queue, message=letter.message_id),
        letter.task or "-",
        letter.reason,
        (letter.undecodable or error)[:300],
        str(letter.attempts),
        time(letter.failed_at or letter.sent_at),
        labels(letter.labels),
    ]
    if admin:
        box = tag("input", type="checkbox", name="message", value=letter.message_id, aria_label=f"Select {name}")
        row.insert(0, box)
    return row


def _definitions(letter: DeadLetterDetail) -> Html:
    return definition_list(
        [
            ("Reason", letter.reason),
            ("Task's id", link(letter.id, "task", id=letter.id) if letter.id else None),
            ("Queue", letter.source or "the queue of its schedule"),
            ("Schedule", letter.schedule),
            ("Message", tag("code", letter.message_id)),
            ("Message group", letter.group),
            ("Run", str(letter.run)),
            ("Attempts", str(letter.attempts)),
            ("Sent (UTC)", time(letter.sent_at)),
            ("Failed (UTC)", time(letter.failed_at)),
            ("Labels", labels(letter.labels) if letter.labels else None),
        ]
    )


def _arguments(letter: DeadLetterDetail) -> list[Html]:
    if letter.undecodable is not None:
        parts = [tag("p", "The body cannot be read: ", letter.undecodable)]
        return [*parts, json_block(letter.body, label="Body")] if letter.body is not None else parts
    if letter.payload is not None:
        return [tag("p", "Too large for a message; stored in the bucket under ", tag("code", letter.payload), ".")]
    return [json_block({"args": letter.args, "kwargs": letter.kwargs}, label="Arguments")]


def _error(letter: DeadLetterDetail) -> Html:
    if letter.error_type is None and letter.error_message is None:
        return NOTHING
    return error_block(letter.error_type, letter.error_message, letter.traceback)


def _actions(letter: DeadLetterDetail) -> Html:
    message = {"queue": letter.queue, "message": letter.message_id}
    return section(
        "Actions",
        action("redrive", "Redrive unchanged", message),
        action("purge", "Delete", message, style="danger"),
        _edit(letter) if letter.undecodable is None else None,
    )


def _edit(letter: DeadLetterDetail) -> Html:
    """Return the form for a redrive with changes. It begins with the present arguments, unless they are too large."""
    args, kwargs = json.dumps(letter.args, ensure_ascii=False), json.dumps(letter.kwargs, indent=2, ensure_ascii=False)
    if letter.payload is not None or len(args) + len(kwargs) >= MAX_BODY_BYTES:
        args = kwargs = ""
    form = tag(
        "form",
        hidden_input("queue", letter.queue),
        hidden_input("message", letter.message_id),
        hidden_input("edit", "yes"),
        area("Positional arguments (JSON list)", "args", args, rows=4, hint="Enter redacted values again."),
        area("Keyword arguments (JSON object)", "kwargs", kwargs, rows=6),
        area("Labels (JSON object)", "labels", json.dumps(letter.labels, ensure_ascii=False), rows=2),
        field("Message group", "group") if letter.source is None else None,
        tag("p", tag("button", "Redrive with changes")),
        method="post",
        action="redrive",
    )
    return tag("details", tag("summary", "Edit the arguments"), form)
