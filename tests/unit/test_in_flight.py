"""The in-flight table: no heartbeat hides a message after it was settled."""

from __future__ import annotations

import asyncio

from taskq_sls.core.delivery import Delivery
from taskq_sls.worker.in_flight import InFlight


def delivery(name: str, queue: str = "default") -> Delivery:
    return Delivery(queue, name, f"receipt-{name}", f"id-{name}", 1, 0.0)


async def test_a_beat_covers_the_held_messages_of_its_queue() -> None:
    in_flight = InFlight()
    in_flight.add([delivery("a"), delivery("b", "slow"), delivery("c")])

    assert in_flight.begin_heartbeat("default") == [delivery("a"), delivery("c")]
    assert len(in_flight) == 3


async def test_a_message_outside_of_a_beat_is_taken_out_at_once() -> None:
    in_flight = InFlight()
    in_flight.add([delivery("a"), delivery("b")])

    await asyncio.wait_for(in_flight.remove_after_heartbeat(delivery("a")), 60)

    assert in_flight.begin_heartbeat("default") == [delivery("b")]


async def test_taking_out_waits_for_the_beat_that_contains_the_message() -> None:
    in_flight = InFlight()
    in_flight.add([delivery("a")])
    batch = in_flight.begin_heartbeat("default")
    waiting = asyncio.create_task(in_flight.remove_after_heartbeat(delivery("a")))
    await asyncio.sleep(0)
    assert not waiting.done()
    assert not in_flight.needs_heartbeat(delivery("a"))

    await asyncio.to_thread(in_flight.end_heartbeat, batch)

    await asyncio.wait_for(waiting, 60)


async def test_a_message_that_is_dropped_is_in_no_later_beat() -> None:
    in_flight = InFlight()
    in_flight.add([delivery("a")])

    in_flight.discard(delivery("a"))

    assert in_flight.begin_heartbeat("default") == []
    assert not in_flight.needs_heartbeat(delivery("a"))


async def test_a_message_that_is_being_deleted_is_still_beaten_but_not_missed() -> None:
    in_flight = InFlight()
    in_flight.add([delivery("a")])

    in_flight.mark_deleting([delivery("a")])

    assert in_flight.begin_heartbeat("default") == [delivery("a")]
    assert not in_flight.needs_heartbeat(delivery("a"))


async def test_a_dropped_message_may_be_held_again() -> None:
    in_flight = InFlight()
    in_flight.add([delivery("a")])
    in_flight.mark_deleting([delivery("a")])
    in_flight.discard(delivery("a"))

    in_flight.add([delivery("a")])

    assert in_flight.needs_heartbeat(delivery("a"))


def test_the_end_of_a_beat_survives_a_loop_that_is_gone() -> None:
    in_flight = InFlight()
    in_flight.add([delivery("a")])
    batch = in_flight.begin_heartbeat("default")

    async def begin_to_wait() -> None:
        waiting = asyncio.ensure_future(in_flight.remove_after_heartbeat(delivery("a")))
        await asyncio.sleep(0)
        waiting.cancel()

    asyncio.run(begin_to_wait())

    in_flight.end_heartbeat(batch)
