"""Sending tasks."""

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
from ..idempotency import MAX_KEY_CHARACTERS, Request, begin, finish, release
from ..models.tasks import EnqueueBatch, Enqueued, EnqueuedBatch, EnqueueTask
from ..problems import ProblemError
from ..request_context import BODY, Context, RequestContext, allowed

router = APIRouter(prefix="/v1", tags=["tasks"])

MAX_OWN_ID_CHARACTERS = 78
"""Characters of an id of the caller's choice that stay readable in the task's id, which has at most 100."""

IdempotencyKey = Annotated[
    str | None,
    Header(
        min_length=1,
        max_length=MAX_KEY_CHARACTERS,
        pattern=r"^[\x21-\x7e]+$",
        description="Of your choice, one per request. A request that comes again with the same key within a day makes no "
        "second task; another request with it is refused.",
    ),
]

KINDS = ("not-over-http", "not-found", "conflict", "duplicate-task", "request-in-progress", "key-reused", *BODY)


@router.post(
    "/tasks",
    operation_id="enqueueTask",
    summary="Send a task",
    status_code=202,
    response_model=Enqueued,
    **allowed("enqueue", *KINDS, "not-sent", "no-scheduler"),
)
async def enqueue(
    entry: EnqueueTask, context: Context, response: Response, idempotency_key: IdempotencyKey = None
) -> Enqueued:
    """Answers when the queue has accepted the task. Only tasks that are declared with `http=True` can be sent.

    With an Idempotency-Key the task's id is made of it; leave out id and unique_key.
    """
    sent = (await _send(context, [entry], idempotency_key, response, batch=False))[0]
    response.headers["Location"] = f"{context.prefix}/v1/tasks/{quote(sent.id, safe='')}"
    return sent


@router.post(
    "/tasks/batch",
    operation_id="enqueueTasks",
    summary="Send several tasks",
    status_code=202,
    response_model=EnqueuedBatch,
    **allowed("enqueue", *KINDS, "not-sent", "no-scheduler"),
)
async def enqueue_batch(
    batch: EnqueueBatch, context: Context, response: Response, idempotency_key: IdempotencyKey = None
) -> EnqueuedBatch:
    """All are checked before any is sent. The problem not-sent names those that no queue has accepted; the others are
    sent. With an Idempotency-Key the same request can be repeated until all are.
    """
    return EnqueuedBatch(tasks=await _send(context, batch.tasks, idempotency_key, response, batch=True))


def find_task(app: App, name: str) -> Task[..., Any]:
    """A task that may be sent over HTTP.

    Raises:
        ProblemError: there is none of that name, or it may not.
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
                raise ProblemError("invalid", "the Idempotency-Key names the tasks: leave out id and unique_key")
        # What is wrong with the request is found before its key is taken.
        prepared = _prepared(context, entries, None, batch=batch)
        content = [entry.model_dump() for entry in entries]
        request = await begin(context, key, content, prepared[0].queue)
        if request.done:
            response.headers["Idempotency-Replayed"] = "true"
            ids = [request.id(index if batch else None) for index in range(len(entries))]
            return [
                Enqueued(id=id, task=task.message.task, queue=task.queue)
                for id, task in zip(ids, prepared, strict=True)
            ]
    return await _carry_out(context, _prepared(context, entries, request, batch=batch), request)


async def _carry_out(
    context: RequestContext, prepared: Sequence[OutgoingTask], request: Request | None
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
        # Also where some was sent: when the request comes again, it has the same ids.
        if request is not None:
            await release(context, request)
        raise
    if request is not None:
        await finish(context, request)
    return answers


def _callers_id(context: RequestContext, id: str) -> str:
    """The id of a task whose caller has chosen `id`: the same each time, and one that no other caller can use."""
    given = id if len(id) <= MAX_OWN_ID_CHARACTERS else hashlib.sha256(id.encode()).hexdigest()
    return f"http-{context.caller_digest()[:16]}-{given}"


def _prepared(
    context: RequestContext, entries: Sequence[EnqueueTask], request: Request | None, *, batch: bool
) -> list[OutgoingTask]:
    prepared = []
    for index, entry in enumerate(entries):
        options = entry.options()
        id = options.pop("id", None)
        if request is not None:
            id = request.id(index if batch else None)
        elif id is not None:
            id = _callers_id(context, id)
        try:
            task = find_task(context.app, entry.task)
            args, kwargs = task.plan.signature.decode(entry.args, entry.kwargs)
            sender = task.with_options(**options)
            prepared.append(sender._prepare(args, kwargs, sender.options._replace(id=id)))
        except (ArgumentsError, ConfigError) as error:
            if not batch:
                raise
            raise type(error)(f"entry {index}: {error}; nothing was sent") from None
        except ProblemError as error:
            if not batch:
                raise
            raise ProblemError(error.kind, f"entry {index}: {error.text}; nothing was sent") from None
    if len({task.message.id for task in prepared}) < len(prepared):
        raise ConfigError(f"{len(prepared)} entries share ids; give each its own; nothing was sent")
    return prepared
