"""Single tasks: show one with its dead letter, run one again, cancel one."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NamedTuple

from ..client.app import App
from ..client.handle import TaskHandle
from ..client.services import Services
from ..client.task import Enqueuer
from ..client.unique_keys import send_tasks
from ..core.message import check_id
from ..core.redaction import contains_mask
from ..core.states import State
from ..errors import ConfigError, NotFound
from ..results.records import CancelAnswer, TaskRecord, is_unclaimed
from ..serialization import JsonSignature, Signature
from .dead_letter_view import DeadLetterView, Selection
from .dead_letters import list_dead_letters
from .editing import Edit
from .redrive import redrive


class TaskView(NamedTuple):
    """What is known of a task: its record, and its dead letter where it was looked for and found."""

    id: str
    record: TaskRecord | None
    dead_letter: DeadLetterView | None


class Retried(NamedTuple):
    """A task that will run again.

    Args:
        id: its id: the same where its dead letter was redriven, else a new one.
        run: the run that it opens.
        parent: the id of the task that a new one repeats; None where the dead letter was redriven.
    """

    id: str
    task: str
    queue: str
    run: int
    parent: str | None

    @property
    def redriven(self) -> bool:
        """Whether its dead letter was sent back, as a new run of the same id."""
        return self.parent is None


async def show(app: App, services: Services, id: str, *, dead_letter: bool = True) -> TaskView:
    """A task's record (a large result stays in the bucket), and its dead letter.

    Args:
        dead_letter: look for it, where the record does not rule out that there is one. That reads the whole
            dead-letter queue, and hides its messages for the time.

    Raises:
        ConfigError: `id` is no task id, or a resource is missing.
        AwsError: table or queue cannot be read.
    """
    record = await services.results.get(check_id(id), now=app.clock.time())
    found = await _find(app, services, id, record) if dead_letter and _may_be_dead(app, record) else None
    return TaskView(id, record, found)


async def retry(
    app: App,
    services: Services,
    id: str,
    *,
    edit: Edit | None = None,
    group: str | None = None,
    check: Callable[[str], object] | None = None,
) -> Retried:
    """Run a task again.

    Where its dead letter is there, that is redriven: a new run of the same id. Otherwise, for a task that has ended, a
    new task is sent whose parent is the old one. Its arguments are those of the record; where that does not hold them,
    or hides some, they have to be given.

    Args:
        edit: other arguments, or labels.
        group: message group of a new task on a FIFO queue.
        check: called with the name of the task before a new one is sent; what it raises keeps that from being sent.

    Raises:
        NotFound: nothing is known of the task.
        ConfigError: the task has not ended, or its arguments are needed.
        ArgumentsError: the arguments do not fit it.
        EnqueueError: the queue did not accept it.
    """
    view = await show(app, services, id)
    if view.dead_letter is not None:
        return await _redrive(app, services, view.dead_letter, edit, group)
    record = view.record
    if record is None:
        raise NotFound(
            f"task {id}: there is no record of it, and no dead letter that could be read just now; enqueue it anew"
        )
    if not record.status.terminal:
        raise ConfigError(
            f"task {id} is {record.status}: it has not ended, and only what has ended is run again; cancel it first"
        )
    if check is not None:
        check(record.task)
    edit = edit or Edit()
    if edit.args is None and edit.kwargs is None:
        call = None if record.call is None else json.loads(record.call)
        if call is None or contains_mask(call):
            raise ConfigError(
                f"task {id} {_ENDED.get(record.status, 'has ended')}, no dead letter holds its arguments, and its record "
                f"{'does not either' if call is None else 'hides some'}: give them (--args '[...]' or --kwargs '{{...}}'; "
                "--args '[]' for none)"
            )
        edit = edit._replace(args=call["args"], kwargs=call["kwargs"])
    return await _send_anew(app, services, record, edit, group)


async def cancel(
    app: App, services: Services, id: str, *, task: str | None = None, queue: str | None = None
) -> CancelAnswer:
    """Cancel a task by its id; its code need not be here.

    Args:
        task, queue: what it is, needed only where it has no record yet.

    Raises:
        NotFound: nothing is known of it and `task` is not given.
        ConfigError: it is recorded below ``started``.
    """
    record = await services.results.get(check_id(id), now=app.clock.time())
    if record is not None:
        task, queue = record.task, record.queue
    if task is None:
        raise NotFound(
            f"task {id} has no record (yet): give the name of the task (--task), and it is cancelled before it starts"
        )
    known = app.registry.get(task)
    if queue is None:
        queue = next(iter(app.queues)) if known is None else known.options.queue
    level = "started" if known is None else known.options.record
    unique_key = None if record is None else record.unique_key
    handle: TaskHandle[Any] = TaskHandle(app._runtime, id, task, queue, level, None, unique_key)
    return await handle._cancel(services)


_ENDED = {
    State.SUCCEEDED: "has SUCCEEDED",
    State.FAILED: "has FAILED",
    State.CANCELLED: "was CANCELLED",
    State.EXPIRED: "has EXPIRED",
}


def _may_be_dead(app: App, record: TaskRecord | None) -> bool:
    return record is None or record.status is State.FAILED or is_unclaimed(record, app.clock.time())


async def _find(app: App, services: Services, id: str, record: TaskRecord | None) -> DeadLetterView | None:
    queue = record.queue if record is not None and record.queue in app.queues else None
    if queue is not None and not await services.broker.has_dead_letter_queue(queue):
        return None
    listing = await list_dead_letters(app, services, queue, Selection(ids=frozenset({id})), limit=1)
    return listing.dead_letters[0] if listing.dead_letters else None


async def _redrive(
    app: App, services: Services, found: DeadLetterView, edit: Edit | None, group: str | None
) -> Retried:
    only = Selection(message_ids=frozenset({found.message_id}))
    done = await redrive(app, services, found.queue, only, edit=edit, group=group)
    if done.kept:
        raise ConfigError(done.kept[0].message)
    if not done.redriven:
        raise ConfigError(
            f"task {found.id}: its dead letter was there a moment ago, and somebody else holds it now; try again"
        )
    one = done.redriven[0]
    return Retried(found.id or "", found.task or "", one.queue, one.run, None)


async def _send_anew(app: App, services: Services, record: TaskRecord, edit: Edit, group: str | None) -> Retried:
    options: dict[str, Any] = {"labels": dict(record.labels if edit.labels is None else edit.labels)}
    if record.queue in app.queues:
        options["queue"] = record.queue
    if group is not None:
        options["group"] = group
    known = app.registry.get(record.task)
    sender: Enqueuer[..., Any]
    signature: Signature | JsonSignature
    if known is None:
        sender, signature = app.ref(record.task, **options), JsonSignature(record.task)
    else:
        sender, signature = known.with_options(**options), known.plan.signature
    args, kwargs = signature.decode(edit.args or [], edit.kwargs or {})
    prepared = sender._prepare(tuple(args), dict(kwargs), sender.options)
    tasks = [prepared._replace(message=prepared.message._replace(parent=record.id))]
    handle = sender._handles(tasks, await send_tasks(services, tasks))[0]
    return Retried(handle.id, record.task, handle.queue, 0, record.id)
