"""What becomes of dead letters: sent back or deleted, the chosen ones or all that fit, as much as one request can.

What one request cannot do, the next page goes on with; its script does so by itself. Between two requests nothing is
under way: who closes the page leaves the rest where it is.
"""

from __future__ import annotations

from collections.abc import Collection, Set
from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request

from ..limits import MAX_DEAD_LETTERS
from ..models.dead_letters import Left, PurgeDeadLetters, PurgeDone, RedriveDeadLetters, RedriveDone
from ..problems import ProblemError
from ..request_context import RequestContext
from ..routes import dead_letters
from ..routes.filters import read_labels
from .components import alert, table
from .forms import Form, read_form
from .html import NOTHING, Html, link, markup, tag
from .layout import View, breadcrumb

ALL = "all"
"""The value of the button that means all dead letters that fit the filter."""

REPEATED = ("which", "queue", "task", "reason", "label", "rate", "group", "edit", "args", "kwargs", "labels")
"""Fields of a form that the next one has again; `message` is repeated too, but for those that are done with."""


async def redrive(context: RequestContext, request: Request) -> View:
    """Send dead letters back; all that fit a filter only when that was confirmed."""
    started = context.now
    form = await read_form(request)
    began = form.number("began")
    chosen = _chosen(context, form)
    if form.text("which") == ALL:
        if not form.text("sure"):
            return _ask(
                "Send them all back?", f"{_described(chosen)} will be sent back to their queues.", "redrive", form
            )
        # What an earlier request sent back, and has failed again, is left for another time.
        chosen["before"] = None if began is None else _moment(began)
    edits: dict[str, Any] = {}
    if form.text("edit"):
        edits = {
            "args": form.value("args", list),
            "kwargs": form.value("kwargs", dict),
            "set_labels": form.value("labels", dict),
        }
    given = RedriveDeadLetters(**chosen, **edits, rate=form.number("rate"), group=form.line("group"))
    done = await dead_letters.redrive_dead_letters(given, context)
    total = len(done.redriven) + (int(text[:9]) if (text := form.text("sent")).isdecimal() else 0)
    return _redriven(done, form, started if began is None else began, total)


async def purge(context: RequestContext, request: Request) -> View:
    """Delete dead letters for good, when that was confirmed."""
    form = await read_form(request)
    chosen = _chosen(context, form)
    if not form.text("sure"):
        text = f"{_described(chosen)} will be deleted for good. The records of their tasks stay."
        return _ask("Delete them?", text, "purge", form)
    return _purged(await dead_letters.purge_dead_letters(PurgeDeadLetters(**chosen), context), form)


def filter_of(form: Form) -> dict[str, str]:
    """The filter under which a form was shown, as the page's query has it."""
    return {name: value for name in ("queue", "task", "reason", "label") if (value := form.line(name))}


def _chosen(context: RequestContext, form: Form) -> dict[str, Any]:
    """Which dead letters a form means.

    Raises:
        ProblemError: none.
    """
    given = filter_of(form)
    if form.text("which") != ALL:
        messages = form.all("message")
        if not messages:
            raise ProblemError("invalid", "no dead letter is chosen")
        return {"queue": given.get("queue"), "message_ids": messages, "limit": MAX_DEAD_LETTERS}
    return {
        "queue": given.get("queue"),
        "tasks": [given["task"]] if "task" in given else [],
        "reasons": [given["reason"]] if "reason" in given else [],
        "labels": read_labels(context.app, [given["label"]] if "label" in given else []),
        "everything": True,
        "limit": MAX_DEAD_LETTERS,
    }


def _described(chosen: dict[str, Any]) -> str:
    if "message_ids" in chosen:
        number = len(chosen["message_ids"])
        return "One dead letter" if number == 1 else f"{number} dead letters"
    where = [f"of queue {chosen['queue']}" if chosen["queue"] else "of all queues"]
    where += [f"with reason {reason}" for reason in chosen["reasons"]] + [f"of task {task}" for task in chosen["tasks"]]
    where += [f"with label {name}={value}" for name, value in chosen["labels"].items()]
    return f"All dead letters {', '.join(where)}, at most {MAX_DEAD_LETTERS} at a time,"


