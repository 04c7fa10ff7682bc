"""The dead letters: why tasks were given up, and what is to become of them."""

from __future__ import annotations

import json

from starlette.requests import Request

from ...brokers.base import MAX_BODY_BYTES
from ..limits import MAX_DEAD_LETTERS_READ
from ..models.dead_letters import DeadLetter, DeadLetterDetail, DeadLetters
from ..request_context import RequestContext
from ..routes.dead_letters import get_dead_letter, get_dead_letters
from .components import area, choice, definition_list, field, json_block, labels, section, table, time
from .dead_letter_actions import ALL
from .html import NOTHING, Child, Html, link, markup, tag
from .layout import View, breadcrumb

MAX_SHOWN = 100
"""Dead letters of a page."""

FILTER = ("queue", "task", "reason", "label")


async def show(context: RequestContext, request: Request) -> View:
    """Dead letters that fit a filter, the latest failures first, and how many there are of each reason.

    SQS cannot be looked into without receiving: what is shown is hidden from others for that moment. So this page does
    not look again by itself.
    """
    given = {name: value for name in FILTER if (value := request.query_params.get(name, "").strip())}
    found = await get_dead_letters(
        context,
        given.get("queue"),
        [given["task"]] if "task" in given else None,
        [given["reason"]] if "reason" in given else None,
        None,
        [given["label"]] if "label" in given else None,
        None,
        MAX_DEAD_LETTERS_READ if "all" in request.query_params else MAX_SHOWN,
    )
    content = [
        _form(context, given),
        section("Reasons", _groups(found), _all(found, given)),
        section("Messages", _told(found), _messages(context, found, given)),
    ]
    return View("Dead letters", "dead-letters", before=markup(content))


async def inspect(context: RequestContext, request: Request) -> View:
    """One dead letter, with its arguments."""
    given = request.query_params
    one = await get_dead_letter(given.get("queue", ""), given.get("message", ""), context)
    content = [
        breadcrumb("Dead letters", "dead-letters", queue=one.queue),
        _facts(one),
        section("Arguments", *_arguments(one)),
        _error(one),
    ]
    if "admin" in context.principal.scopes:
        content.append(section("Actions", _edit(one), _purge(one)))
    return View(f"Dead letter of {one.task or 'nobody knows what'}", "dead-letters", before=markup(content))


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
    caption = f"Dead letters by reason, of the {len(found.dead_letters):,} that were found"
    return table(caption, header, rows, empty="There are none.")


def _all(found: DeadLetters, given: dict[str, str]) -> Html:
    """The way to groups of all, where the first look has not seen all."""
    if not found.missed or len(found.dead_letters) > MAX_SHOWN:
        return NOTHING
    more = link(f"Group up to {MAX_DEAD_LETTERS_READ:,}", "dead-letters", **given, all=1)
    return tag("p", more, " (a second for some hundred, which are hidden from others meanwhile)")


def _told(found: DeadLetters) -> Html:
    text = f"{min(MAX_SHOWN, len(found.dead_letters))} shown; {found.seen:,} looked at."
    if found.missed:
        text += f" About {found.missed:,} more were not: others hold them, or the page is full. Narrow the filter."
    if found.missing:
        text += f" These queues do not exist, so they were not searched: {', '.join(found.missing)}."
    return tag("p", text, class_="muted")


