"""The actions on tasks and schedules: forms that call the functions of the API's routes."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from ..models.tasks import CancelTask, RetryTask
from ..problems import ProblemError
from ..request_context import RequestContext
from ..routes import schedules, tasks
from .forms import Form, read_form
from .html import address
from .responses import redirect

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
