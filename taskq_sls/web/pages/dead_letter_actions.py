"""The actions on dead letters: redrive or purge, selected ones or all that match.

One request does as much as its time allows; the next page continues, and its script does so without a click. Nothing runs
between two requests, so closing the page stops the action.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence, Set
from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request

from ..limits import MAX_DEAD_LETTERS
from ..models.dead_letters import Left, PurgeDeadLetters, PurgeDone, RedriveDeadLetters, RedriveDone
from ..problems import ProblemError
from ..request_context import RequestContext, read_labels
from ..routes import dead_letters
from .components import alert, hidden_input, table
from .forms import Form, read_form
from .html import NOTHING, Html, link, markup, tag
from .layout import View, breadcrumb

ALL = "all"
"""Value of the buttons for all dead letters that match the filter."""

REPEATED = ("which", "queue", "task", "reason", "label", "rate", "group", "edit", "args", "kwargs", "labels")
"""Fields that the next form repeats, beside the messages that remain."""


async def redrive(context: RequestContext, request: Request) -> View:
    """Redrive dead letters. All that match only after a confirmation."""
    started = context.now
    form = await read_form(request)
    began = form.number("began")
    selected = _selected(context, form)
    if form.text("which") == ALL:
        if not form.text("sure"):
            return _confirmation("Redrive all?", f"{_described(selected)} will be redriven.", "redrive", form)
        # Tasks that failed again since the first request are left, so that they do not go round for ever.
        selected["before"] = None if began is None else _time(began)
    edits: dict[str, Any] = {}
    if form.text("edit"):
        edits = {
            "args": form.value("args", list),
            "kwargs": form.value("kwargs", dict),
            "set_labels": form.value("labels", dict),
        }
    given = RedriveDeadLetters(**selected, **edits, rate=form.number("rate"), group=form.line("group"))
    done = await dead_letters.redrive_dead_letters(given, context)
    total = len(done.redriven) + (int(text[:9]) if (text := form.text("sent")).isdecimal() else 0)
    return _redriven(done, form, started if began is None else began, total)


async def purge(context: RequestContext, request: Request) -> View:
    """Delete dead letters for good, after a confirmation."""
    form = await read_form(request)
    selected = _selected(context, form)
    if not form.text("sure"):
        text = f"{_described(selected)} will be deleted for good. The records of their tasks are kept."
        return _confirmation("Delete dead letters?", text, "purge", form)
    return _purged(await dead_letters.purge_dead_letters(PurgeDeadLetters(**selected), context), form)


def filter_of(form: Form) -> dict[str, str]:
    """Return the filter of the list that the form was on, as a query."""
    return {name: value for name in ("queue", "task", "reason", "label") if (value := form.line(name))}


def _selected(context: RequestContext, form: Form) -> dict[str, Any]:
    """Return the fields of the API's request that select the form's dead letters.

    Raises:
        ProblemError: none is selected.
    """
    given = filter_of(form)
    if form.text("which") != ALL:
        messages = form.all("message")
        if not messages:
            raise ProblemError("invalid", "no dead letter is selected")
        return {"queue": given.get("queue"), "message_ids": messages, "limit": MAX_DEAD_LETTERS}
    return {
        "queue": given.get("queue"),
        "tasks": [given["task"]] if "task" in given else [],
        "reasons": [given["reason"]] if "reason" in given else [],
        "labels": read_labels(context.app, [given["label"]] if "label" in given else []),
        "everything": True,
        "limit": MAX_DEAD_LETTERS,
    }


def _described(selected: dict[str, Any]) -> str:
    if "message_ids" in selected:
        number = len(selected["message_ids"])
        return "One dead letter" if number == 1 else f"{number} dead letters"
    parts = [f"of queue {selected['queue']}" if selected["queue"] else "of all queues"]
    parts += [f"with reason {reason}" for reason in selected["reasons"]]
    parts += [f"of task {task}" for task in selected["tasks"]]
    parts += [f"with label {name}={value}" for name, value in selected["labels"].items()]
    return f"All dead letters {', '.join(parts)}, at most {MAX_DEAD_LETTERS} at a time,"


def _confirmation(question: str, text: str, page: str, form: Form) -> View:
    button = tag("button", "Delete for good", class_="danger") if page == "purge" else tag("button", "Redrive")
    confirm = tag(
        "form",
        _repeated(form),
        hidden_input("sure", "yes"),
        tag("p", text),
        tag("p", button),
        method="post",
        action=page,
    )
    return View(question, "dead-letters", before=markup([_back(form), confirm]))


def _redriven(done: RedriveDone, form: Form, began: float, total: int) -> View:
    number = len(done.redriven)
    so_far = f", {total} in all" if total > number else ""
    rows = [
        (link(letter.id or "-", "task", id=letter.id), letter.task or "-", letter.queue, str(letter.run))
        for letter in done.redriven
    ]
    handled = {letter.message_id for letter in done.redriven} | {letter.message_id for letter in done.kept}
    parts = [
        _back(form),
        alert(f"{number} redriven{so_far}; {done.seen} received."),
        _redrive_more(form, handled, began, total, automatic=number > 0) if done.more else NOTHING,
        table("Redriven", ("Id", "Task", "Queue", "Run"), rows, empty="None redriven."),
        _left("Not redriven", done.kept),
        _left("Redriven, but not deleted (harmless)", done.undeleted),
    ]
    return View("Redriven", "dead-letters", before=markup(parts))


def _redrive_more(form: Form, handled: Set[str], began: float, total: int, *, automatic: bool) -> Html:
    """Return the form that continues; the script sends it if `automatic`, which needs progress by the last request."""
    if form.text("which") != ALL and not set(form.all("message")) - handled:
        return NOTHING
    rate = form.number("rate")
    return tag(
        "form",
        _repeated(form, handled),
        hidden_input("sure", "yes"),
        hidden_input("began", f"{began:.3f}"),
        hidden_input("sent", str(total)),
        tag("p", "You may close this page at any time: messages that were not redriven stay in the dead-letter queue."),
        tag("p", tag("button", "Redrive the next ones")),
        method="post",
        action="redrive",
        # A rate below one a second must hold between two requests too.
        data_again=round(max(1.0, 0.0 if rate is None else 1 / rate), 1) if automatic else None,
    )


def _purged(done: PurgeDone, form: Form) -> View:
    more = NOTHING
    if done.more and form.text("which") == ALL:
        button = tag("p", tag("button", "Delete the next ones", class_="danger"))
        more = tag("form", _repeated(form), hidden_input("sure", "yes"), button, method="post", action="purge")
    message = alert(f"{len(done.purged)} deleted; {done.seen} received.")
    parts = [_back(form), message, more, _left("Not deleted", done.kept)]
    return View("Deleted", "dead-letters", before=markup(parts))


def _left(caption: str, left: Sequence[Left]) -> Html:
    rows = [(letter.id or letter.message_id, letter.code, letter.message) for letter in left]
    return table(caption, ("Id", "Code", "Reason"), rows) if rows else NOTHING


def _time(began: float) -> datetime:
    try:
        return datetime.fromtimestamp(began, UTC)
    except (ValueError, OverflowError, OSError):
        raise ProblemError("invalid", f"the form's began={began!r} is not a time") from None


def _repeated(form: Form, handled: Collection[str] = ()) -> Html:
    """Return the fields of the form, to be sent again without the handled messages."""
    fields = [(name, value) for name in REPEATED for value in form.all(name)]
    fields += [("message", message) for message in form.all("message") if message not in handled]
    return markup([hidden_input(name, value) for name, value in fields])


def _back(form: Form) -> Html:
    return breadcrumb("Dead letters", "dead-letters", **filter_of(form))