def _messages(context: RequestContext, found: DeadLetters, given: dict[str, str]) -> Html:
    if not found.dead_letters:
        return NOTHING
    admin = "admin" in context.principal.scopes
    header = ["Id", "Task", "Reason", "Error", "Attempts", "Given up (UTC)", "Labels"]
    rows = [_row(letter, admin=admin) for letter in found.dead_letters[:MAX_SHOWN]]
    listed = table("Dead letters, the latest failures first", ["Choose", *header] if admin else header, rows)
    if not admin:
        return listed
    hidden = [tag("input", type="hidden", name=name, value=value) for name, value in given.items()]
    buttons = tag(
        "p",
        tag("button", "Send the chosen ones back", formaction="redrive"),
        tag("button", "Send all that fit back", formaction="redrive", name="which", value=ALL),
        tag("button", "Delete the chosen ones", formaction="purge", class_="danger"),
        tag("button", "Delete all that fit", formaction="purge", name="which", value=ALL, class_="danger"),
        class_="buttons",
    )
    rate = field(
        "Messages a second",
        "rate",
        type="number",
        min="0.1",
        step="any",
        hint="Empty: as fast as it goes.",
        inputmode="decimal",
    )
    group = field("Message group", "group", hint="For what schedules could not send to FIFO queues.")
    more = tag("details", tag("summary", "More options"), group)
    return tag("form", hidden, listed, rate, more, buttons, method="post", action="redrive", data_choosing="message")


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
        box = tag("input", type="checkbox", name="message", value=letter.message_id, aria_label=f"Choose {name}")
        row.insert(0, box)
    return row


def _facts(letter: DeadLetterDetail) -> Html:
    return definition_list(
        [
            ("Reason", letter.reason),
            ("Task's id", link(letter.id, "task", id=letter.id) if letter.id else None),
            ("Queue", letter.source or "that of its schedule"),
            ("Schedule", letter.schedule),
            ("Message", tag("code", letter.message_id)),
            ("Message group", letter.group),
            ("Run", str(letter.run)),
            ("Attempts", str(letter.attempts)),
            ("Sent (UTC)", time(letter.sent_at)),
            ("Given up (UTC)", time(letter.failed_at)),
            ("Labels", labels(letter.labels) if letter.labels else None),
        ]
    )


def _arguments(letter: DeadLetterDetail) -> list[Html]:
    if letter.undecodable is not None:
        parts = [tag("p", "Its body cannot be read: ", letter.undecodable)]
        return [*parts, json_block(letter.body, label="Body")] if letter.body is not None else parts
    if letter.payload is not None:
        return [
            tag("p", "They are too large for a message, and in the bucket under ", tag("code", letter.payload), ".")
        ]
    return [json_block({"args": letter.args, "kwargs": letter.kwargs}, label="Arguments")]


def _error(letter: DeadLetterDetail) -> Html:
    if letter.error_type is None and letter.error_message is None:
        return NOTHING
    said = tag("p", tag("strong", letter.error_type), f": {letter.error_message or ''}", class_="error")
    trace = json_block(letter.traceback, label="Traceback", id="traceback") if letter.traceback else NOTHING
    return section("Error", said, trace)


def _edit(letter: DeadLetterDetail) -> Html:
    hidden = [
        tag("input", type="hidden", name="queue", value=letter.queue),
        tag("input", type="hidden", name="message", value=letter.message_id),
    ]
    plain = tag("form", hidden, tag("p", tag("button", "Send back as it is")), method="post", action="redrive")
    if letter.undecodable is not None:
        return plain
    known = letter.payload is None
    text = json.dumps(letter.args, ensure_ascii=False), json.dumps(letter.kwargs, indent=2, ensure_ascii=False)
    args, kwargs = text if known and sum(map(len, text)) < MAX_BODY_BYTES else ("", "")
    edited = tag(
        "form",
        hidden,
        tag("input", type="hidden", name="edit", value="yes"),
        area(
            "Positional arguments (JSON list)", "args", args, rows=4, hint="Values that are hidden must be given anew."
        ),
        area("Keyword arguments (JSON object)", "kwargs", kwargs, rows=6),
        area("Labels (JSON object)", "labels", json.dumps(letter.labels, ensure_ascii=False), rows=2),
        field("Message group", "group") if letter.source is None else None,
        tag("p", tag("button", "Send back with these")),
        method="post",
        action="redrive",
    )
    return markup([plain, tag("details", tag("summary", "Edit the arguments"), edited)])


def _purge(letter: DeadLetterDetail) -> Html:
    hidden = [
        tag("input", type="hidden", name="queue", value=letter.queue),
        tag("input", type="hidden", name="message", value=letter.message_id),
    ]
    button = tag("button", "Delete", class_="danger")
    return tag("form", hidden, tag("p", button), method="post", action="purge")
