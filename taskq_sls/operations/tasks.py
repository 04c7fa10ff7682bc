"""Operations on one task: show it with its dead letter, run it again, cancel it."""

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
from ..results.records import CancelAnswer, TaskRecord
from ..results.rules import is_unclaimed
from ..serialization import JsonSignature, Signature
from .dead_letter_view import DeadLetterView, Selection
from .dead_letters import list_dead_letters
from .redrive import redrive
from .runs import Edit


class TaskView(NamedTuple):
    """A task's record, and its dead letter if it was searched for and found."""

    id: str
    record: TaskRecord | None
    dead_letter: DeadLetterView | None


class Retried(NamedTuple):
    """A task that will run again.

    Args:
        id: the same if its dead letter was redriven, else a new one.
        run: the run that it opens.
        parent: id of the task that a new one repeats; None if the dead letter was redriven.
    """

    id: str
    task: str
    queue: str
    run: int
    parent: str | None

    @property
    def redriven(self) -> bool:
        """True if its dead letter was redriven, as a new run of the same id."""
        return self.parent is None


async def show(app: App, services: Services, id: str, *, dead_letter: bool = True) -> TaskView:
    """A task's record (without a large result in the bucket), and its dead letter.

    Args:
        dead_letter: search for it, unless the record rules out that there is one. This reads the whole dead-letter
            queue, whose messages are invisible to other consumers meanwhile.

    Raises:
        ConfigError: `id` is not a task id, or a resource is missing.
        AwsError: table or queue cannot be read.
    """
    record = await services.results.get(check_id(id), now=app.clock.time())
    may_be_dead = record is None or record.status is State.FAILED or is_unclaimed(record, app.clock.time())
    found = await _find(app, services, id, record) if dead_letter and may_be_dead else None
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

    If its dead letter is found, it is redriven: a new run of the same id. Otherwise, if the task has ended, a new task
    is sent with the old one as its parent. Its arguments are those of the record; if the record lacks or hides some,
    `edit` must give them.

    Args:
        edit: other arguments, or labels.
        group: message group of a new task on a FIFO queue.
        check: called with the task's name before a new task is sent; it may raise to refuse.

    Raises:
        NotFound: there is no record and no dead letter.
        ConfigError: the task has not ended, or its arguments must be given.
        ArgumentsError: the arguments do not fit the task.
        EnqueueError: the queue did not accept the task.
    """
    view = await show(app, services, id)
    if view.dead_letter is not None:
        return await _redrive(app, services, view.dead_letter, edit, group)
    record = view.record
    if record is None:
        raise NotFound(f"task {id}: no record was found, and no dead letter that can be read now; enqueue it anew")
    if not record.status.terminal:
        raise ConfigError(f"task {id} is {record.status}: only a task that has ended can run again; cancel it first")
    if check is not None:
        check(record.task)
    edit = edit or Edit()
    if edit.args is None and edit.kwargs is None:
        edit = _with_recorded_arguments(edit, record)
    return await _send_anew(app, services, record, edit, group)


def _with_recorded_arguments(edit: Edit, record: TaskRecord) -> Edit:
    call = None if record.call is None else json.loads(record.call)
    if call is None or contains_mask(call):
        raise ConfigError(
            f"task {record.id} {_ENDED.get(record.status, 'has ended')}, no dead letter has its arguments, and its record "
            f"{'does not either' if call is None else 'hides some'}: give them (--args '[...]' or --kwargs '{{...}}'; "
            "--args '[]' for none)"
        )
    return edit._replace(args=call["args"], kwargs=call["kwargs"])


async def cancel(
    app: App, services: Services, id: str, *, task: str | None = None, queue: str | None = None
) -> CancelAnswer:
    """Cancel a task by its id. The app need not have its code.

    Args:
        task, queue: the task's name and queue; needed only if it has no record yet.

    Raises:
        NotFound: there is no record, and `task` is not given.
        ConfigError: the task is recorded below ``started``.
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
        raise ConfigError(f"task {found.id}: another consumer has just received its dead letter; try again")
    sent = done.redriven[0]
    return Retried(id=found.id or "", task=found.task or "", queue=sent.queue, run=sent.run, parent=None)


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
    return Retried(id=handle.id, task=record.task, queue=handle.queue, run=0, parent=record.id)
