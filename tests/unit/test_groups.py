"""FIFO order inside a driver."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from taskq_sls.core.delivery import DONE, LOST, DeadLetter, Delivery, Outcome, Release, RetryIn, leaves_queue
from taskq_sls.serverless.batch import fifo_groups
from taskq_sls.worker.in_flight import FifoGroups


def delivery(body: str, group: str | None = "g", queue: str = "ledger.fifo") -> Delivery:
    return Delivery(queue, body, f"receipt-{body}", f"id-{body}", 1, 0.0, group)


def bodies(of: list[list[Delivery]]) -> list[list[str]]:
    return [[one.body for one in chain] for chain in of]


class Run:
    """A chain in hand: what was processed and what each delivery came to, in order."""

    def __init__(self, outcome: Callable[[str], Outcome] = lambda body: DONE) -> None:
        self.started: list[str] = []
        self.settled: list[tuple[str, Outcome]] = []
        self._outcome = outcome

    async def process(self, one: Delivery) -> Outcome:
        self.started.append(one.body)
        return self._outcome(one.body)

    async def done(self, one: Delivery, outcome: Outcome) -> None:
        self.settled.append((one.body, outcome))


async def in_turn(run: Run, bodies: str, stopping: Callable[[], bool] = lambda: False) -> FifoGroups:
    groups, deliveries = FifoGroups(), [delivery(body) for body in bodies]
    for one in deliveries:
        groups.enter(one)
    await asyncio.gather(*(groups.run(one, run.process, run.done, stopping) for one in deliveries))
    for one in deliveries:
        groups.leave(one)
    return groups


def test_a_fifo_batch_becomes_a_chain_per_group_in_order() -> None:
    batch = [delivery("a1", "a"), delivery("b1", "b"), delivery("a2", "a"), delivery("b2", "b"), delivery("a3", "a")]

    assert bodies(fifo_groups(batch)) == [["a1", "a2", "a3"], ["b1", "b2"]]


def test_groups_of_the_same_name_in_two_queues_are_two_chains() -> None:
    batch = [delivery("1", "g", "x.fifo"), delivery("2", "g", "y.fifo")]

    assert bodies(fifo_groups(batch)) == [["1"], ["2"]]


def test_a_group_on_a_standard_queue_orders_nothing() -> None:
    batch = [delivery("1", "tenant", "default"), delivery("2", "tenant", "default")]

    assert bodies(fifo_groups(batch)) == [["1"], ["2"]]


def test_only_what_leaves_the_queue_lets_the_next_of_its_group_run() -> None:
    assert leaves_queue(DONE)
    assert leaves_queue(DeadLetter("exhausted"))
    assert not any(leaves_queue(outcome) for outcome in (RetryIn(1, "failed"), Release(0), LOST))


async def test_a_failing_head_gives_the_rest_of_its_chain_back_untouched() -> None:
    retry = RetryIn(5, "failed")
    run = Run(lambda body: retry if body == "2" else DONE)

    await in_turn(run, "1234")

    assert run.started == ["1", "2"]
    assert run.settled == [("1", DONE), ("2", retry), ("3", Release(0)), ("4", Release(0))]


async def test_a_dead_letter_does_not_stop_its_group() -> None:
    run = Run(lambda body: DeadLetter("exhausted") if body == "1" else DONE)

    await in_turn(run, "12")

    assert run.started == ["1", "2"]


async def test_a_driver_that_stops_gives_back_what_has_not_started() -> None:
    run = Run()

    await in_turn(run, "123", lambda: bool(run.started))

    assert run.settled == [("1", DONE), ("2", Release(0)), ("3", Release(0))]


async def test_three_messages_of_one_group_never_overlap() -> None:
    groups = FifoGroups()
    gates = {name: asyncio.Event() for name in "123"}
    active: list[str] = []
    most = 0

    async def process(one: Delivery) -> Outcome:
        nonlocal most
        active.append(one.body)
        most = max(most, len(active))
        await gates[one.body].wait()
        active.remove(one.body)
        return DONE

    async def done(one: Delivery, outcome: Outcome) -> None:
        return

    def start(body: str) -> asyncio.Task[None]:
        groups.enter(delivery(body))
        task = asyncio.create_task(groups.run(delivery(body), process, done, lambda: False))
        task.add_done_callback(lambda task: groups.leave(delivery(body)))
        return task

    first, second = start("1"), start("2")
    await asyncio.sleep(0)
    gates["1"].set()
    await first
    third = start("3")
    for _ in range(5):
        await asyncio.sleep(0)
    gates["3"].set()
    gates["2"].set()
    await asyncio.gather(second, third)

    assert most == 1


async def test_a_head_whose_processing_fails_gives_the_rest_of_its_group_back() -> None:
    def fail(body: str) -> Outcome:
        raise RuntimeError("a fault")

    run, groups, deliveries = Run(fail), FifoGroups(), [delivery("1"), delivery("2")]
    for one in deliveries:
        groups.enter(one)
    turns = [groups.run(one, run.process, run.done, lambda: False) for one in deliveries]

    assert isinstance((await asyncio.gather(*turns, return_exceptions=True))[0], RuntimeError)
    assert run.settled == [("2", Release(0))]


async def test_groups_whose_messages_have_left_are_forgotten() -> None:
    groups = await in_turn(Run(), "12345")

    assert groups._groups == {}
