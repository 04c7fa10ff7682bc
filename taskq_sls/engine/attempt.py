"""The values that the engine's functions share: compiled tasks, attempts, and the engine itself."""

from __future__ import annotations

import itertools
import logging
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from ..core import forks
from ..core.context import Execution, Progress, TaskContext
from ..core.delivery import Delivery, RetryIn
from ..core.fault_log import FaultLog
from ..core.message import Message
from ..core.observers import Observers
from ..core.options import TaskOptions
from ..core.redaction import mask_values, secret_values
from ..core.retry import RETENTION_MARGIN_SECONDS
from ..core.times import MAX_VISIBILITY_STEP, RETENTION
from ..errors import ArgumentsError
from ..middleware.compose import Onion
from ..results.records import Call, Claim, Fence
from ..serialization import JsonSignature, Signature

if TYPE_CHECKING:
    from ..core.clock import Clock
    from ..core.flow import Flow
    from ..payloads.base import PayloadStore
    from ..results.base import ResultBackend

logger = logging.getLogger("taskq_sls.task")

MAX_RECORDED_BODY = 4_000
"""Characters of a message whose arguments may be small enough to be recorded: a longer one is not searched for them."""

MIN_SCHEDULE_WAIT_SECONDS = 60.0
"""Seconds between two tries to make the schedule of a message that its queue will drop before long."""

DEADLINE_LEASE_SECONDS = 10.0
"""Time that a Lambda lease lasts beyond the function's deadline."""


class CompiledTask(NamedTuple):
    """A task, ready to run.

    Args:
        onion: the function inside its execute hooks.
        is_async: True for a coroutine function; a plain one needs a thread, or a process.
        aliases: former names of the task.
    """

    name: str
    options: TaskOptions
    signature: Signature
    onion: Onion
    is_async: bool
    aliases: tuple[str, ...] = ()

    @property
    def killable(self) -> bool:
        """True if a cancel may end the function: a coroutine is cancelled, a process killed, a thread only asked."""
        return self.is_async or self.options.run_in == "process"

    @property
    def is_claimed(self) -> bool:
        """True if the table counts the attempts, under a lease; else the receive count bounds them."""
        return self.options.record in ("started", "queued")


class Definition(NamedTuple):
    """A task as it was registered.

    Args:
        signature: compiled at registration, or at first use if an annotation names something that is defined later.
        plan: the compiled task; None for a task known by name only.
    """

    name: str
    options: TaskOptions
    signature: Callable[[], Signature | JsonSignature]
    plan: Callable[[], CompiledTask] | None
    middlewares: tuple[Any, ...]
    function: Callable[..., Any] | None
    wants_context: bool


class Attempt:
    """One delivery on its way through the engine.

    Args:
        now: epoch seconds; the lease begins here.
        deadline: epoch seconds at which the process will be killed (Lambda), or None.
        thread_wait: seconds that a sync task waited for a thread.

    Attributes:
        context: the attempt as users see it.
        execution: the state that the attempt shares with its context, its hooks and its function.
        fence: compared with the record by each write of the attempt; None before the claim, and without one.
        lease_until: epoch seconds at which the lease ends.
        leased_at: when the lease last began, by the monotonic clock.
        progress_saved: the progress that the table has.
        started_at: when the function was entered, in epoch seconds; 0 before.
    """

    fence: Fence | None = None
    lease_until = leased_at = started_at = 0.0
    progress_saved: Progress | None = None

    def __init__(
        self,
        engine: Engine,
        delivery: Delivery,
        message: Message,
        compiled: CompiledTask,
        now: float,
        deadline: float | None = None,
        thread_wait: float = 0.0,
    ) -> None:
        options = compiled.options
        timeout = options.timeout
        self.delivery = delivery
        self.message = message
        self.compiled = compiled
        self.deadline = stop_at = deadline
        self.thread_wait = thread_wait
        call: Call | None = None
        if options.record_arguments and message.payload is None and len(delivery.body) <= MAX_RECORDED_BODY:
            call = compiled.signature.shown(message.args, message.kwargs)
        # Positional, since keywords cost a microsecond per attempt.
        self.claim = Claim(
            message.id,
            message.run,
            compiled.name,
            delivery.queue,
            engine.new_owner(),
            now,
            now + engine.visibility_timeout(delivery.queue) if deadline is None else deadline + DEADLINE_LEASE_SECONDS,
            options.retry.max_attempts,
            (now if message.not_before is None else max(now, message.not_before)) + options.result_ttl,
            message.enqueued_at or delivery.sent_at,
            message.labels,
            message.parent,
            message.unique_key,
            call,
            compiled.aliases,
        )
        self.execution = execution = Execution()
        execution.call = message.args, message.kwargs
        if timeout is not None:
            execution.stuck_after = options.stuck_after
            stop_at = now + timeout if deadline is None else min(deadline, now + timeout)
        self.context = TaskContext(
            message.id,
            compiled.name,
            queue=delivery.queue,
            run=message.run,
            labels=message.labels,
            deadline=stop_at,
            depth=message.depth,
            parent=message.parent,
            state=engine.state,
            timeout=timeout,
            options=options.extra,
            scheduled_for=None if message.schedule is None else message.schedule.get("at"),
            _execution=execution,
        )

    def decode_arguments(self) -> ArgumentsError | None:
        """Decode the arguments of the function; return the error if they do not fit it."""
        execution, message, signature = self.execution, self.message, self.compiled.signature
        try:
            execution.args, execution.kwargs = signature.decode(message.args, message.kwargs)
        except ArgumentsError as error:
            return error
        if signature.redact:
            args = [
                {name: arg} for name, arg in zip(signature.positions(len(message.args)), message.args, strict=False)
            ]
            secrets = set(secret_values([args, message.kwargs, message.labels], signature.redact))
            execution.mask = lambda text: mask_values(text, secrets)
        return None


