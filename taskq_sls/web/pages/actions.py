"""What the pages' buttons do: the API's own operations, called with what a form holds."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from ..calls import Call
from ..limits import MAX_DEAD_LETTERS
from ..models.dead_letters import Left, PurgeDeadLetters, PurgeDone, RedriveDeadLetters, RedriveDone
from ..models.tasks import RetryTask
from ..problems import ProblemError
from ..routes import dead_letters, schedules, tasks
from ..routes.filters import read_labels
from .answers import redirect
from .forms import Form, read_form
from .html import NOTHING, Html, address, link, markup, tag
from .layout import crumb
from .parts import notice, table
from .view import View

SAID = {
    "cancelled": "It was cancelled, and will not run again.",
    "requested": "It is running, and was told to stop.",
    "too_late": "It had ended already.",
    "redriven": "Its dead letter was sent back: it will run again, with the same id.",
    "sent": "This new task was sent in place of the old one.",
    "paused": "The schedule is paused.",
    "resumed": "The schedule is on again.",
}
"""What is said after an action, by the word for it in the address of the page that follows."""

ALL = "all"
"""The value of the button that means all dead letters that fit the filter."""


async def cancel(call: Call, request: Request) -> Response:
    """Cancel a task."""
    form = await read_form(request)
    id = _needed(form, "id")
    answer = await tasks.cancel_task(id, call)
    return redirect(address("task", id=id, said=answer["answer"]))


async def retry(call: Call, request: Request) -> Response:
    """Run a task again."""
    form = await read_form(request)
    given = RetryTask(args=form.value("args", list), kwargs=form.value("kwargs", dict), group=form.line("group"))
    answer = await tasks.retry_task(_needed(form, "id"), call, given)
    said = "redriven" if answer["parent"] is None else "sent"
    if said == "sent" and await call.services.results.get(answer["id"], now=call.now) is None:
        # A new task has no page of its own before it starts.
        return redirect(address("task", id=answer["parent"], said=said))
    return redirect(address("task", id=answer["id"], said=said))


async def pause(call: Call, request: Request) -> Response:
    """Pause a schedule."""
    await schedules.pause_schedule(_needed(await read_form(request), "name"), call)
    return redirect(address("schedules", said="paused"))


async def resume(call: Call, request: Request) -> Response:
    """Have a schedule fire again."""
    await schedules.resume_schedule(_needed(await read_form(request), "name"), call)
    return redirect(address("schedules", said="resumed"))


async def redrive(call: Call, request: Request) -> View:
    """Send dead letters back; all that fit a filter only when that was confirmed."""
    form = await read_form(request)
    chosen = _chosen(form)
    if form.text("which") == ALL and not form.text("sure"):
        return _ask("Send them all back?", f"{_described(chosen)} will be sent back to their queues.", "redrive", form)
    edits: dict[str, Any] = {}
    if form.text("edit"):
        edits = {
            "args": form.value("args", list),
            "kwargs": form.value("kwargs", dict),
            "set_labels": form.value("labels", dict),
        }
    given = RedriveDeadLetters(**chosen, **edits, rate=form.number("rate"), group=form.line("group"))
    return _redriven(await dead_letters.redrive_dead_letters(given, call), form)


async def purge(call: Call, request: Request) -> View:
    """Delete dead letters for good, when that was confirmed."""
    form = await read_form(request)
    chosen = _chosen(form)
    if not form.text("sure"):
        text = f"{_described(chosen)} will be deleted for good. The records of their tasks stay."
        return _ask("Delete them?", text, "purge", form)
    return _purged(await dead_letters.purge_dead_letters(PurgeDeadLetters(**chosen), call), form)


def filter_of(form: Form) -> dict[str, str]:
    """The filter under which a form was shown, as the page's query has it."""
    return {name: value for name in ("queue", "task", "reason", "label") if (value := form.line(name))}


def _chosen(form: Form) -> dict[str, Any]:
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
        "labels": read_labels([given["label"]] if "label" in given else []),
        "everything": True,
        "limit": MAX_DEAD_LETTERS,
    }


def _described(chosen: dict[str, Any]) -> str:
    if "message_ids" in chosen:
        number = len(chosen["message_ids"])
        return "One dead letter" if number == 1 else f"{number} dead letters"
    where = [f"of queue {chosen['queue']}" if chosen["queue"] else "of all queues"]
    where += [f"with reason {one}" for one in chosen["reasons"]] + [f"of task {one}" for one in chosen["tasks"]]
    where += [f"with label {name}={value}" for name, value in chosen["labels"].items()]
    return f"All dead letters {', '.join(where)}, at most {MAX_DEAD_LETTERS} at a time,"


def _ask(question: str, text: str, page: str, form: Form) -> View:
    """The question whether it is meant."""
    danger = page == "purge"
    asked = tag(
        "form",
        _repeated(form),
        tag("input", type="hidden", name="sure", value="yes"),
        tag("p", text),
        tag("p", tag("button", "Delete for good" if danger else "Send back", class_="danger" if danger else None)),
        method="post",
        action=page,
    )
    return View(question, "dead-letters", before=markup([_back(form), asked]))


def _redriven(done: RedriveDone, form: Form) -> View:
    number = len(done.redriven)
    said = notice(f"{number} {'was' if number == 1 else 'were'} sent back; {done.seen} were looked at.")
    rows = [(link(one.id or "-", "task", id=one.id), one.task or "-", one.queue, str(one.run)) for one in done.redriven]
    sent = table("Sent back", ("Id", "Task", "Queue", "Run"), rows, empty="None was sent.")
    parts = [_back(form), said, _more(done.more, form, "redrive", "Send the next ones back"), sent]
    parts += [_left("Left where they are", done.kept), _left("Sent, but there still (harmless)", done.undeleted)]
    return View("Sent back", "dead-letters", before=markup(parts))


def _purged(done: PurgeDone, form: Form) -> View:
    number = len(done.purged)
    said = notice(f"{number} {'was' if number == 1 else 'were'} deleted; {done.seen} were looked at.")
    more = _more(done.more, form, "purge", "Delete the next ones")
    return View(
        "Deleted", "dead-letters", before=markup([_back(form), said, more, _left("Left where they are", done.kept)])
    )


def _left(caption: str, left: list[Left]) -> Html:
    rows = [(one.id or one.message_id, one.code, one.message) for one in left]
    return table(caption, ("Id", "Code", "Why"), rows) if rows else NOTHING


def _more(more: bool, form: Form, page: str, text: str) -> Html:
    """A button that goes on with what one request could not do."""
    if not more or (form.text("which") != ALL and form.line("rate") is None):
        return NOTHING
    button = tag("button", text, class_="danger" if page == "purge" else None)
    sure = tag("input", type="hidden", name="sure", value="yes")
    return tag("form", _repeated(form), sure, tag("p", button), method="post", action=page)


def _repeated(form: Form) -> Html:
    """All that the form held, to be sent again."""
    names = (
        "which",
        "queue",
        "task",
        "reason",
        "label",
        "message",
        "rate",
        "group",
        "edit",
        "args",
        "kwargs",
        "labels",
    )
    return markup([tag("input", type="hidden", name=name, value=value) for name in names for value in form.all(name)])


def _back(form: Form) -> Html:
    return crumb("Dead letters", "dead-letters", **filter_of(form))


def _needed(form: Form, name: str) -> str:
    if (found := form.line(name)) is None:
        raise ProblemError("invalid", f"the form lacks {name}")
    return found
