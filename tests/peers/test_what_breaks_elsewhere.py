"""What is known to break in other task queues, shown not to break here.

Named after what breaks; public issue numbers are theirs.
"""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest

from taskq_sls import EnqueueError, Queue, Retry, State, TaskContext, TaskQ
from taskq_sls.brokers.base import Outgoing
from taskq_sls.brokers.settling import send_to_dlq, visibility_seconds
from taskq_sls.client.services import Services
from taskq_sls.core.delivery import DeadLetter, Delivery, Done, Lost, Outcome, Release, RetryIn
from taskq_sls.core.flow import BlockingFlow, drive
from taskq_sls.errors import AwsError, TaskQError
from taskq_sls.results.memory import MemoryResults
from taskq_sls.testing import AdversarialBroker, Faults, FaultyResults, ManualClock, in_memory
from taskq_sls.worker.heartbeat import Heartbeat
from taskq_sls.worker.in_flight import InFlight

HOLD = 5
NOW = 1_800_000_000.0


class FaultHarness:
    """An app over backends that fail when told to, and a driver that carries outcomes out."""

    def __init__(self, **options: Any) -> None:
        self.clock = ManualClock(NOW)
        self.faults = Faults(1, before=0, after=0, entries=0)
        queues = [Queue("default", visibility_timeout=HOLD)]
        self.broker = AdversarialBroker(
            self.clock, queues, seed=1, faults=self.faults, disorder=0, duplicates=0, ghosts=0
        )
        self.truth = MemoryResults()
        self.results = FaultyResults(self.truth, self.faults)
        self.app = TaskQ("shop", queues=queues, clock=self.clock, broker=self.broker, results=self.results, **options)
        self.runs: list[tuple[int, int]] = []

    def task(self, *ends: Any, **options: Any) -> Any:
        """A task that ends as told, one end per run; then it returns."""
        left = list(ends)

        @self.app.task(name="job", **options)
        async def job(context: TaskContext) -> str:
            self.runs.append((context.run, context.attempt))
            if left and (end := left.pop(0)) is not None:
                raise end
            return "done"

        return job

    async def deliver(self) -> list[Outcome]:
        """Receive once, process, and carry out."""
        executor = self.app.executor(await self.app.services.on_loop())
        outcomes = []
        for delivery in await self.broker.receive("default", max_messages=10, wait=0, visibility=HOLD):
            outcome = await executor.process(delivery)
            outcomes.append(outcome)
            await self._carry_out(delivery, outcome)
        return outcomes

    async def _carry_out(self, delivery: Delivery, outcome: Outcome) -> None:
        if isinstance(outcome, Done) or (
            isinstance(outcome, DeadLetter) and (await send_to_dlq(self.broker, [(delivery, outcome)]))[0]
        ):
            await self.broker.ack([delivery])
        elif isinstance(outcome, RetryIn | Release):
            await self.broker.change_visibility([(delivery, visibility_seconds(outcome))])

    def messages(self, queue: str = "default") -> int:
        return len(self.broker.messages(queue))


def test_a_delay_longer_than_the_visibility_timeout_does_not_run_the_task_again_and_again() -> None:
    """celery#3270: countdown=22 under a visibility timeout of 5 ran four times."""
    app = TaskQ("shop", queues=[Queue("default", visibility_timeout=HOLD)])
    runs: list[float] = []

    @app.task
    def job() -> None:
        runs.append(memory.clock.time())

    with in_memory(app) as memory:
        job.with_options(delay=22).enqueue()
        for _ in range(60):
            memory.run_until_idle()
            memory.travel(1)
        assert runs == [NOW + 22]


@pytest.mark.parametrize("delay", [901, 3_600, 50_000])
def test_a_retry_delay_above_900_seconds_does_not_delete_the_message(delay: int) -> None:
    """Elsewhere such a delay raised in a hook, was logged, and the message was acknowledged."""
    app = TaskQ("shop")
    starts: list[float] = []

    @app.task(retry=Retry(max_attempts=8, backoff=delay, factor=1, max_delay=delay, jitter="none"))
    def job() -> None:
        starts.append(memory.clock.time())
        raise ValueError("no")

    with in_memory(app) as memory:
        handle = job.enqueue()
        memory.run_until_idle(travel=True)
        assert len(starts) == 8
        assert all(later - earlier >= delay for earlier, later in itertools.pairwise(starts))
        assert handle.status() is State.FAILED
        assert len(memory.dead_letters()) == 1


