"""The values that the engine's functions share: compiled tasks, attempts, observers, and the engine itself."""

from __future__ import annotations

import itertools
import logging
import math
import os
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from ..core.context import Execution, Progress, TaskContext
from ..core.delivery import Delivery, Outcome
from ..core.fault_log import FaultLog
from ..core.message import Message
from ..core.options import TaskOptions
from ..middleware.compose import Onion
from ..serialization import JsonSignature, Signature

if TYPE_CHECKING:
    from ..core.clock import Clock
    from ..core.flow import Flow
    from ..payloads.base import PayloadStore
    from ..results.base import ResultBackend
    from ..results.records import AttemptEnd, Claim, Fence

logger = logging.getLogger("taskq_sls.task")


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


FindTask = Callable[[str], CompiledTask | None]


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

    Attributes:
        context: the attempt as users see it.
        execution: the state that the attempt shares with its context, its hooks and its function.
        deadline: epoch seconds at which the process will be killed (Lambda), or None.
        fence: compared with the record by each write of the attempt; None before the claim, and without one.
        lease_until: epoch seconds at which the lease ends.
        leased_at: when the lease last began, by the monotonic clock.
        progress_saved: the progress that the table has.
        started_at: when the function was entered, in epoch seconds; 0 before.
        thread_wait: seconds that a sync task waited for a thread.
    """

    __slots__ = (
        "claim",
        "compiled",
        "context",
        "deadline",
        "delivery",
        "execution",
        "fence",
        "lease_until",
        "leased_at",
        "message",
        "progress_saved",
        "started_at",
        "thread_wait",
    )

    def __init__(
        self,
        delivery: Delivery,
        message: Message,
        compiled: CompiledTask,
        claim: Claim,
        state: object,
        deadline: float | None,
    ) -> None:
        options = compiled.options
        timeout = options.timeout
        self.delivery = delivery
        self.message = message
        self.compiled = compiled
        self.claim = claim
        self.deadline = stop_at = deadline
        self.fence: Fence | None = None
        self.lease_until = self.leased_at = self.started_at = self.thread_wait = 0.0
        self.progress_saved: Progress | None = None
        self.execution = execution = Execution()
        execution.call = message.args, message.kwargs
        if timeout is not None:
            execution.stuck_after = options.stuck_after
            stop_at = claim.now + timeout if deadline is None else min(deadline, claim.now + timeout)
        self.context = TaskContext(
            message.id,
            compiled.name,
            queue=delivery.queue,
            run=message.run,
            labels=message.labels,
            deadline=stop_at,
            depth=message.depth,
            parent=message.parent,
            state=state,
            timeout=timeout,
            options=options.extra,
            scheduled_for=None if message.schedule is None else message.schedule.get("at"),
            _execution=execution,
        )


class Observer:
    """A policy beside the engine. Override the hooks that it needs.

    Hooks are called on the event loop and return at once. An exception in a hook is logged, and changes no outcome.
    """

    def admit(self, engine: Engine, attempt: Attempt) -> Awaitable[Outcome | None] | None:
        """Decide if an attempt that was just claimed may start. Called last before its function.

        Returns:
            None to let it start, or an awaitable of None or of an outcome: the message's, if the attempt must not start.
            The outcome must be durable then (`recording.record` or `recording.release`).
        """

    def attempt_started(self, attempt: Attempt) -> None:
        """The function is about to be entered."""

    def attempt_failing(self, attempt: Attempt, end: AttemptEnd) -> None:
        """The attempt has no result, and its end is not stored yet: a retry, a failure, a cancel or an expiry.

        Called again, with a failure, if the record has no room for the retry or for the result.
        """

    def attempt_ended(self, attempt: Attempt, end: AttemptEnd) -> None:
        """The end is stored. `attempt.started_at` is 0 if the task ended without this delivery's attempt."""

    def attempt_dropped(self, attempt: Attempt, reason: str) -> None:
        """The attempt has no end: ``released`` to the queue, or ``lease_lost`` to another holder."""

    def message_done(self, engine: Engine, message: Message) -> Awaitable[None] | None:
        """The task is over, and its message leaves the queue."""


class Observers:
    """The hooks of all observers, by hook: one that nobody overrides costs nothing."""

    def __init__(self, observers: Sequence[Observer] = ()) -> None:
        self._hooks: dict[str, tuple[Callable[..., Any], ...]] = {}
        for name, default in vars(Observer).items():
            if not name.startswith("_"):
                overridden = [each for each in observers if getattr(type(each), name) is not default]
                self._hooks[name] = tuple(getattr(each, name) for each in overridden)

    def notify(self, name: str, *args: object) -> None:
        """Call plain hooks."""
        for hook in self._hooks[name]:
            try:
                hook(*args)
            except Exception:
                _log_fault(hook)

    def ask(self, name: str, engine: Engine, subject: Attempt | Message) -> Awaitable[Any] | None:
        """Call hooks that may answer with an awaitable, up to the first value that is not None.

        Returns:
            None if no hook answers, as for most attempts; else an awaitable of the value.
        """
        hooks = self._hooks[name]
        for hook in hooks:
            try:
                answer = hook(engine, subject)
            except Exception:
                _log_fault(hook)
            else:
                if answer is not None:
                    return self._first_value(hook, answer, hooks[hooks.index(hook) + 1 :], engine, subject)
        return None

    @staticmethod
    async def _first_value(
        hook: Callable[..., Any],
        answer: Awaitable[Any] | None,
        others: Sequence[Callable[..., Any]],
        engine: Engine,
        subject: Attempt | Message,
    ) -> Any:
        while True:
            try:
                if answer is not None and (value := await answer) is not None:
                    return value
            except Exception:
                _log_fault(hook)
            if not others:
                return None
            (hook, *others), answer = others, None
            try:
                answer = hook(engine, subject)
            except Exception:
                _log_fault(hook)


def _log_fault(hook: Callable[..., Any]) -> None:
    logger.exception("%s raised, and is ignored", hook.__qualname__, extra={"action": "observer_fault"})


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
        pid: of the process that runs attempts; another one is a fork that a function made.
    """

    find_task: FindTask
    results: ResultBackend
    flow: Flow
    clock: Clock
    visibility_timeout: Callable[[str], float]
    task_names: Callable[[], Iterable[str]] = tuple
    max_receives: Callable[[str], float] = lambda queue: math.inf
    payloads: Callable[[], PayloadStore | None] = lambda: None
    can_schedule: Callable[[], bool] = lambda: False
    state: object = None
    observers: Observers = field(default_factory=Observers)
    failing_queues: set[str] = field(default_factory=set)
    claim_faults: FaultLog = field(
        default_factory=lambda: FaultLog(logger, "the state table cannot be reached", "claim_fault")
    )
    record_faults: FaultLog = field(
        default_factory=lambda: FaultLog(logger, "ends of attempts cannot be stored", "finish_delayed")
    )
    payload_faults: FaultLog = field(
        default_factory=lambda: FaultLog(logger, "the arguments of large messages cannot be fetched", "payload_fault")
    )
    pid: int = field(default_factory=os.getpid)
    # An owner token is unique: random for the engine, counted for the attempt. Drawing each at random would release
    # the GIL in the middle of every attempt. A running driver makes the engine, so that neither a fork nor a restored
    # snapshot can share its tokens.
    _token: str = field(default_factory=lambda: os.urandom(8).hex() + "-")
    _serial: Iterator[int] = field(default_factory=itertools.count)

    def new_owner(self) -> str:
        """An owner token for one attempt."""
        return f"{self._token}{next(self._serial):x}"
