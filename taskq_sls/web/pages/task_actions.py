"""What the buttons of tasks and schedules do: the API's own operations, called with what a form holds."""

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
    "cancelled": "It was cancelled, and will not run again.",
    "requested": "It is running, and was told to stop.",
    "too_late": "It had ended already.",
    "redriven": "Its dead letter was sent back: it will run again, with the same id.",
    "sent": "This new task was sent in place of the old one.",
    "paused": "The schedule is paused.",
    "resumed": "The schedule is on again.",
}
"""What is said after an action, by the word for it in the address of the page that follows."""


async def cancel(context: RequestContext, request: Request) -> Response:
    """Cancel a task."""
    form = await read_form(request)
    id = _needed(form, "id")
    answer = await tasks.cancel_task(id, context, CancelTask())
    return redirect(address("task", id=id, said=answer["answer"]))


async def retry(context: RequestContext, request: Request) -> Response:
    """Run a task again."""
    form = await read_form(request)
    given = RetryTask(args=form.value("args", list), kwargs=form.value("kwargs", dict), group=form.line("group"))
    answer = await tasks.retry_task(_needed(form, "id"), context, given)
    said = "redriven" if answer["parent"] is None else "sent"
    if said == "sent" and await context.services.results.get(answer["id"], now=context.now) is None:
        # A new task has no page of its own before it starts.
        return redirect(address("task", id=answer["parent"], said=said))
    return redirect(address("task", id=answer["id"], said=said))


async def pause(context: RequestContext, request: Request) -> Response:
    """Pause a schedule."""
    await schedules.pause_schedule(_needed(await read_form(request), "name"), context)
    return redirect(address("schedules", said="paused"))


async def resume(context: RequestContext, request: Request) -> Response:
    """Have a schedule fire again."""
    await schedules.resume_schedule(_needed(await read_form(request), "name"), context)
    return redirect(address("schedules", said="resumed"))


def _needed(form: Form, name: str) -> str:
    if (found := form.line(name)) is None:
        raise ProblemError("invalid", f"the form lacks {name}")
    return found
