"""FIFO order inside a driver."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from taskq_sls.core.delivery import DONE, LOST, DeadLetter, Delivery, Outcome, Release, RetryIn
from taskq_sls.engine.settling import GroupLocks, fifo_groups, leaves_queue


def delivery(body: str, group: str | None = "g", queue: str = "ledger.fifo") -> Delivery:
    return Delivery(queue, body, f"receipt-{body}", f"id-{body}", 1, 0.0, group)


def bodies(of: list[list[Delivery]]) -> list[list[str]]:
    return [[one.body for one in chain] for chain in of]


def is_fifo(queue: str) -> bool:
    return queue.endswith(".fifo")


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


def test_a_fifo_batch_becomes_a_chain_per_group_in_order() -> None:
    batch = [delivery("a1", "a"), delivery("b1", "b"), delivery("a2", "a"), delivery("b2", "b"), delivery("a3", "a")]

    assert bodies(fifo_groups(batch, is_fifo)) == [["a1", "a2", "a3"], ["b1", "b2"]]


def test_groups_of_the_same_name_in_two_queues_are_two_chains() -> None:
    batch = [delivery("1", "g", "x.fifo"), delivery("2", "g", "y.fifo")]

    assert bodies(fifo_groups(batch, is_fifo)) == [["1"], ["2"]]


def test_a_group_on_a_standard_queue_orders_nothing() -> None:
    batch = [delivery("1", "tenant", "default"), delivery("2", "tenant", "default")]

    assert bodies(fifo_groups(batch, is_fifo)) == [["1"], ["2"]]


def test_only_what_leaves_the_queue_lets_the_next_of_its_group_run() -> None:
    assert leaves_queue(DONE)
    assert leaves_queue(DeadLetter("exhausted"))
    assert not any(leaves_queue(outcome) for outcome in (RetryIn(1, "failed"), Release(0), LOST))


async def test_a_failing_head_gives_the_rest_of_its_chain_back_untouched() -> None:
    retry = RetryIn(5, "failed")
    run = Run(lambda body: retry if body == "2" else DONE)

    await GroupLocks().run_chain([delivery(body) for body in "1234"], run.process, run.done, lambda: False)

    assert run.started == ["1", "2"]
    assert run.settled == [("1", DONE), ("2", retry), ("3", Release(0)), ("4", Release(0))]


async def test_a_dead_letter_does_not_stop_its_group() -> None:
    run = Run(lambda body: DeadLetter("exhausted") if body == "1" else DONE)

    await GroupLocks().run_chain([delivery("1"), delivery("2")], run.process, run.done, lambda: False)

    assert run.started == ["1", "2"]


async def test_a_driver_that_stops_gives_back_what_has_not_started() -> None:
    run = Run()

    await GroupLocks().run_chain([delivery(body) for body in "123"], run.process, run.done, lambda: bool(run.started))

    assert run.settled == [("1", DONE), ("2", Release(0)), ("3", Release(0))]


async def test_three_chains_of_one_group_never_overlap() -> None:
    locks = GroupLocks()
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
        return asyncio.create_task(locks.run_chain([delivery(body)], process, done, lambda: False))

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


async def test_locks_of_groups_that_are_done_are_forgotten() -> None:
    locks, run = GroupLocks(), Run()

    for number in range(5):
        await locks.run_chain([delivery("x", f"group-{number}")], run.process, run.done, lambda: False)

    assert locks._locks == {}
