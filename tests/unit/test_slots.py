"""Slots: what the polls of several queues may fetch."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping

import pytest

from taskq_sls.worker.slots import SHORT_POLL_SECONDS, Slots


@pytest.fixture(autouse=True)
def no_gathering(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waiting for more slots only saves requests; here every decision is to be made at once."""
    monkeypatch.setattr("taskq_sls.worker.slots.GATHER_SECONDS", 0.0)


async def poll(slots: Slots, queue: str, received: int) -> int:
    """A whole poll of `queue` that brings up to `received` messages; answers how many it brought."""
    reserved = await slots.reserve(queue)
    slots.poll_ended(queue, reserved, min(reserved, received))
    return min(reserved, received)


async def turns() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def shares(weights: Mapping[str, float], total: int, tasks: int) -> dict[str, int]:
    """How many of `tasks` each queue got while all had more than enough, and tasks ended one at a time."""
    slots = Slots(total, weights)
    served = dict.fromkeys(weights, 0)
    running: deque[str] = deque()

    async def serve(queue: str) -> None:
        while sum(served.values()) < tasks:
            got = await poll(slots, queue, 10)
            served[queue] += got
            running.extend([queue] * got)

    polls = [asyncio.create_task(serve(queue)) for queue in weights]
    while not all(one.done() for one in polls):
        await asyncio.sleep(0)
        assert len(running) <= total
        if running:
            slots.release(running.popleft())
    return served


async def test_a_lone_queue_may_ask_for_ten_and_never_for_more_than_is_free() -> None:
    slots = Slots(14, {"default": 1})

    assert await poll(slots, "default", 10) == 10
    assert await slots.reserve("default") == 4
    assert slots.free == 0


async def test_a_poll_waits_until_a_slot_is_free() -> None:
    slots = Slots(2, {"default": 1})
    await poll(slots, "default", 2)
    waiting = asyncio.create_task(slots.reserve("default"))
    await turns()
    assert not waiting.done()

    slots.release("default")

    assert await waiting == 1


async def test_what_a_poll_did_not_use_is_free_again() -> None:
    slots = Slots(10, {"default": 1})

    await poll(slots, "default", 3)

    assert slots.free == 7


async def test_a_poll_leaves_a_slot_for_each_queue_without_one() -> None:
    slots = Slots(4, {"a": 1, "b": 1, "c": 1})

    assert await slots.reserve("a") == 2
    assert await slots.reserve("b") == 1
    assert await slots.reserve("c") == 1


async def test_an_idle_queue_reserves_one_slot_so_that_a_busy_one_has_the_others() -> None:
    slots = Slots(11, {"busy": 1, "idle": 1})
    await poll(slots, "idle", 0)

    assert await slots.reserve("idle") == 1
    assert await slots.reserve("busy") == 10


@pytest.mark.parametrize(
    ("weights", "expected"),
    [({"a": 1, "b": 1}, 0.5), ({"a": 3, "b": 1}, 0.75), ({"a": 1, "b": 4}, 0.2)],
)
@pytest.mark.parametrize("total", [1, 4, 20])
async def test_queues_that_are_all_full_share_by_weight(weights: dict[str, float], expected: float, total: int) -> None:
    served = await shares(weights, total, tasks=1_000)

    assert served["a"] / sum(served.values()) == pytest.approx(expected, abs=0.05)


async def test_fewer_slots_than_queues_still_serve_every_queue() -> None:
    served = await shares({"a": 1, "b": 1, "c": 1, "d": 1}, 2, tasks=200)

    assert min(served.values()) >= 40


async def test_polls_wait_long_where_every_queue_can_have_one_open() -> None:
    assert Slots(2, {"a": 1, "b": 1}).longest_wait() == 20


async def test_where_slots_are_scarce_polls_are_short() -> None:
    assert Slots(1, {"a": 1, "b": 1}).longest_wait() == SHORT_POLL_SECONDS


