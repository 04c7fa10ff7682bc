"""Tasks that were sent: look, wait, cancel, run again."""

from __future__ import annotations

import asyncio
import random
from typing import Annotated, Any

from fastapi import APIRouter, Body, Path, Query, Request

from ...client.app import App
from ...client.waiting import wait_for_records
from ...core.redaction import MASK, contains_mask
from ...core.states import State
from ...errors import ConfigError, MissingResource, NotFound, PayloadMissing, ResultTimeout
from ...operations import tasks as operations
from ...operations.editing import Edit
from ...payloads.claim_check import fetch_result
from ...results.records import TaskRecord
from ..limits import MAX_LONG_POLLS, MAX_PAGE_RECORDS, MAX_WAIT_SECONDS
from ..models.base import Timestamp
from ..models.tasks import ID, Cancelled, CancelTask, Retried, RetryTask, TaskDetail, TaskPage, detail, summary
from ..problems import ProblemError
from ..request_context import BODY, Context, allowed
from .enqueueing import find_task
from .filters import read_labels

router = APIRouter(prefix="/v1/tasks", tags=["tasks"])

TaskId = Annotated[str, Path(pattern=ID, description="The task's id.", examples=["order-4711-thumbnail"])]

MAX_RECORDS_READ = 2_000
"""Records that are looked at for one page: a few seconds."""

NO_RECORD = (
    "there is no record of it: it has not started yet (it is recorded when it starts, with record='queued' when it is "
    "sent), its record expired, it is not recorded at all, or the id is another one"
)


@router.get(
    "", operation_id="listTasks", summary="List tasks, newest first", response_model=TaskPage, **allowed("read")
)
async def list_tasks(
    context: Context,
    status: Annotated[State | None, Query(description="QUEUED needs record='queued'.")] = None,
    task: Annotated[str | None, Query(max_length=200, description="Name of the task. Default: all of the app.")] = None,
    since: Annotated[
        Timestamp | None,
        Query(
            description="Of the state's begin where status is one of RETRYING and those that end a task; else of the enqueue."
        ),
    ] = None,
    until: Annotated[Timestamp | None, Query(description="The same, exclusive.")] = None,
    label: Annotated[
        list[str] | None,
        Query(description="name=value; may be given several times: all of them.", max_length=10),
    ] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE_RECORDS)] = 50,
    cursor: Annotated[str | None, Query(max_length=200, description="Of the page before.")] = None,
) -> TaskPage:
    """Records of tasks. Of labels, of a status together with a name, and of QUEUED and RUNNING no index knows: for them
    records are looked at one by one, 2,000 for a page, which may hold less than `limit` and yet have a cursor.
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
    summary="Show a task, or wait for it",
    response_model=TaskDetail,
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
            description="Wait up to so many seconds until it has ended. It may be less where the front's time is short or many others wait; look at `done`.",
        ),
    ] = 0,
    result: Annotated[bool, Query(description="Whether to read a large result from the bucket.")] = True,
) -> TaskDetail:
    """What is known of a task. Without a record of it the answer is the problem no-record, also while it waits in a
    queue, unless it is declared with record="queued".
    """
    long_polls: LongPolls = request.app.state.long_polls
    record = await long_polls.wait(context.app, id, min(wait, context.patience)) if wait else None
    if record is None:
        record = await context.services.results.get(id, now=context.now)
    if record is None:
        raise ProblemError("no-record", NO_RECORD, headers={"Retry-After": "1"})
    if record.result_key is None or not result:
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
    """A task that runs is told, and stops at its worker's next heartbeat."""
    try:
        answer = await operations.cancel(context.app, context.services, id, task=given.task, queue=given.queue)
    except NotFound:
        raise ProblemError("no-record", "give the name of the task, and it is cancelled before it starts") from None
    except MissingResource:
        raise
    except ConfigError as error:
        raise ProblemError("conflict", str(error)) from None
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
    """Where its dead letter is there, that is sent back, as a new run of the same id. Otherwise a task that has ended is
    sent anew, with the arguments given here, else with those of its record, which may lack or hide some; that needs a
    task declared with `http=True`.
    """
    if contains_mask([given.args, given.kwargs, given.labels]):
        raise ProblemError("invalid", f"a value is {MASK!r}, which stands for a hidden one: give the real value")
    edit = Edit(given.args, given.kwargs, given.labels)
    try:
        retried = await operations.retry(
            context.app,
            context.services,
            id,
            edit=None if edit == Edit() else edit,
            group=given.group,
            check=lambda task: find_task(context.app, task),
        )
    except NotFound:
        raise ProblemError("no-record", NO_RECORD) from None
    except MissingResource:
        raise
    except ConfigError as error:
        raise ProblemError("conflict", str(error)) from None
    return retried._asdict()


CROWDED_WAIT_SECONDS = 1.0
"""How long a request waits at least that found no place; at most three times as long. Its caller asks again then."""


class LongPolls:
    """The waits of one process. Further ones would only queue for the connections to the table."""

    def __init__(self) -> None:
        self._under_way = 0

    async def wait(self, app: App, id: str, seconds: float) -> TaskRecord | None:
        """Wait for the end of a task.

        Args:
            seconds: longest wait. It is less if `MAX_LONG_POLLS` requests wait already.

        Returns:
            Its record, or None if it has not ended in time, or the table has not answered.
        """
        services = await app.services.on_loop(waiting=True)
        if self._under_way >= MAX_LONG_POLLS:
            await services.flow.sleep(min(seconds, CROWDED_WAIT_SECONDS * random.uniform(1, 3)))
            return None
        self._under_way += 1
        try:
            async with asyncio.timeout(seconds):
                return (await wait_for_records(app.clock, services, [id], seconds))[id]
        except (ResultTimeout, TimeoutError):
            return None
        finally:
            self._under_way -= 1
