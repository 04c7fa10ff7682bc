"""Backends in memory that fail as a test says, and keep count of what was asked of them."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from typing import Any

from taskq_sls.brokers.base import Answer, EntryError, Outgoing
from taskq_sls.brokers.memory import MemoryBroker
from taskq_sls.errors import AwsError
from taskq_sls.results.memory import MemoryResults


def throttled(operation: str = "update_item") -> AwsError:
    """A fault that passes."""
    return AwsError(operation, "ThrottlingException", "slow down", status=400, transient=True)


def refused(operation: str = "update_item") -> AwsError:
    """A fault that no repeat mends."""
    return AwsError(operation, "ValidationException", "no such attribute", status=400)


def denied(operation: str = "update_item") -> AwsError:
    """A fault that stays until somebody gives the right."""
    return AwsError(operation, "AccessDeniedException", "not yours", status=400)


class FaultyResults(MemoryResults):
    """Results in memory whose next calls of an operation fail. `calls` names every call, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []
        self._planned: dict[str, deque[tuple[Exception, bool]]] = defaultdict(deque)

    def fail(self, operation: str, error: Exception | None = None, *, times: int = 1, after: bool = False) -> None:
        """Let the next calls of `operation` fail; with `after` they take effect first: a lost answer."""
        self._planned[operation].extend([(error or throttled(operation), after)] * times)


def _faulty(operation: str) -> Callable[..., Any]:
    real = getattr(MemoryResults, operation)

    async def call(self: FaultyResults, *args: Any, **kwargs: Any) -> Any:
        self.calls.append(operation)
        planned = self._planned[operation]
        if not planned:
            return await real(self, *args, **kwargs)
        error, after = planned.popleft()
        if after:
            await real(self, *args, **kwargs)
        raise error

    return call


for _operation in (
    "claim",
    "renew",
    "finish",
    "release",
    "close_abandoned",
    "close_idle",
    "expire",
    "put_queued",
    "put_finished",
    "cancel",
    "lock_key",
    "confirm_key",
    "free_key",
    "get",
    "get_many",
    "list",
):
    setattr(FaultyResults, _operation, _faulty(_operation))


class FaultyBroker(MemoryBroker):
    """A broker in memory that refuses what `refuse` answers for. `sends` holds the size of every send."""

    refuse: Callable[[Outgoing], EntryError | Exception | None] = staticmethod(lambda message: None)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.sends: list[int] = []

    async def send(self, messages: Sequence[Outgoing]) -> list[Answer]:
        self.sends.append(len(messages))
        refusals: list[EntryError | None] = []
        for message in messages:
            refusal = self.refuse(message)
            if isinstance(refusal, Exception):
                raise refusal
            refusals.append(refusal)
        accepted = [message for message, refusal in zip(messages, refusals, strict=True) if refusal is None]
        answers = iter(await super().send(accepted))
        return [next(answers) if refusal is None else refusal for refusal in refusals]