async def test_a_poll_that_keeps_a_busy_queue_from_the_last_slot_does_not_wait() -> None:
    slots = Slots(1, {"busy": 1, "idle": 1})
    await poll(slots, "busy", 1)
    slots.release("busy")
    await slots.reserve("idle")
    waiting = asyncio.create_task(slots.reserve("busy"))
    await turns()

    assert slots.longest_wait() == 0

    slots.poll_ended("idle", 1, 0)
    assert await waiting == 1


async def test_closing_lets_every_waiting_poll_see_it() -> None:
    slots = Slots(1, {"a": 1, "b": 1, "c": 1})
    await slots.reserve("a")
    waiting = [asyncio.create_task(slots.reserve(queue)) for queue in "bc"]
    await turns()

    slots.close()

    async with asyncio.timeout(60):
        await asyncio.gather(*waiting)


async def test_a_poll_gathers_slots_that_come_free_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("taskq_sls.worker.slots.GATHER_SECONDS", 30.0)
    slots = Slots(10, {"default": 1})
    await poll(slots, "default", 10)
    waiting = asyncio.create_task(slots.reserve("default"))

    for _ in range(10):
        await turns()
        assert not waiting.done()
        slots.release("default")

    assert await waiting == 10


async def test_a_queue_without_a_backlog_gives_its_share_to_the_others() -> None:
    slots = Slots(10, {"busy": 1, "idle": 1})
    await poll(slots, "idle", 5)
    for _ in range(5):
        slots.release("idle")
    await poll(slots, "busy", 4)
    assert await slots.reserve("busy") == 1

    assert await poll(slots, "idle", 0) == 0

    slots.poll_ended("busy", 1, 1)
    assert await slots.reserve("busy") == 2
    assert slots.free == 3


async def test_a_queue_whose_poll_stays_open_counts_as_one_without_a_backlog(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("taskq_sls.worker.slots.BACKLOG_ANSWER_SECONDS", 0.02)
    slots = Slots(4, {"busy": 1, "drained": 1})
    await poll(slots, "drained", 1)
    slots.release("drained")
    await poll(slots, "busy", 2)
    await slots.reserve("drained")

    async with asyncio.timeout(60):
        assert await slots.reserve("busy") == 1


async def test_a_queue_that_was_idle_for_long_has_no_claim_to_all_slots() -> None:
    slots = Slots(1, {"old": 1, "new": 1})
    for _ in range(100):
        await poll(slots, "old", 1)
        slots.release("old")
    order = []

    async def serve(queue: str) -> None:
        for _ in range(10):
            await poll(slots, queue, 1)
            order.append(queue)
            await asyncio.sleep(0)
            slots.release(queue)

    await asyncio.gather(serve("old"), serve("new"))

    assert "old" in order[:5]


async def test_one_more_poll_takes_ten_slots_and_gives_back_what_it_did_not_use() -> None:
    slots = Slots(25, {"default": 1})
    assert await slots.reserve("default") == 10
    assert slots.reserve_extra("default")
    assert slots.free == 5
    assert not slots.reserve_extra("default")
    slots.extra_poll_ended("default", 4)
    assert slots.free == 11


async def test_one_more_poll_takes_nothing_that_another_queue_waits_for() -> None:
    slots = Slots(21, {"a": 1, "b": 1})
    assert await slots.reserve("a") == 10
    assert slots.reserve_extra("a")
    slots.extra_poll_ended("a", 0)
    slots.poll_ended("a", 10, 10)
    assert slots.free == 11
    assert slots.reserve_extra("a")  # one is left for the poll of b
    assert slots.free == 1


async def test_one_more_poll_stays_within_the_share_of_its_queue() -> None:
    slots = Slots(30, {"a": 1, "b": 1})
    for queue in ("a", "b"):
        slots.poll_ended(queue, await slots.reserve(queue), 10)
    assert not slots.reserve_extra("a")  # it holds 10 of its 15
