"""Handles of tasks: their status, results and cancelling, and waiting for many."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from ..core.context import running_task
from ..core.flow import call_sync
from ..core.states import UNREADABLE, State
from ..core.times import DAY, MIN_RESULT_TTL
from ..errors import ConfigError, TaskCancelled, TaskError, TaskExpired, TaskFailed, TaskStalled, WaitInTask
from ..results.base import free_unique_key
from ..results.records import CancelAnswer, TaskRecord
from ..serialization import JsonSignature
from .runtime import ByName, Runtime, find_task
from .services import Services

if TYPE_CHECKING:
    from ..scheduler.store import ScheduleStore

R = TypeVar("R")


class TaskHandle(ByName, Generic[R]):
    """A task that was enqueued.

    Attributes:
        id: the task's id.
        task: the task's name.
        queue: logical name of the queue it went to.
    """

    __slots__ = ("_decode", "_record", "_runtime", "_unique_key", "id", "queue", "task")

    def __init__(
        self,
        runtime: Runtime,
        id: str,
        task: str,
        queue: str,
        record: str,
        decode: Callable[[str], R] | None,
        unique_key: str | None = None,
    ) -> None:
        self._runtime = runtime
        self.id = id
        self.task = task
        self.queue = queue
        self._record = record
        self._decode = decode
        self._unique_key = unique_key

    def __repr__(self) -> str:
        return f"<TaskHandle {self.task} {self.id}>"

    def __reduce__(self) -> tuple[Any, ...]:
        task = self._runtime.registry.get(self.task)
        decodes = self._decode is not None
        module = task.__module__ if task is not None and decodes else None
        fields = (self.id, self.task, self.queue, self._record, self._unique_key)
        return _restored, (self._runtime, *fields, module, decodes)

    def status(self) -> State:
        """The task's state. QUEUED if it is not recorded yet.

        Raises:
            ConfigError: the task records nothing.
            AwsError: the table cannot be read.
        """
        return call_sync("status", self._status(self._runtime.services.blocking()))

    async def astatus(self) -> State:
        """`status` for async code."""
        return await self._status(await self._runtime.services.on_loop())

    def result(self, timeout: float | None = None, *, allow_wait: bool = False) -> R:
        """Wait for the task to end, and return its result.

        Polls the table at growing, jittered intervals (50 ms to 2 s). Polls that fail for a transient reason are repeated.

        Args:
            timeout: seconds to wait, 0 or more; 0 polls once; None waits without a limit.
            allow_wait: wait inside a running task too. The task keeps its slot or thread meanwhile: if all slots wait,
                none is left to run the tasks they wait for. Not needed with ``timeout=0``.

        Raises:
            WaitInTask: called inside a running task without `allow_wait`.
            TaskFailed: it ended FAILED; carries the remote traceback.
            TaskCancelled: it was cancelled.
            TaskExpired: it was too old to be run.
            TaskStalled: its lease or its next attempt ended over 15 minutes ago, and no worker has started it.
            ResultTimeout: `timeout` passed; the task goes on.
            ConfigError: the task records nothing (``record="none"``).
        """
        check_may_wait("result()", timeout, allow_wait)
        return call_sync("result", self._result(self._runtime.services.blocking(waiting=True), timeout))

    async def aresult(self, timeout: float | None = None, *, allow_wait: bool = False) -> R:
        """`result` for async code."""
        check_may_wait("aresult()", timeout, allow_wait)
        return await self._result(await self._runtime.services.on_loop(waiting=True), timeout)

    def cancel(self) -> CancelAnswer:
        """Cancel the task.

        Returns:
            ``answer`` is ``cancelled`` (it will not start again), ``requested`` (it is running: an async task is
            cancelled at its worker's next heartbeat, a sync one can check ``ctx.cancelled``) or ``too_late`` (it has
            ended, in state ``status``).

        Raises:
            ConfigError: the task is recorded below ``started``.
        """
        return call_sync("cancel", self._cancel(self._runtime.services.blocking()))

    async def acancel(self) -> CancelAnswer:
        """`cancel` for async code."""
        return await self._cancel(await self._runtime.services.on_loop())

    async def _status(self, services: Services) -> State:
        self._needs_record("status()")
        record = await services.results.get(self.id, now=self._runtime.clock.time())
        if record is None:
            return State.QUEUED
        return State.FAILED if self._id_taken(record) else record.status

    async def _cancel(self, services: Services) -> CancelAnswer:
        if self._record not in ("started", "queued"):
            raise ConfigError(
                f"cancel(): task {self.task} has record={self._record!r}; cancelling needs record='started' or 'queued'"
            )
        now = self._runtime.clock.time()
        if self._runtime.registry.get(self.task) is not None:
            record = await services.results.get(self.id, now=now)
            if record is not None and self._id_taken(record):
                return CancelAnswer("too_late", State.FAILED)
        answer = await services.results.cancel(
            self.id, task=self.task, queue=self.queue, now=now, ttl=now + MIN_RESULT_TTL + DAY
        )
        if self._unique_key is not None and answer.status.terminal:
            await free_unique_key(services.results, self.task, self._unique_key, self.id)
        if answer.answer == "cancelled" and services.schedules is not None:
            await self._drop_schedules(services, services.schedules, now)
        return answer

    async def _drop_schedules(self, services: Services, schedules: ScheduleStore, now: float) -> None:
        """Delete the one-time schedules of the task: of its delay, and of its last retry."""
        from ..scheduler.firing import delay_name  # only if a scheduler is configured

        record = await services.results.get(self.id, now=now)
        names = {delay_name(self.id, 0, 0)}
        if record is not None:
            names.add(delay_name(self.id, record.run, record.attempt))
        for name in names:
            await schedules.delete(name)

    async def _result(self, services: Services, timeout: float | None) -> R:
        self._needs_record("result()")
        from .waiting import wait_for_records  # producers and workers that never wait need not load it

        record = (await wait_for_records(self._runtime.clock, services, [self.id], timeout))[self.id]
        return self._value(record)

    def _id_taken(self, record: TaskRecord) -> bool:
        """True if another task used the id first: this one is dead-lettered, without a record of its own."""
        return self._runtime.registry.different_tasks(self.task, record.task)

    def _value(self, record: TaskRecord) -> R:
        if self._id_taken(record):
            from ..results.rules import id_taken_by  # hardly any id is used twice

            raise TaskFailed(
                id=self.id,
                task=self.task,
                error_type="ClaimRefused",
                error_message=id_taken_by(record, self.task),
                traceback="",
                attempts=0,
                reason="id_taken",
            )
        error = error_of(record)
        if error is not None:
            raise error
        if record.result_json is None:
            if record.result_key is not None:
                from ..payloads.claim_check import missing_result_error  # hardly any result is that large

                raise missing_result_error(record)
            return None  # type: ignore[return-value]  # a task that returned nothing: R is None
        if self._decode is None:
            return record.result  # type: ignore[no-any-return]  # by name: plain JSON
        return self._decode(record.result_json)

    def _needs_record(self, call: str) -> None:
        if self._record == "none":
            raise ConfigError(
                f"{call}: task {self.task} has record='none', so its state is not stored; record it with record='finished' or more"
            )


def _restored(
    runtime: Runtime,
    id: str,
    task: str,
    queue: str,
    record: str,
    unique_key: str | None,
    module: str | None,
    decodes: bool,
) -> TaskHandle[Any]:
    """Unpickle a handle; `module` is that of the task's function, if the task is registered."""
    decode: Callable[[str], Any] | None = None
    if module is not None:
        decode = find_task(runtime, task, module)._definition.signature().decode_result
    elif decodes:
        decode = JsonSignature(task).decode_result
    return TaskHandle(
        runtime=runtime, id=id, task=task, queue=queue, record=record, decode=decode, unique_key=unique_key
    )


