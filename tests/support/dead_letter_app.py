"""An app in memory whose dead-letter queues a test fills, and the sync way to operate it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, TypeVar

from taskq_sls import Queue, TaskQ, TaskRecord
from taskq_sls.brokers.base import Answer, EntryError, Outgoing
from taskq_sls.brokers.memory import MemoryBroker
from taskq_sls.core.clock import ManualClock
from taskq_sls.core.delivery import DeadLetter, Delivery, Outcome
from taskq_sls.core.flow import drive
from taskq_sls.core.message import ErrorInfo, Message, decode
from taskq_sls.core.queues import dead_letter_name
from taskq_sls.core.states import State
from taskq_sls.core.times import DAY
from taskq_sls.results.memory import MemoryResults
from taskq_sls.results.records import AttemptEnd, Call, Claim, Fence
from taskq_sls.scheduler.memory import MemorySchedules

NOW = 1_800_000_000.0
QUEUES = (Queue("default"), Queue("ledger.fifo"))

T = TypeVar("T")


class InterruptibleBroker(MemoryBroker):
    """Raises what a test plans, before or after a call takes effect, and notes the time of every send."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.before_send: Callable[[Sequence[Outgoing]], None] = lambda messages: None
        self.after_send: Callable[[Sequence[Outgoing]], None] = lambda messages: None
        self.refuse: Callable[[Outgoing], EntryError | None] = lambda message: None
        self.sends: list[tuple[float, int]] = []

    async def send(self, messages: Sequence[Outgoing]) -> list[Answer]:
        self.before_send(messages)
        self.sends.append((self._clock.time(), len(messages)))
        refusals = [self.refuse(message) for message in messages]
        accepted = [message for message, refused in zip(messages, refusals, strict=True) if refused is None]
        answers = iter(await super().send(accepted))
        found = [next(answers) if refused is None else refused for refused in refusals]
        self.after_send(messages)
        return found


class DeadLetterApp:
    """The app ``shop`` with the task ``resize``, over backends in memory and a clock that travels."""

    def __init__(self, *, record: str = "started") -> None:
        self.clock = ManualClock(NOW)
        self.broker = InterruptibleBroker(self.clock, QUEUES)
        self.broker.add_queues(["schedules-dlq"], dead_letter=False)
        self.results = MemoryResults()
        self.schedules = MemorySchedules(self.clock, "shop")
        self.app = TaskQ(
            "shop",
            clock=self.clock,
            broker=self.broker,
            results=self.results,
            schedule_store=self.schedules,
            queues=QUEUES,
            record=record,
        )
        self.ran: list[tuple[Any, ...]] = []

        @self.app.task(name="shop:resize")
        def resize(path: str, width: int = 100) -> str:
            self.ran.append((path, width))
            return path

        @self.app.task(name="shop:crop")
        def crop(path: str) -> None: ...

        self.services = self.app.services.blocking()

    def do(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Operate, as the command does."""
        return drive(coroutine)

    def die(
        self,
        id: str,
        *args: Any,
        task: str = "shop:resize",
        reason: str = "exhausted",
        queue: str = "default",
        group: str | None = None,
        labels: Mapping[str, str] | None = None,
        run: int = 0,
        recorded: bool = True,
    ) -> None:
        """Let a task end in the dead-letter queue, and its record with FAILED."""
        now = self.clock.time()
        message = Message(id, task, list(args or ("a.png",)), enqueued_at=now, labels=dict(labels or {}), run=run)
        delivery = Delivery(queue, message.encode(), "receipt", f"sqs-{id}", 3, now, group)
        error = ErrorInfo("ValueError", f"no {id}", "Traceback: ...")
        if recorded:
            self.claimed(id, task=task, queue=queue, run=run)
            finish = AttemptEnd(State.FAILED, now, now + 20 * DAY, error=error, reason=reason)
            assert drive(self.results.finish(Fence(id, run, 1, f"owner-{id}"), finish))
        assert drive(self.broker.dead_letter([(delivery, DeadLetter(reason, error, 1))])) == [None]

    def claimed(
        self, id: str, *, task: str = "shop:resize", queue: str = "default", run: int = 0, call: Call | None = None
    ) -> Fence:
        """Let an attempt of a task begin."""
        now = self.clock.time()
        claim = Claim(id, run, task, queue, f"owner-{id}", now, now + 60, 3, now + 20 * DAY, now, call=call)
        drive(self.results.claim(claim))
        return Fence(id, run, 1, f"owner-{id}")

    def moved(self, id: str, *args: Any, queue: str = "default", group: str | None = None, body: str = "") -> None:
        """Let SQS itself move a message, unchanged and with nothing that says why."""
        body = body or Message(id, "shop:resize", list(args or ("a.png",)), enqueued_at=self.clock.time()).encode()
        self.put(dead_letter_name(queue), body, group=group)

    def put(self, queue: str, body: str, *, group: str | None = None, attributes: dict[str, str] | None = None) -> None:
        """Put a message into a queue as it is."""
        self.broker._queue(queue).add(body, self.clock.time(), group=group, dedup=body, attributes=attributes or {})

    def bodies(self, queue: str) -> list[Message]:
        """The messages of a queue, hidden ones too."""
        return [decode(one.body) for one in self.broker.messages(queue)]

    def ids(self, queue: str) -> list[str]:
        return [message.id for message in self.bodies(queue)]

    def hidden(self, queue: str) -> int:
        """Messages that cannot be received now."""
        depth = drive(self.broker.depth(queue))
        return depth.in_flight + depth.delayed

    def record(self, id: str) -> TaskRecord:
        found = drive(self.results.get(id, now=self.clock.time()))
        assert found is not None
        return found

    def work(self, queue: str = "default") -> list[Outcome]:
        """Run what a queue holds, once."""

        async def process() -> list[Outcome]:
            executor = self.app.executor(await self.app.services.on_loop())
            outcomes = []
            for delivery in await self.broker.receive(queue, max_messages=10, wait=0, visibility=60):
                outcomes.append(await executor.process(delivery))
                await self.broker.ack([delivery])
            return outcomes

        return asyncio.run(process())