def _ask(question: str, text: str, page: str, form: Form) -> View:
    """The question whether it is meant."""
    danger = page == "purge"
    asked = tag(
        "form",
        _repeated(form),
        _hidden("sure", "yes"),
        tag("p", text),
        tag("p", tag("button", "Delete for good" if danger else "Send back", class_="danger" if danger else None)),
        method="post",
        action=page,
    )
    return View(question, "dead-letters", before=markup([_back(form), asked]))


def _redriven(done: RedriveDone, form: Form, began: float, total: int) -> View:
    number = len(done.redriven)
    so_far = f", {total} in all" if total > number else ""
    said = alert(f"{number} {'was' if number == 1 else 'were'} sent back{so_far}; {done.seen} were looked at.")
    rows = [
        (link(redriven.id or "-", "task", id=redriven.id), redriven.task or "-", redriven.queue, str(redriven.run))
        for redriven in done.redriven
    ]
    sent = table("Sent back", ("Id", "Task", "Queue", "Run"), rows, empty="None was sent.")
    handled = {redriven.message_id for redriven in done.redriven} | {kept.message_id for kept in done.kept}
    more = _send_more(form, handled, began, total, by_itself=number > 0) if done.more else NOTHING
    parts = [_back(form), said, more, sent]
    parts += [_left("Left where they are", done.kept), _left("Sent, but there still (harmless)", done.undeleted)]
    return View("Sent back", "dead-letters", before=markup(parts))


def _send_more(form: Form, handled: Set[str], began: float, total: int, *, by_itself: bool) -> Html:
    """The form that goes on; by itself only where the last request got somewhere."""
    if form.text("which") != ALL and not set(form.all("message")) - handled:
        return NOTHING
    rate = form.number("rate")
    return tag(
        "form",
        _repeated(form, handled),
        [_hidden(name, value) for name, value in (("sure", "yes"), ("began", f"{began:.3f}"), ("sent", str(total)))],
        tag("p", "This page may be closed at any time: what has not been sent back stays a dead letter."),
        tag("p", tag("button", "Send the next ones back")),
        method="post",
        action="redrive",
        # A rate below one a second holds between two requests too.
        data_again=round(max(1.0, 0.0 if rate is None else 1 / rate), 1) if by_itself else None,
    )


def _purged(done: PurgeDone, form: Form) -> View:
    number = len(done.purged)
    said = alert(f"{number} {'was' if number == 1 else 'were'} deleted; {done.seen} were looked at.")
    more = NOTHING
    if done.more and form.text("which") == ALL:
        button = tag("p", tag("button", "Delete the next ones", class_="danger"))
        more = tag("form", _repeated(form), _hidden("sure", "yes"), button, method="post", action="purge")
    return View(
        "Deleted", "dead-letters", before=markup([_back(form), said, more, _left("Left where they are", done.kept)])
    )


def _left(caption: str, left: list[Left]) -> Html:
    rows = [(letter.id or letter.message_id, letter.code, letter.message) for letter in left]
    return table(caption, ("Id", "Code", "Why"), rows) if rows else NOTHING


def _moment(began: float) -> datetime:
    try:
        return datetime.fromtimestamp(began, UTC)
    except (ValueError, OverflowError, OSError):
        raise ProblemError("invalid", "the form's begin is no time") from None


def _hidden(name: str, value: str) -> Html:
    return tag("input", type="hidden", name=name, value=value)


def _repeated(form: Form, handled: Collection[str] = ()) -> Html:
    """All that the form held, to be sent again."""
    fields = [(name, value) for name in REPEATED for value in form.all(name)]
    fields += [("message", message) for message in form.all("message") if message not in handled]
    return markup([_hidden(name, value) for name, value in fields])


def _back(form: Form) -> Html:
    return breadcrumb("Dead letters", "dead-letters", **filter_of(form))