@dataclass(slots=True, kw_only=True)
class Engine:
    """Everything that the attempts of one driver share. Made by a running driver.

    Args:
        find_task: the compiled task of a name, or None.
        results: the result backend.
        visibility_timeout: in seconds, by logical queue name; the first lease is as long.
        task_names: all known names, for the error about an unknown one.
        max_receives: receives of a message before SQS moves it to the dead-letter queue, by logical queue name.
        payloads: the store of arguments and results too large for a message or the table, or None.
        can_schedule: True if a one-time schedule can bring a message back.
        state: the value that the app's lifespan yielded; `TaskContext.state`.
        observers: the policies.

    Attributes:
        failing_queues: logical names of queues whose last claim failed over a fault that may pass.
        process: `forks.generation` of the process that runs attempts; another one is a fork that a function made.
    """

    find_task: Callable[[str], CompiledTask | None]
    results: ResultBackend
    flow: Flow
    clock: Clock
    visibility_timeout: Callable[[str], float]
    task_names: Callable[[], Iterable[str]]
    max_receives: Callable[[str], float]
    payloads: Callable[[], PayloadStore | None]
    can_schedule: Callable[[], bool]
    state: object
    observers: Observers
    failing_queues: set[str] = field(default_factory=set)
    claim_faults: FaultLog = field(init=False)
    record_faults: FaultLog = field(init=False)
    payload_faults: FaultLog = field(init=False)
    process: int = field(default_factory=lambda: forks.generation)
    # An owner token is unique: random for the engine, counted for the attempt. Drawing each at random would release
    # the GIL in the middle of every attempt. A running driver makes the engine, so that neither a fork nor a restored
    # snapshot can share its tokens.
    _token: str = field(default_factory=lambda: os.urandom(8).hex() + "-")
    _serial: Iterator[int] = field(default_factory=itertools.count)

    def __post_init__(self) -> None:
        self.claim_faults = FaultLog(logger, "the state table cannot be reached", "claim_fault")
        self.record_faults = FaultLog(logger, "ends of attempts cannot be stored", "finish_delayed")
        self.payload_faults = FaultLog(logger, "the arguments of large messages cannot be fetched", "payload_fault")

    def new_owner(self) -> str:
        """An owner token for one attempt."""
        return f"{self._token}{next(self._serial):x}"

    def is_last_receive(self, delivery: Delivery) -> bool:
        """True if SQS will move the message to the dead-letter queue in place of another receive."""
        return delivery.receive_count >= self.max_receives(delivery.queue)

    def exceeds_retention(self, delivery: Delivery, delay: float) -> bool:
        """True if the queue drops the message before `delay` seconds have passed, and no schedule could bring it."""
        return delay > self._seconds_kept(delivery, self.clock.time()) and not self.can_schedule()

    @staticmethod
    def _seconds_kept(delivery: Delivery, now: float) -> float:
        return delivery.sent_at + RETENTION - RETENTION_MARGIN_SECONDS - now

    def retry_in(self, delivery: Delivery, message: Message, attempt: int, delay: float, reason: str) -> RetryIn:
        """The wait for a start in `delay` seconds; by a schedule if the queue cannot keep the message so long.

        Args:
            attempt: the last one that was started.
        """
        # In a FIFO queue the message keeps its place as long as it can.
        keeps = delay <= MAX_VISIBILITY_STEP or delivery.queue.endswith(".fifo")
        now = self.clock.time()
        seconds_kept = self._seconds_kept(delivery, now)
        if (keeps and delay <= seconds_kept) or not self.can_schedule():
            return RetryIn(delay, reason)
        from ..scheduler.delays import late_retry  # few tasks wait that long

        later = late_retry(delivery, message, attempt, now + delay, now)
        # If the schedule cannot be made, the message comes again while there is time to try anew.
        return RetryIn(min(delay, max(MIN_SCHEDULE_WAIT_SECONDS, seconds_kept)), reason, later)
