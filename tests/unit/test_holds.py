"""The hold table: nothing is hidden by a beat after it was settled."""

from __future__ import annotations

import asyncio

from taskq_sls.core.delivery import Delivery
from taskq_sls.worker.in_flight import InFlight


def delivery(name: str, queue: str = "default") -> Delivery:
    return Delivery(queue, name, f"receipt-{name}", f"id-{name}", 1, 0.0)


async def test_a_beat_covers_the_held_messages_of_its_queue() -> None:
    holds = InFlight()
    holds.add([delivery("a"), delivery("b", "slow"), delivery("c")])

    assert holds.begin_beat("default") == [delivery("a"), delivery("c")]
    assert len(holds) == 3


async def test_a_message_outside_of_a_beat_is_taken_out_at_once() -> None:
    holds = InFlight()
    holds.add([delivery("a"), delivery("b")])

    await asyncio.wait_for(holds.take_out(delivery("a")), 60)

    assert holds.begin_beat("default") == [delivery("b")]


async def test_taking_out_waits_for_the_beat_that_contains_the_message() -> None:
    holds = InFlight()
    holds.add([delivery("a")])
    batch = holds.begin_beat("default")
    waiting = asyncio.create_task(holds.take_out(delivery("a")))
    await asyncio.sleep(0)
    assert not waiting.done()
    assert not holds.holds(delivery("a"))

    await asyncio.to_thread(holds.end_beat, batch)

    await asyncio.wait_for(waiting, 60)


async def test_a_message_that_is_dropped_is_in_no_later_beat() -> None:
    holds = InFlight()
    holds.add([delivery("a")])

    holds.drop(delivery("a"))

    assert holds.begin_beat("default") == []
    assert not holds.holds(delivery("a"))


async def test_a_message_that_is_being_deleted_is_still_beaten_but_not_missed() -> None:
    holds = InFlight()
    holds.add([delivery("a")])

    holds.leave([delivery("a")])

    assert holds.begin_beat("default") == [delivery("a")]
    assert not holds.holds(delivery("a"))


async def test_a_dropped_message_may_be_held_again() -> None:
    holds = InFlight()
    holds.add([delivery("a")])
    holds.leave([delivery("a")])
    holds.drop(delivery("a"))

    holds.add([delivery("a")])

    assert holds.holds(delivery("a"))


def test_the_end_of_a_beat_survives_a_loop_that_is_gone() -> None:
    holds = InFlight()
    holds.add([delivery("a")])
    batch = holds.begin_beat("default")

    async def begin_to_wait() -> None:
        waiting = asyncio.ensure_future(holds.take_out(delivery("a")))
        await asyncio.sleep(0)
        waiting.cancel()

    asyncio.run(begin_to_wait())

    holds.end_beat(batch)