async def test_a_task_whose_result_could_not_be_stored_is_not_acknowledged() -> None:
    bench = FaultHarness()
    job = bench.task()
    handle = await job.aenqueue()
    bench.faults.break_down("finish")
    assert await bench.deliver() == [Lost()]
    assert bench.messages() == 1
    bench.faults.mend()
    bench.clock.travel(60)
    assert await bench.deliver() == [Done()]
    assert (await handle.aresult(), bench.messages()) == ("done", 0)


async def test_a_failed_task_is_not_acknowledged_before_its_copy_is_accepted() -> None:
    bench = FaultHarness()
    job = bench.task(ValueError("no"), retry=Retry(max_attempts=1))
    await job.aenqueue()
    bench.faults.break_down("dead_letter")
    await bench.deliver()
    assert (bench.messages(), bench.messages("default-dlq")) == (1, 0)
    bench.faults.mend()
    bench.clock.travel(HOLD)
    await bench.deliver()
    assert (bench.messages(), bench.messages("default-dlq")) == (0, 1)
    assert bench.runs == [(0, 1)]


@pytest.mark.parametrize(
    "body",
    ["not JSON", '["a list"]', '{"v": 99, "id": "a", "task": "job"}', '{"v": 1, "id": "a", "task": "nobody"}', "gASV"],
    ids=["not_json", "not_an_object", "unknown_version", "unknown_task", "another_library"],
)
async def test_a_message_that_nobody_can_run_ends_no_driver_and_is_not_deleted(body: str) -> None:
    """kombu#2421: one foreign message crashed every worker; elsewhere such messages are acknowledged."""
    bench = FaultHarness()
    job = bench.task()
    await bench.broker.send([Outgoing("default", body, "a")])
    await job.aenqueue()
    for _ in range(9):
        outcomes = await bench.deliver()
        assert any(isinstance(outcome, RetryIn) for outcome in outcomes)
        assert bench.messages() == 1
        bench.clock.travel(900)
    assert bench.runs == [(0, 1)]
    await bench.deliver()
    assert (bench.messages(), bench.messages("default-dlq")) == (0, 1)


async def test_a_retry_is_the_same_message_so_that_redrive_counts_it() -> None:
    bench = FaultHarness()
    job = bench.task(ValueError(), ValueError(), retry=Retry(max_attempts=3, backoff=10, jitter="none"))
    await job.aenqueue()
    [sent] = bench.broker.messages("default")
    for count in (1, 2):
        await bench.deliver()
        [message] = bench.broker.messages("default")
        assert (message.message_id, message.receive_count) == (sent.message_id, count)
        bench.clock.travel(30)


def test_an_exponential_backoff_grows_by_its_factor_and_six_attempts_are_six_starts() -> None:
    """Elsewhere "exponential" came out as 1, 2, 6, 24, 120."""
    app = TaskQ("shop")
    starts: list[float] = []

    @app.task(retry=Retry(max_attempts=6, backoff=1, factor=2, jitter="none"))
    def job() -> None:
        starts.append(memory.clock.time())
        raise ValueError("no")

    with in_memory(app) as memory:
        handle = job.enqueue()
        memory.run_until_idle(travel=True)
        assert [later - earlier for earlier, later in itertools.pairwise(starts)] == [1, 2, 4, 8, 16]
        assert handle.status() is State.FAILED


def test_what_enqueue_accepted_is_in_the_queue_when_it_returns() -> None:
    """Elsewhere a send buffer lost 4 of 4 messages at shutdown, and 15 of 25."""
    bench = FaultHarness()
    job = bench.task()
    handles = job.enqueue_many([()] * 25)
    assert (len(handles), bench.messages()) == (25, 25)


