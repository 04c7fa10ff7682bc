"""Faults on purpose, by seed: calls that fail before their effect, or after it with the answer lost.

One :class:`Faults` decides for everything that is to fail together: give it to an
:class:`~taskq_sls.testing.AdversarialBroker`, to :class:`FaultyResults` and to a
:class:`~taskq_sls.testing.FaultyPort`.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Any, NamedTuple, TypeVar

from ..core.context import Progress
from ..core.number_checks import is_number
from ..core.states import State
from ..errors import AwsError, ConfigError
from ..results.base import Page, Query, ResultBackend
from ..results.records import AttemptEnd, CancelAnswer, Claim, Claimed, Fence, KeyLock, Refused, Renewed, TaskRecord

T = TypeVar("T")
Item = TypeVar("Item")


class Fault(NamedTuple):
    """One way for a call to fail.

    Args:
        code: as `AwsError.code` has it.
        status: HTTP status, 0 when no answer came.
        ambiguous: whether the caller cannot know if the call took effect.
        before, after: whether it can strike before and after the effect.
    """

    code: str
    status: int
    ambiguous: bool
    before: bool
    after: bool

    def error(self, operation: str) -> AwsError:
        """The error that the port raises for it."""
        return AwsError(
            operation,
            self.code,
            "injected by the test",
            status=self.status,
            transient=True,
            ambiguous=self.ambiguous,
        )


THROTTLED = Fault("ThrottlingException", 400, ambiguous=False, before=True, after=False)
EXPIRED_CREDENTIALS = Fault("ExpiredTokenException", 400, ambiguous=False, before=True, after=False)
SERVER_ERROR = Fault("InternalServerError", 500, ambiguous=True, before=True, after=True)
CONNECTION_RESET = Fault("ConnectionClosedError", 0, ambiguous=True, before=True, after=True)
READ_TIMEOUT = Fault("ReadTimeoutError", 0, ambiguous=True, before=True, after=True)
TRUNCATED_ANSWER = Fault("IncompleteReadError", 0, ambiguous=True, before=False, after=True)

FAULTS = (THROTTLED, EXPIRED_CREDENTIALS, SERVER_ERROR, CONNECTION_RESET, READ_TIMEOUT, TRUNCATED_ANSWER)
"""All the transient ways in which a call to AWS fails."""


class Faults:
    """Decides which calls fail. The same seed and the same calls give the same faults.

    Args:
        seed: of the decisions.
        before: chance, 0 to 1, that a call fails before its effect.
        after: chance that its answer is lost after the effect: the case that matters.
        entries: chance that one entry of a batch fails, half of the time after its effect.
        operations: only calls of these names fail; None: any may.
        kinds: the faults to choose from.

    Attributes:
        counts: faults so far, by operation and code, with `` (after)`` behind those that followed the effect.

    Raises:
        ConfigError: a chance is not from 0 to 1, or `before` and `after` together are above 1.
    """

    def __init__(
        self,
        seed: int,
        *,
        before: float = 0.05,
        after: float = 0.05,
        entries: float = 0.03,
        operations: Collection[str] | None = None,
        kinds: Sequence[Fault] = FAULTS,
    ) -> None:
        for name, chance in (
            ("before", before),
            ("after", after),
            ("entries", entries),
            ("before + after", before + after),
        ):
            check_chance("Faults", name, chance)
        self._random = random.Random(seed)
        self._before = before
        self._after = after
        self._entries = entries
        self._operations = operations
        self._kinds_before = [kind for kind in kinds if kind.before]
        self._kinds_after = [kind for kind in kinds if kind.after]
        self._calm = False
        self._down: set[str] = set()
        self.counts: Counter[str] = Counter()

    def calm(self) -> None:
        """No more faults from now on."""
        self._calm = True

    def break_down(self, *operations: str) -> None:
        """Let every call of these operations fail, before its effect, until `mend`."""
        self._down.update(operations)

    def mend(self) -> None:
        """End the outage that `break_down` began."""
        self._down.clear()

    async def around(self, operation: str, call: Callable[[], Awaitable[T]]) -> T:
        """Make a call, or fail it.

        Raises:
            AwsError: a fault was injected, or the call raised it.
        """
        if self._calm or not self._concerns(operation):
            return await call()
        if operation in self._down:
            raise self._count(SERVER_ERROR, operation, "")
        drawn = self._random.random()
        if drawn < self._before and self._kinds_before:
            raise self._count(self._random.choice(self._kinds_before), operation, "")
        if drawn < self._before + self._after and self._kinds_after:
            fault = self._random.choice(self._kinds_after)
            try:
                await call()
            except AwsError:  # a refusal is an answer too, and it is lost
                pass
            raise self._count(fault, operation, " (after)")
        return await call()

    def split(self, operation: str, entries: Sequence[Item]) -> tuple[list[int], set[int]]:
        """Which entries of a batch take effect, by position, and which are answered as failed.

        An entry may be in both: it took effect, and its answer is an error.
        """
        effective, failed = list(range(len(entries))), set[int]()
        if self._calm or not self._entries or not self._concerns(operation):
            return effective, failed
        for position in range(len(entries)):
            drawn = self._random.random()
            if drawn < self._entries:
                failed.add(position)
                self.counts[f"{operation} entry{'' if drawn < self._entries / 2 else ' (after)'}"] += 1
                if drawn < self._entries / 2:
                    effective.remove(position)
        return effective, failed

    def _concerns(self, operation: str) -> bool:
        return self._operations is None or operation in self._operations

    def _count(self, fault: Fault, operation: str, moment: str) -> AwsError:
        self.counts[f"{operation} {fault.code}{moment}"] += 1
        return fault.error(operation)


def check_chance(where: str, name: str, chance: float) -> None:
    """Raise ConfigError unless the value is a chance from 0 to 1."""
    if not is_number(chance, 0, 1):
        raise ConfigError(f"{where}: {name}={chance!r} must be a chance from 0 to 1")


class FaultyResults(ResultBackend):
    """A result backend whose operations fail as `faults` decides, before and after their effect.

    Operations have the names of the methods: ``claim``, ``renew``, ``finish``, ``release``, ...
    """

    def __init__(self, inner: ResultBackend, faults: Faults) -> None:
        self._inner = inner
        self._around = faults.around

    async def claim(self, claim: Claim) -> Claimed | Refused:
        return await self._around("claim", lambda: self._inner.claim(claim))

    async def renew(
        self, fence: Fence, *, now: float, lease_until: float, progress: Progress | None = None
    ) -> Renewed | None:
        return await self._around(
            "renew", lambda: self._inner.renew(fence, now=now, lease_until=lease_until, progress=progress)
        )

    async def finish(self, fence: Fence, finish: AttemptEnd) -> State | None:
        return await self._around("finish", lambda: self._inner.finish(fence, finish))

    async def release(self, fence: Fence, *, now: float) -> bool:
        return await self._around("release", lambda: self._inner.release(fence, now=now))

    async def close_abandoned(self, record: TaskRecord, finish: AttemptEnd) -> bool:
        return await self._around("close_abandoned", lambda: self._inner.close_abandoned(record, finish))

    async def close_idle(self, record: TaskRecord, finish: AttemptEnd) -> bool:
        return await self._around("close_idle", lambda: self._inner.close_idle(record, finish))

    async def expire(self, claim: Claim) -> bool:
        return await self._around("expire", lambda: self._inner.expire(claim))

    async def put_queued(self, claim: Claim) -> bool:
        return await self._around("put_queued", lambda: self._inner.put_queued(claim))

    async def put_finished(self, claim: Claim, attempt: int, finish: AttemptEnd) -> None:
        return await self._around("put_finished", lambda: self._inner.put_finished(claim, attempt, finish))

    async def cancel(self, id: str, **more: Any) -> CancelAnswer:
        return await self._around("cancel", lambda: self._inner.cancel(id, **more))

    async def lock_key(self, lock: KeyLock, replacing: KeyLock | None = None) -> KeyLock:
        return await self._around("lock_key", lambda: self._inner.lock_key(lock, replacing))

    async def confirm_key(self, task: str, key: str, id: str) -> bool:
        return await self._around("confirm_key", lambda: self._inner.confirm_key(task, key, id))

    async def free_key(self, task: str, key: str, id: str, *, locked_at: float | None = None) -> bool:
        return await self._around("free_key", lambda: self._inner.free_key(task, key, id, locked_at=locked_at))

    async def get(self, id: str, *, now: float) -> TaskRecord | None:
        return await self._around("get", lambda: self._inner.get(id, now=now))

    async def get_many(self, ids: Sequence[str], *, now: float) -> dict[str, TaskRecord]:
        return await self._around("get_many", lambda: self._inner.get_many(ids, now=now))

    async def list(self, query: Query, *, now: float) -> Page:
        return await self._around("list", lambda: self._inner.list(query, now=now))
