"""Enqueue tasks."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Header, Response

from ...client.app import App
from ...client.dispatch import raise_failures
from ...client.sending import OutgoingTask
from ...client.task import Task
from ...client.unique_keys import Existing, send_tasks
from ...errors import ArgumentsError, ConfigError, TaskQError
from ..idempotency import MAX_KEY_CHARACTERS, KeyedRequest, begin, finish, release
from ..models.tasks import EnqueueBatch, Enqueued, EnqueuedBatch, EnqueueTask
from ..problems import ProblemError
from ..request_context import BODY, Context, RequestContext, allowed

router = APIRouter(prefix="/v1", tags=["tasks"])

MAX_OWN_ID_CHARACTERS = 78
"""Characters of a caller's id that fit into the task's id, which has at most 100; a longer one is hashed."""

IdempotencyKey = Annotated[
    str | None,
    Header(
        min_length=1,
        max_length=MAX_KEY_CHARACTERS,
        pattern=r"^[\x21-\x7e]+$",
        description="Any text, unique to the request. Repeating the request with the same key within a day creates no "
        "second task; another request with that key is refused.",
    ),
]

KINDS = ("not-over-http", "not-found", "conflict", "duplicate-task", "request-in-progress", "key-reused", *BODY)


@router.post(
    "/tasks",
    operation_id="enqueueTask",
    summary="Enqueue a task",
    status_code=202,
    **allowed("enqueue", *KINDS, "not-sent", "no-scheduler"),
)
async def enqueue(
    entry: EnqueueTask, context: Context, response: Response, idempotency_key: IdempotencyKey = None
) -> Enqueued:
    """Answers after the queue has accepted the task. Only tasks declared with `http=True` can be enqueued.

    An Idempotency-Key determines the task's id; leave out id and unique_key.
    """
    sent = (await _send(context, [entry], idempotency_key, response, batch=False))[0]
    response.headers["Location"] = f"{context.prefix}/v1/tasks/{quote(sent.id, safe='')}"
    return sent


@router.post(
    "/tasks/batch",
    operation_id="enqueueTasks",
    summary="Enqueue several tasks",
    status_code=202,
    **allowed("enqueue", *KINDS, "not-sent", "no-scheduler"),
)
async def enqueue_batch(
    batch: EnqueueBatch, context: Context, response: Response, idempotency_key: IdempotencyKey = None
) -> EnqueuedBatch:
    """All tasks are checked before any is sent. The problem not-sent lists the tasks that were not accepted; the others
    are sent. With an Idempotency-Key the request can be repeated until all are sent.
    """
    return EnqueuedBatch(tasks=await _send(context, batch.tasks, idempotency_key, response, batch=True))


def find_task(app: App, name: str) -> Task[..., Any]:
    """Return a task that may be enqueued over HTTP.

    Raises:
        ProblemError: no task has that name, or it may not.
    """
    task = app.registry.get(name)
    if task is None:
        raise ProblemError("not-found", f"app {app.name!r} has no task {name!r:.120}")
    if not task.options.http:
        raise ProblemError("not-over-http", f"task {task.name} is not declared with http=True")
    return task


async def _send(
    context: RequestContext, entries: Sequence[EnqueueTask], key: str | None, response: Response, *, batch: bool
) -> list[Enqueued]:
    request = None
    if key is not None:
        for entry in entries:
            if entry.id is not None or entry.unique_key is not None:
                raise ProblemError("invalid", "the Idempotency-Key determines the ids: leave out id and unique_key")
        # Before the key is locked, so that an invalid request does not lock it.
        prepared = _prepare_all(context, entries, None, batch=batch)
        content = [entry.model_dump() for entry in entries]
        request = await begin(context, key, content, prepared[0].queue)
        if request.done:
            response.headers["Idempotency-Replayed"] = "true"
            ids = [request.id(index if batch else None) for index in range(len(entries))]
            return [
                Enqueued(id=id, task=task.message.task, queue=task.queue)
                for id, task in zip(ids, prepared, strict=True)
            ]
    return await _carry_out(context, _prepare_all(context, entries, request, batch=batch), request)


async def _carry_out(
    context: RequestContext, prepared: Sequence[OutgoingTask], request: KeyedRequest | None
) -> list[Enqueued]:
    try:
        sent = await send_tasks(context.services, prepared)
        answers = [
            Enqueued(
                id=wanted.message.id if isinstance(answer, Exception) else answer.id,
                task=wanted.message.task,
                queue=answer.queue if isinstance(answer, Existing) else wanted.queue,
                existing=isinstance(answer, Existing),
            )
            for answer, wanted in zip(sent, prepared, strict=True)
        ]
        raise_failures(sent, prepared, answers)
    except TaskQError:
        # Also if some tasks were sent: a repetition has the same ids.
        if request is not None:
            await release(context, request)
        raise
    if request is not None:
        await finish(context, request)
    return answers


def _callers_id(context: RequestContext, id: str) -> str:
    """Return the task id for a caller's `id`: always the same, and different for every caller."""
    given = id if len(id) <= MAX_OWN_ID_CHARACTERS else hashlib.sha256(id.encode()).hexdigest()
    return f"http-{context.caller_digest()[:16]}-{given}"


def _prepare_all(
    context: RequestContext, entries: Sequence[EnqueueTask], request: KeyedRequest | None, *, batch: bool
) -> list[OutgoingTask]:
    prepared = []
    for index, entry in enumerate(entries):
        id = None if entry.id is None else _callers_id(context, entry.id)
        if request is not None:
            id = request.id(index if batch else None)
        try:
            prepared.append(_prepare(context, entry, id))
        except (ArgumentsError, ConfigError, ProblemError) as error:
            if not batch:
                raise
            raise _in_batch(error, index) from None
    if len({task.message.id for task in prepared}) < len(prepared):
        raise ConfigError(f"some of the {len(prepared)} entries have the same id; give each its own; nothing was sent")
    return prepared


def _in_batch(error: ArgumentsError | ConfigError | ProblemError, index: int) -> Exception:
    """Return the same error with the position in the batch."""
    if isinstance(error, ProblemError):
        return ProblemError(error.kind, f"entry {index}: {error.text}; nothing was sent")
    return type(error)(f"entry {index}: {error}; nothing was sent")


def _prepare(context: RequestContext, entry: EnqueueTask, id: str | None) -> OutgoingTask:
    options = entry.options()
    options.pop("id", None)
    task = find_task(context.app, entry.task)
    args, kwargs = task.plan.signature.decode(entry.args, entry.kwargs)
    sender = task.with_options(**options)
    return sender._prepare(args, kwargs, sender.options._replace(id=id))