def test_entries_that_failed_are_named_and_nothing_else_is_lost() -> None:
    """Elsewhere the ``Failed`` list of a batch is never read."""
    bench = FaultHarness()
    job = bench.task()
    bench.broker._faults = Faults(2, before=0, after=0, entries=0.5)
    with pytest.raises(EnqueueError) as raised:
        job.enqueue_many([()] * 40)
    error = raised.value
    assert len(error.sent) + len(error.failed) == 40
    arrived = {message.body for message in bench.broker.messages("default")}
    for handle in error.sent:
        assert any(handle.id in body for body in arrived)


def test_one_network_error_does_not_end_the_sender_for_good() -> None:
    bench = FaultHarness()
    job = bench.task()
    bench.faults.break_down("send")
    with pytest.raises(TaskQError):
        job.enqueue()
    bench.faults.mend()
    job.enqueue()
    assert bench.messages() == 1


async def test_the_heartbeat_goes_on_after_a_throttle() -> None:
    """Elsewhere it stopped for good on the first one, and the message came again under the running task."""
    bench = FaultHarness()
    bench.task()
    await bench.broker.send([Outgoing("default", "held", "a")])
    in_flight = InFlight()
    in_flight.add(await bench.broker.receive("default", max_messages=1, wait=0, visibility=HOLD))
    services = Services(BlockingFlow(bench.clock), lambda: bench.broker, lambda: bench.results, _nothing)
    executor = bench.app.executor(await bench.app.services.on_loop())
    heartbeat = Heartbeat(executor, in_flight, {"default": HOLD}, services, bench.clock, lambda context, reason: None)
    bench.faults.break_down("change_visibility")
    assert not heartbeat._beat("default", HOLD)
    bench.faults.mend()
    bench.clock.travel(HOLD - 1)
    assert heartbeat._beat("default", HOLD)
    bench.clock.travel(HOLD - 1)
    assert await bench.broker.receive("default", max_messages=1, wait=0, visibility=HOLD) == []


async def test_a_table_that_expires_our_credentials_costs_no_message_and_no_attempt() -> None:
    """kombu#2031: an expired STS token ended the worker."""
    bench = FaultHarness()
    job = bench.task(retry=Retry(max_attempts=1))
    handle = await job.aenqueue()

    async def expired(*arguments: Any) -> Any:
        raise AwsError("update_item", "ExpiredTokenException", "expired", status=400, transient=True)

    claim = bench.results.claim
    bench.results.claim = expired  # type: ignore[method-assign, assignment]  # until the credentials rotate
    [outcome] = await bench.deliver()
    assert isinstance(outcome, Release)
    bench.results.claim = claim  # type: ignore[method-assign]  # they have
    bench.clock.travel(60)
    assert await bench.deliver() == [Done()]
    assert (await handle.aresult(), bench.runs) == ("done", [(0, 1)])


async def test_a_paused_holder_cannot_overwrite_the_run_that_replaced_it() -> None:
    """Elsewhere the completion of an idempotency record is unconditional."""
    bench = FaultHarness()
    woken = asyncio.Event()

    @bench.app.task(name="job")
    async def job(context: TaskContext) -> str:
        if context.attempt == 1:
            await woken.wait()
        return f"attempt {context.attempt}"

    handle = await job.aenqueue()
    zombie = asyncio.create_task(bench.deliver())
    await asyncio.sleep(0)
    bench.clock.travel(HOLD + 5)
    assert await bench.deliver() == [Done()]
    woken.set()
    assert await zombie == [Lost()]
    assert await handle.aresult() == "attempt 2"


def test_throttled_deliveries_do_not_send_a_good_message_to_the_dead_letters() -> None:
    """azul#3708: throttles used up the receive count."""
    app = TaskQ("shop")
    runs: list[int] = []

    @app.task(retry=Retry(max_attempts=1))
    def job() -> None:
        runs.append(1)

    with in_memory(app) as memory:
        handle = job.enqueue()
        for _ in range(50):
            [delivery] = drive(memory.broker.receive("default", max_messages=1, wait=0, visibility=30))
            drive(memory.broker.change_visibility([(delivery, 0)]))
        memory.run_until_idle()
        assert (runs, handle.status(), memory.dead_letters()) == ([1], State.SUCCEEDED, [])


async def _nothing() -> None:
    return
