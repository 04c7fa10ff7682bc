"""The dead letters: why tasks were given up, and what is to become of them."""

from __future__ import annotations

import json

from starlette.requests import Request

from ...brokers.base import MAX_BODY_BYTES
from ..limits import MOST_SEEN
from ..models.dead_letters import DeadLetter, DeadLetterDetail, DeadLetters
from ..request_context import RequestContext
from ..routes.dead_letters import get_dead_letter, get_dead_letters
from .components import area, as_json, choice, facts, field, labels, section, table, time
from .dead_letter_actions import ALL
from .html import NOTHING, Child, Html, link, markup, tag
from .layout import crumb
from .view import View

SHOWN = 100
"""Dead letters of a page."""

FILTER = ("queue", "task", "reason", "label")


async def show(call: RequestContext, request: Request) -> View:
    """Dead letters that fit a filter, the latest failures first, and how many there are of each reason.

    SQS cannot be looked into without receiving: what is shown is hidden from others for that moment. So this page does
    not look again by itself.
    """
    given = {name: value for name in FILTER if (value := request.query_params.get(name, "").strip())}
    found = await get_dead_letters(
        call,
        given.get("queue"),
        [given["task"]] if "task" in given else None,
        [given["reason"]] if "reason" in given else None,
        None,
        [given["label"]] if "label" in given else None,
        None,
        MOST_SEEN if "all" in request.query_params else SHOWN,
    )
    content = [
        _form(call, given),
        section("Reasons", _groups(found), _all(found, given)),
        section("Messages", _told(found), _messages(call, found, given)),
    ]
    return View("Dead letters", "dead-letters", before=markup(content))


async def inspect(call: RequestContext, request: Request) -> View:
    """One dead letter, with its arguments."""
    given = request.query_params
    one = await get_dead_letter(given.get("queue", ""), given.get("message", ""), call)
    content = [
        crumb("Dead letters", "dead-letters", queue=one.queue),
        _facts(one),
        section("Arguments", *_arguments(one)),
        _error(one),
    ]
    if "admin" in call.principal.scopes:
        content.append(section("Actions", _edit(one), _purge(one)))
    return View(f"Dead letter of {one.task or 'nobody knows what'}", "dead-letters", before=markup(content))


def _form(call: RequestContext, given: dict[str, str]) -> Html:
    queues = [("", "all"), *((name, name) for name in call.app.queues), ("schedules-dlq", "schedules")]
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
            link(one.reason, "dead-letters", queue=one.queue, reason=one.reason, task=one.task),
            one.task or "-",
            one.error_type or "-",
            one.queue,
            f"{one.total:,}",
            time(one.oldest),
            time(one.newest),
        )
        for one in found.groups
    ]
    header = ("Reason", "Task", "Error", "Queue", "Messages", "Oldest (UTC)", "Newest (UTC)")
    caption = f"Dead letters by reason, of the {len(found.dead_letters):,} that were found"
    return table(caption, header, rows, empty="There are none.")


def _all(found: DeadLetters, given: dict[str, str]) -> Html:
    """The way to groups of all, where the first look has not seen all."""
    if not found.missed or len(found.dead_letters) > SHOWN:
        return NOTHING
    more = link(f"Group up to {MOST_SEEN:,}", "dead-letters", **given, all=1)
    return tag("p", more, " (a second for some hundred, which are hidden from others meanwhile)")


def _told(found: DeadLetters) -> Html:
    text = f"{min(SHOWN, len(found.dead_letters))} shown; {found.seen:,} looked at."
    if found.missed:
        text += f" About {found.missed:,} more were not: others hold them, or the page is full. Narrow the filter."
    if found.missing:
        text += f" These queues do not exist, so they were not searched: {', '.join(found.missing)}."
    return tag("p", text, class_="muted")


