"""Backends that tell the ledger of everything that took effect, below all injected faults."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import Any

from taskq_sls.brokers.base import Answer
from taskq_sls.brokers.memory import StoredMessage
from taskq_sls.core.clock import Clock
from taskq_sls.core.context import Progress
from taskq_sls.core.delivery import DeadLetter, Delivery
from taskq_sls.core.message import Message, decode
from taskq_sls.core.queues import dead_letter_name
from taskq_sls.core.states import State
from taskq_sls.errors import UndecodableMessage
from taskq_sls.results.base import ResultBackend
from taskq_sls.results.records import AttemptEnd, CancelAnswer, Claim, Claimed, Fence, Refused, Renewed, TaskRecord
from taskq_sls.testing import AdversarialBroker
from tests.model.ledger import Ledger


class WitnessedResults(ResultBackend):
    """Compares every record before and after a write. The backend below must not suspend."""

    def __init__(self, inner: ResultBackend, ledger: Ledger, clock: Clock) -> None:
        self._inner = inner
        self._ledger = ledger
        self._clock = clock

    async def _look(self, id: str) -> TaskRecord | None:
        return await self._inner.get(id, now=self._clock.time())

    async def claim(self, claim: Claim) -> Claimed | Refused:
        before = await self._look(claim.id)
        answer = await self._inner.claim(claim)
        after = await self._look(claim.id)
        self._ledger.changed("claim", before, after, self._clock.time())
        repeated = before is not None and before.owner == claim.owner and before.status is State.RUNNING
        if isinstance(answer, Claimed) and after is not None and not repeated:
            self._ledger.claimed(claim, before, after)
        elif before != after:
            self._ledger.breaks("a refused claim changes nothing", f"{claim}: {before} -> {after}")
        return answer

    async def renew(
        self, fence: Fence, *, now: float, lease_until: float, progress: Progress | None = None
    ) -> Renewed | None:
        before = await self._look(fence.id)
        answer = await self._inner.renew(fence, now=now, lease_until=lease_until, progress=progress)
        await self._fenced("renew", fence, before)
        return answer

    async def finish(self, fence: Fence, finish: AttemptEnd) -> State | None:
        before = await self._look(fence.id)
        answer = await self._inner.finish(fence, finish)
        await self._fenced("finish", fence, before)
        return answer

    async def release(self, fence: Fence, *, now: float) -> bool:
        before = await self._look(fence.id)
        answer = await self._inner.release(fence, now=now)
        await self._fenced("release", fence, before)
        return answer

    async def _fenced(self, operation: str, fence: Fence, before: TaskRecord | None) -> None:
        after = await self._look(fence.id)
        self._ledger.changed(operation, before, after, self._clock.time())
        self._ledger.written(operation, fence, before, after)

    async def close_abandoned(self, record: TaskRecord, finish: AttemptEnd) -> bool:
        before = await self._look(record.id)
        answer = await self._inner.close_abandoned(record, finish)
        after = await self._look(record.id)
        self._ledger.changed("close_abandoned", before, after, self._clock.time())
        if before is not None and after is not None:
            self._ledger.closed(before, after, self._clock.time())
        return answer

    async def close_idle(self, record: TaskRecord, finish: AttemptEnd) -> bool:
        before = await self._look(record.id)
        answer = await self._inner.close_idle(record, finish)
        self._ledger.changed("close_idle", before, await self._look(record.id), self._clock.time())
        return answer

    async def expire(self, claim: Claim) -> bool:
        before = await self._look(claim.id)
        answer = await self._inner.expire(claim)
        self._ledger.changed("expire", before, await self._look(claim.id), self._clock.time())
        return answer

    async def put_queued(self, claim: Claim) -> bool:
        before = await self._look(claim.id)
        answer = await self._inner.put_queued(claim)
        self._ledger.changed("put_queued", before, await self._look(claim.id), self._clock.time())
        return answer

    async def put_finished(self, claim: Claim, attempt: int, finish: AttemptEnd) -> None:
        # Not fenced by design: of unclaimed attempts the last write wins.
        await self._inner.put_finished(claim, attempt, finish)

    async def cancel(self, id: str, **more: Any) -> CancelAnswer:
        before = await self._look(id)
        answer = await self._inner.cancel(id, **more)
        after = await self._look(id)
        self._ledger.changed("cancel", before, after, self._clock.time())
        self._ledger.counts[f"cancel {answer.answer}"] += 1
        return answer


def _pass_on(name: str) -> Any:
    async def call(self: WitnessedResults, *args: Any, **kwargs: Any) -> Any:
        return await getattr(self._inner, name)(*args, **kwargs)

    return call


for _name in WitnessedResults.__abstractmethods__:  # those that write no record
    setattr(WitnessedResults, _name, _pass_on(_name))
abc.update_abstractmethods(WitnessedResults)  # type: ignore[type-abstract]  # that is why it is called


class WitnessedBroker(AdversarialBroker):
    """Tells the ledger what was really deleted and what was really dead-lettered."""

    ledger: Ledger
    results: ResultBackend

    async def ack(self, deliveries: Sequence[Delivery]) -> list[Answer]:
        held = [(delivery, self._queue(delivery.queue).messages.get(delivery.message_id)) for delivery in deliveries]
        try:
            return await super().ack(deliveries)
        finally:
            for delivery, message in held:
                if message is not None and delivery.message_id not in self._queue(delivery.queue).messages:
                    await self._deleted(delivery.queue, message)

    async def dead_letter(self, entries: Sequence[tuple[Delivery, DeadLetter]]) -> list[Answer]:
        queues = {dead_letter_name(delivery.queue) for delivery, _ in entries}
        known = {queue: set(self._queue(queue).messages) for queue in queues}
        try:
            return await super().dead_letter(entries)
        finally:
            for queue in sorted(queues):
                for id, message in self._queue(queue).messages.items():
                    if id not in known[queue]:
                        self._copied(message)

    def _copied(self, copy: StoredMessage) -> None:
        message = read(copy.body)
        self.ledger.counts["dead-letter copies"] += 1
        if message is None:
            self.ledger.poison_copies[name_of(copy.body)] += 1
        else:
            self.ledger.copies.add((message.id, message.run))

    async def _deleted(self, queue: str, stored: StoredMessage) -> None:
        if queue.endswith(("-dlq", "-dlq.fifo")):
            return
        await check_durable(self.ledger, self.results, stored.body, self._clock.time())


async def check_durable(ledger: Ledger, truth: Any, body: str, now: float) -> None:
    """A message is about to be deleted, or just was: its outcome must stand."""
    message = read(body)
    if message is None:
        if not ledger.poison_copies[name_of(body)]:
            ledger.breaks("nothing is deleted before its outcome is durable", f"poison {body[:60]}")
        return
    ledger.note("deleted", message.id, message.run)
    copied = (message.id, message.run + 1) in ledger.copies
    record = await truth.get(message.id, now=now)
    returned = any(run.returned and run.run == message.run for run in ledger.runs[message.id])
    aged = message.expires_at is not None and message.run == 0 and not ledger.runs[message.id]
    if message.labels.get("level", "started") == "none":
        durable = copied or returned or aged
    elif record is None:
        durable = copied
    elif record.run > message.run:
        durable = True
    elif record.status is State.FAILED:
        # Unclaimed, a duplicate that failed may have overwritten the success of the one that is deleted.
        durable = copied or (returned and message.labels.get("level") == "finished")
    else:
        durable = record.status.terminal
    if not durable:
        ledger.breaks("nothing is deleted before its outcome is durable", f"{message.id} {message.run}: {record}")


def read(body: str) -> Message | None:
    """The message in a body; None for poison: undecodable, or of a task that no app has."""
    try:
        message = decode(body)
    except UndecodableMessage:
        return None
    return None if message.task == "nobody" else message


def name_of(body: str) -> str:
    """What tells one poisoned message from another: its id, else its whole body."""
    try:
        return decode(body).id
    except UndecodableMessage:
        return body
