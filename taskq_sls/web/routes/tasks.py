"""Tasks that were sent: list, show, wait, cancel, run again."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

from fastapi import APIRouter, Body, Path, Query, Request

from ...client.app import App
from ...client.waiting import wait_for_records
from ...core.redaction import contains_mask
from ...core.states import State
from ...errors import ConfigError, MissingResource, NotFound, PayloadMissing, ResultTimeout
from ...operations import tasks as operations
from ...operations.runs import Edit
from ...payloads.claim_check import fetch_result
from ...results.records import TaskRecord
from ..limits import MAX_LONG_POLLS, MAX_PAGE_RECORDS, MAX_WAIT_SECONDS
from ..models.tasks import ID, Cancelled, CancelTask, Retried, RetryTask, TaskDetail, TaskPage, detail, summary
from ..problems import ProblemError
from ..request_context import BODY, MASKED, Context, RequestContext, Timestamp, allowed, read_labels
from .enqueueing import find_task

router = APIRouter(prefix="/v1/tasks", tags=["tasks"])

TaskId = Annotated[str, Path(pattern=ID, description="The task's id.", examples=["order-4711-thumbnail"])]

MAX_RECORDS_READ = 2_000
"""Records that are read for one page, which takes a few seconds."""

NO_RECORD = (
    "the task has not started yet (records are made at the start, or with record='queued' at the enqueue), its record "
    "has expired, the task is not recorded, or the id is wrong"
)


@router.get("", operation_id="listTasks", summary="List tasks, newest first", **allowed("read"))
async def list_tasks(
    context: Context,
    status: Annotated[State | None, Query(description="QUEUED needs record='queued'.")] = None,
    task: Annotated[
        str | None, Query(max_length=200, description="Name of the task. Default: all tasks of the app.")
    ] = None,
    since: Annotated[
        Timestamp | None,
        Query(description="Start of the state if status is RETRYING or a final state, else the time of the enqueue."),
    ] = None,
    until: Annotated[Timestamp | None, Query(description="The same; exclusive.")] = None,
    label: Annotated[
        list[str] | None,
        Query(description="name=value; if given several times, all must match.", max_length=10),
    ] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE_RECORDS)] = 50,
    cursor: Annotated[str | None, Query(max_length=200, description="Cursor of the previous page.")] = None,
) -> TaskPage:
    """Records of tasks. Filters on labels, on status plus name, and on QUEUED or RUNNING are not indexed: 2,000 records
    are read for a page, which may then be shorter than `limit` and still have a cursor.
    """
    page = await context.app.results.alist(
        status=status,
        task=task,
        since=since,
        until=until,
        limit=limit,
        cursor=cursor,
        labels=read_labels(context.app, label or []),
        most_read=MAX_RECORDS_READ,
    )
    return TaskPage(tasks=[summary(context.app, record) for record in page], cursor=page.cursor)


@router.get(
    "/{id:path}",
    operation_id="getTask",
    summary="Show a task, or wait for its end",
    **allowed("read", "no-record"),
)
async def get_task(
    id: TaskId,
    context: Context,
    request: Request,
    wait: Annotated[
        float,
        Query(
            ge=0,
            le=MAX_WAIT_SECONDS,
            description="Seconds to wait for its end. The wait is shorter if the request must be answered earlier or many others wait; check `done`.",
        ),
    ] = 0,
    result: Annotated[bool, Query(description="Read a large result from the bucket.")] = True,
) -> TaskDetail:
    """The record of a task, or the problem no-record. A task in a queue has a record only if it is declared with
    record="queued".
    """
    long_polls: LongPolls = request.app.state.long_polls
    record = await long_polls.wait(context.app, id, min(wait, context.patience)) if wait else None
    if record is None:
        record = await context.services.results.get(id, now=context.now)
    if record is None:
        raise ProblemError("no-record", NO_RECORD, headers={"Retry-After": "1"})
    return await read_detail(context, record) if result else detail(context.app, record)


async def read_detail(context: RequestContext, record: TaskRecord) -> TaskDetail:
    """Return a record with its result, which may be in the bucket."""
    if record.result_key is None:
        return detail(context.app, record)
    try:
        return detail(context.app, await fetch_result(context.services.payloads, record))
    except PayloadMissing:
        return detail(context.app, record, missing=True)


@router.post(
    "/{id:path}/cancel",
    operation_id="cancelTask",
    summary="Cancel a task",
    response_model=Cancelled,
    **allowed("admin", *BODY, "no-record", "conflict"),
)
async def cancel_task(
    id: TaskId, context: Context, given: Annotated[CancelTask, Body(default_factory=CancelTask)]
) -> Any:
    """A running task is stopped at the next heartbeat of its worker."""
    with _conflicts("it has no record; give the name of the task to cancel it before it starts"):
        answer = await operations.cancel(context.app, context.services, id, task=given.task, queue=given.queue)
    return answer._asdict()


@router.post(
    "/{id:path}/retry",
    operation_id="retryTask",
    summary="Run a task again",
    status_code=202,
    response_model=Retried,
    **allowed("admin", *BODY, "no-record", "conflict", "not-over-http", "not-found", "not-sent"),
)
async def retry_task(id: TaskId, context: Context, given: Annotated[RetryTask, Body(default_factory=RetryTask)]) -> Any:
    """If the task is in the dead-letter queue, it is redriven as a new run with the same id. Otherwise a task that has
    ended is sent as a new task, with the given arguments, or with those of its record if they are complete and not
    redacted; this needs a task declared with `http=True`.
    """
    if contains_mask([given.args, given.kwargs, given.labels]):
        raise ProblemError("invalid", MASKED)
    edit = Edit(given.args, given.kwargs, given.labels)
    with _conflicts(NO_RECORD):
        retried = await operations.retry(
            context.app,
            context.services,
            id,
            edit=None if edit == Edit() else edit,
            group=given.group,
            check=lambda task: find_task(context.app, task),
        )
    return retried._asdict()


@contextmanager
def _conflicts(no_record: str) -> Iterator[None]:
    """Turn the operations' errors about the state of a task into problems."""
    try:
        yield
    except NotFound:
        raise ProblemError("no-record", no_record) from None
    except MissingResource:
        raise
    except ConfigError as error:
        raise ProblemError("conflict", str(error)) from None


CROWDED_WAIT_SECONDS = 1.0
"""Shortest wait of a request when `MAX_LONG_POLLS` others wait; the longest is three times that. The caller retries."""


class LongPolls:
    """Limits the waits of one process. More of them would only queue for the connections to the table."""

    def __init__(self) -> None:
        self._waiting = 0

    async def wait(self, app: App, id: str, seconds: float) -> TaskRecord | None:
        """Wait up to `seconds` for the end of a task, or less if `MAX_LONG_POLLS` requests wait already.

        Returns:
            Its record, or None if it did not end in time, or the table did not answer.
        """
        services = await app.services.on_loop(waiting=True)
        if self._waiting >= MAX_LONG_POLLS:
            await services.flow.sleep(min(seconds, CROWDED_WAIT_SECONDS * random.uniform(1, 3)))
            return None
        self._waiting += 1
        try:
            async with asyncio.timeout(seconds):
                return (await wait_for_records(app.clock, services, [id], seconds))[id]
        except (ResultTimeout, TimeoutError):
            return None
        finally:
            self._waiting -= 1