def _messages(call: RequestContext, found: DeadLetters, given: dict[str, str]) -> Html:
    if not found.dead_letters:
        return NOTHING
    admin = "admin" in call.principal.scopes
    header = ["Id", "Task", "Reason", "Error", "Attempts", "Given up (UTC)", "Labels"]
    rows = [_row(one, admin=admin) for one in found.dead_letters[:SHOWN]]
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


def _row(one: DeadLetter, *, admin: bool) -> list[Child]:
    name = one.id or one.message_id
    error = f"{one.error_type or ''}: {one.error_message or ''}" if one.error_type or one.error_message else ""
    row: list[Child] = [
        link(name, "dead-letter", queue=one.queue, message=one.message_id),
        one.task or "-",
        one.reason,
        (one.undecodable or error)[:300],
        str(one.attempts),
        time(one.failed_at or one.sent_at),
        labels(one.labels),
    ]
    if admin:
        box = tag("input", type="checkbox", name="message", value=one.message_id, aria_label=f"Choose {name}")
        row.insert(0, box)
    return row


def _facts(one: DeadLetterDetail) -> Html:
    return facts(
        [
            ("Reason", one.reason),
            ("Task's id", link(one.id, "task", id=one.id) if one.id else None),
            ("Queue", one.source or "that of its schedule"),
            ("Schedule", one.schedule),
            ("Message", tag("code", one.message_id)),
            ("Message group", one.group),
            ("Run", str(one.run)),
            ("Attempts", str(one.attempts)),
            ("Sent (UTC)", time(one.sent_at)),
            ("Given up (UTC)", time(one.failed_at)),
            ("Labels", labels(one.labels) if one.labels else None),
        ]
    )


def _arguments(one: DeadLetterDetail) -> list[Html]:
    if one.undecodable is not None:
        parts = [tag("p", "Its body cannot be read: ", one.undecodable)]
        return [*parts, as_json(one.body, label="Body")] if one.body is not None else parts
    if one.payload is not None:
        return [tag("p", "They are too large for a message, and in the bucket under ", tag("code", one.payload), ".")]
    return [as_json({"args": one.args, "kwargs": one.kwargs}, label="Arguments")]


def _error(one: DeadLetterDetail) -> Html:
    if one.error_type is None and one.error_message is None:
        return NOTHING
    said = tag("p", tag("strong", one.error_type), f": {one.error_message or ''}", class_="error")
    trace = as_json(one.traceback, label="Traceback", id="traceback") if one.traceback else NOTHING
    return section("Error", said, trace)


def _edit(one: DeadLetterDetail) -> Html:
    hidden = [
        tag("input", type="hidden", name="queue", value=one.queue),
        tag("input", type="hidden", name="message", value=one.message_id),
    ]
    plain = tag("form", hidden, tag("p", tag("button", "Send back as it is")), method="post", action="redrive")
    if one.undecodable is not None:
        return plain
    known = one.payload is None
    text = json.dumps(one.args, ensure_ascii=False), json.dumps(one.kwargs, indent=2, ensure_ascii=False)
    args, kwargs = text if known and sum(map(len, text)) < MAX_BODY_BYTES else ("", "")
    edited = tag(
        "form",
        hidden,
        tag("input", type="hidden", name="edit", value="yes"),
        area(
            "Positional arguments (JSON list)", "args", args, rows=4, hint="Values that are hidden must be given anew."
        ),
        area("Keyword arguments (JSON object)", "kwargs", kwargs, rows=6),
        area("Labels (JSON object)", "labels", json.dumps(one.labels, ensure_ascii=False), rows=2),
        field("Message group", "group") if one.source is None else None,
        tag("p", tag("button", "Send back with these")),
        method="post",
        action="redrive",
    )
    return markup([plain, tag("details", tag("summary", "Edit the arguments"), edited)])


def _purge(one: DeadLetterDetail) -> Html:
    hidden = [
        tag("input", type="hidden", name="queue", value=one.queue),
        tag("input", type="hidden", name="message", value=one.message_id),
    ]
    button = tag("button", "Delete", class_="danger")
    return tag("form", hidden, tag("p", button), method="post", action="purge")