def error_of(record: TaskRecord) -> TaskError | None:
    """The error that `result()` raises for a record, or None if the task succeeded."""
    if record.status is State.SUCCEEDED:
        return None
    if record.status is State.CANCELLED:
        return TaskCancelled(f"task {record.task} {record.id} was cancelled", id=record.id, task=record.task)
    if record.status is State.EXPIRED:
        return TaskExpired(
            f"task {record.task} {record.id} was older than its expires_in when its turn came, and did not run",
            id=record.id,
            task=record.task,
        )
    if record.status is State.FAILED:
        info = record.error
        return TaskFailed(
            id=record.id,
            task=record.task,
            error_type=info.type if info else "?",
            error_message=info.message if info else "?",
            traceback=info.traceback if info else "",
            attempts=record.attempt,
            reason=record.reason,
        )
    if record.status == UNREADABLE:
        return TaskError(
            f"the record of task {record.task} {record.id} cannot be read: {record.error.message if record.error else '?'}",
            id=record.id,
            task=record.task,
        )
    return TaskStalled(
        f"task {record.task} {record.id} is {record.status} since attempt {record.attempt}, but its lease or its next "
        "attempt ended over 15 minutes ago, and no worker has started it again: are workers running?",
        id=record.id,
        task=record.task,
    )


