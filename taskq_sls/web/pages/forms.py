"""Reads submitted forms, and the actions on tasks and schedules, which call the functions of the API's routes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import Response

from ..models.tasks import CancelTask, RetryTask
from ..problems import ProblemError
from ..request_context import RequestContext
from ..routes import schedules, tasks
from .html import address
from .layout import redirect

MAX_FIELDS = 1_000
"""Fields of one form."""


class Form:
    """The fields of a form; a field may have several values."""

    def __init__(self, fields: Mapping[str, Sequence[str]]) -> None:
        self._fields = fields

    def all(self, name: str) -> list[str]:
        return [value for value in self._fields.get(name, ()) if value]

    def text(self, name: str) -> str:
        """Return a field's value, or an empty text."""
        return next(iter(self._fields.get(name, ())), "")

    def line(self, name: str) -> str | None:
        """Return a field's value without surrounding blanks, or None if it is empty."""
        return self.text(name).strip() or None

    def number(self, name: str) -> float | None:
        """Return a number, or None if the field is empty.

        Raises:
            ProblemError: the value is not a number.
        """
        text = self.line(name)
        try:
            return None if text is None else float(text)
        except ValueError:
            raise ProblemError("invalid", f"{name}={text!r:.40} must be a number") from None

    def value(self, name: str, kind: type[list[Any]] | type[dict[str, Any]]) -> Any:
        """Return a JSON list or object, or None if the field is empty.

        Raises:
            ProblemError: the value is not one.
        """
        text = self.line(name)
        if text is None:
            return None
        try:
            # Python's parser accepts NaN and Infinity, which are not JSON.
            found = json.loads(text, parse_constant=_refuse)
        except (ValueError, RecursionError) as error:
            raise ProblemError("invalid", f"{name} cannot be read as JSON: {error}") from None
        if not isinstance(found, kind):
            wanted = "a list, such as [1, 2]" if kind is list else 'an object, such as {"width": 200}'
            raise ProblemError("invalid", f"{name} must be {wanted}")
        return found


async def read_form(request: Request) -> Form:
    """Read the form in a request's body.

    Raises:
        ProblemError: the body is not a form.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/x-www-form-urlencoded":
        raise ProblemError("bad-request", "the body must be a form")
    try:
        text = (await request.body()).decode("ascii")
        return Form(parse_qs(text, keep_blank_values=True, max_num_fields=MAX_FIELDS))
    except ValueError:
        raise ProblemError("bad-request", "the form cannot be read") from None


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


MESSAGES = {
    "cancelled": "The task was cancelled and will not run again.",
    "requested": "The task is running; a stop was requested.",
    "too_late": "The task had already ended.",
    "redriven": "The dead letter was redriven: the task will run again under the same id.",
    "sent": "A new task was sent in place of the old one.",
    "paused": "The schedule is paused.",
    "resumed": "The schedule was resumed.",
}
"""Messages after an action, by their key in the address of the next page."""


async def cancel(context: RequestContext, request: Request) -> Response:
    form = await read_form(request)
    id = _required(form, "id")
    answer = await tasks.cancel_task(id, context, CancelTask())
    return redirect(address("task", id=id, outcome=answer["answer"]))


async def retry(context: RequestContext, request: Request) -> Response:
    form = await read_form(request)
    given = RetryTask(args=form.value("args", list), kwargs=form.value("kwargs", dict), group=form.line("group"))
    answer = await tasks.retry_task(_required(form, "id"), context, given)
    outcome = "redriven" if answer["parent"] is None else "sent"
    if outcome == "sent" and await context.services.results.get(answer["id"], now=context.now) is None:
        # A new task has no page before it has a record.
        return redirect(address("task", id=answer["parent"], outcome=outcome))
    return redirect(address("task", id=answer["id"], outcome=outcome))


async def pause(context: RequestContext, request: Request) -> Response:
    await schedules.pause_schedule(_required(await read_form(request), "name"), context)
    return redirect(address("schedules", outcome="paused"))


async def resume(context: RequestContext, request: Request) -> Response:
    await schedules.resume_schedule(_required(await read_form(request), "name"), context)
    return redirect(address("schedules", outcome="resumed"))


def _required(form: Form, name: str) -> str:
    if (found := form.line(name)) is None:
        raise ProblemError("invalid", f"the form lacks {name}")
    return found