def wait_all(
    handles: Iterable[TaskHandle[R]],
    timeout: float | None = None,
    on_progress: Callable[[int, int], None] | None = None,
    *,
    allow_wait: bool = False,
) -> list[R]:
    """Wait for many tasks, with batched reads, and return their results in order.

    Args:
        handles: of one app.
        timeout: seconds for all together; None waits without a limit.
        on_progress: called with (ended, total) whenever more have ended.
        allow_wait: wait inside a running task too; see `TaskHandle.result`.

    Raises:
        WaitInTask: called inside a running task without `allow_wait`.
        TaskError: all have ended, and some have failed; this is the error of the first, in order.
        ResultTimeout: some had not ended in time.
        ConfigError: an element is not a handle, the handles are of several apps, or a task is not recorded.
    """
    listed = _checked("wait_all()", handles, timeout, allow_wait)
    if not listed:
        return []
    services = listed[0]._runtime.services.blocking(waiting=True)
    return call_sync("wait_all", _wait_all(services, listed, timeout, on_progress))


async def await_all(
    handles: Iterable[TaskHandle[R]],
    timeout: float | None = None,
    on_progress: Callable[[int, int], None] | None = None,
    *,
    allow_wait: bool = False,
) -> list[R]:
    """`wait_all` for async code."""
    listed = _checked("await_all()", handles, timeout, allow_wait)
    if not listed:
        return []
    services = await listed[0]._runtime.services.on_loop(waiting=True)
    return await _wait_all(services, listed, timeout, on_progress)


def check_may_wait(call: str, timeout: float | None, allow_wait: bool) -> None:
    """Raise WaitInTask if a task is running here and the call would wait, unless the caller allows it."""
    context = running_task()
    if context is None or allow_wait or timeout == 0:
        return
    raise WaitInTask(
        f"{call} inside the running task {context.task}: it would keep its slot while it waits, and when all slots wait, "
        "none is left to run the tasks they wait for. Return here and let the last task enqueue the next step, poll "
        "with timeout=0, or pass allow_wait=True if enough slots are always left"
    )


def _checked(
    call: str, handles: Iterable[TaskHandle[R]], timeout: float | None, allow_wait: bool
) -> list[TaskHandle[R]]:
    """The handles as a list, if they can be waited for here and together."""
    check_may_wait(call, timeout, allow_wait)
    listed = list(handles) if isinstance(handles, Iterable) else None
    if listed is None or not all(isinstance(handle, TaskHandle) for handle in listed):
        raise ConfigError(
            f"wait_all: {handles!r:.80} must be a list of handles, as enqueue and enqueue_many return them"
        )
    if (apps := len({id(handle._runtime) for handle in listed})) > 1:
        raise ConfigError(f"wait_all: the handles belong to {apps} apps; wait for each app's handles apart")
    for handle in listed:
        handle._needs_record("wait_all()")
    return listed


async def _wait_all(
    services: Services,
    handles: Sequence[TaskHandle[R]],
    timeout: float | None,
    on_progress: Callable[[int, int], None] | None,
) -> list[R]:
    from .waiting import wait_for_records

    clock = handles[0]._runtime.clock
    records = await wait_for_records(clock, services, [handle.id for handle in handles], timeout, on_progress)
    return [handle._value(records[handle.id]) for handle in handles]
