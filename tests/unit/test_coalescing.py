"""Concurrent single sends share requests, and every caller gets the answer to its own message."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Sequence

import pytest

from taskq_sls.brokers.base import Answer, EntryError, Outgoing
from taskq_sls.brokers.coalescing import SendLane
from taskq_sls.errors import ConfigError


class Wire:
    """What sends batches. Its requests end when the test says so."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.gate = asyncio.Event()
        self.refused: set[str] = set()
        self.error: Exception | None = None
        self.most = 0
        self._open = 0

    async def send(self, messages: Sequence[Outgoing]) -> list[Answer]:
        self.batches.append([message.body for message in messages])
        self._open += 1
        self.most = max(self.most, self._open)
        await self.gate.wait()
        self._open -= 1
        if self.error is not None:
            raise self.error
        return [EntryError("No", message.body) if message.body in self.refused else None for message in messages]


@pytest.fixture
def wire() -> Wire:
    return Wire()


def message(body: str) -> Outgoing:
    return Outgoing("default", body, f"id-{body}")


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_a_single_caller_waits_for_nobody(wire: Wire) -> None:
    wire.gate.set()
    lane = SendLane(wire.send, 8)
    assert await lane.send(message("a")) is None
    assert await lane.send(message("b")) is None
    assert wire.batches == [["a"], ["b"]]


async def test_a_hundred_callers_share_ten_requests(wire: Wire) -> None:
    wire.gate.set()
    lane = SendLane(wire.send, 8)
    answers = await asyncio.gather(*(lane.send(message(str(number))) for number in range(100)))
    assert answers == [None] * 100
    assert len(wire.batches) == 10
    assert sorted(int(body) for batch in wire.batches for body in batch) == list(range(100))


async def test_each_caller_gets_the_answer_to_its_own_message(wire: Wire) -> None:
    wire.gate.set()
    wire.refused = {"3", "17"}
    lane = SendLane(wire.send, 8)
    answers = await asyncio.gather(*(lane.send(message(str(number))) for number in range(25)))
    assert {str(number) for number, answer in enumerate(answers) if answer is not None} == wire.refused
    assert all(answer is None or answer.message == str(number) for number, answer in enumerate(answers))


async def test_a_partial_batch_waits_for_the_request_under_way_and_no_longer(wire: Wire) -> None:
    lane = SendLane(wire.send, 8)
    callers = [asyncio.create_task(lane.send(message("first")))]
    await settle()
    callers += [asyncio.create_task(lane.send(message(str(number)))) for number in range(3)]
    await settle()
    assert wire.batches == [["first"]]
    wire.gate.set()
    await asyncio.gather(*callers)
    assert wire.batches == [["first"], ["0", "1", "2"]]


async def test_a_full_batch_waits_for_nothing_up_to_the_most_requests_at_once(wire: Wire) -> None:
    lane = SendLane(wire.send, 3)
    callers = [asyncio.create_task(lane.send(message(str(number)))) for number in range(55)]
    await settle()
    assert [len(batch) for batch in wire.batches] == [10, 10, 10]
    wire.gate.set()
    await asyncio.gather(*callers)
    assert wire.most == 3
    assert sum(map(len, wire.batches)) == 55


async def test_one_request_at_a_time_keeps_the_order_of_the_callers(wire: Wire) -> None:
    wire.gate.set()
    lane = SendLane(wire.send, 1)
    await asyncio.gather(*(lane.send(message(str(number))) for number in range(35)))
    assert [body for batch in wire.batches for body in batch] == [str(number) for number in range(35)]
    assert wire.most == 1


async def test_a_caller_that_is_cancelled_takes_nobody_along(wire: Wire) -> None:
    lane = SendLane(wire.send, 8)
    callers = [asyncio.create_task(lane.send(message(str(number)))) for number in range(3)]
    await settle()
    callers[0].cancel()
    await settle()
    wire.gate.set()
    assert await asyncio.gather(*callers[1:]) == [None, None]
    assert callers[0].cancelled()


async def test_a_caller_that_is_cancelled_before_its_request_begins_sends_nothing(wire: Wire) -> None:
    lane = SendLane(wire.send, 1)
    first = asyncio.create_task(lane.send(message("first")))
    await settle()
    waiting = [asyncio.create_task(lane.send(message(str(number)))) for number in range(3)]
    await settle()
    waiting[1].cancel()
    await settle()
    wire.gate.set()
    await asyncio.gather(first, waiting[0], waiting[2])
    assert wire.batches == [["first"], ["0", "2"]]


async def test_a_fault_of_the_request_reaches_every_caller_and_the_next_one_is_sent_anew(wire: Wire) -> None:
    wire.gate.set()
    wire.error = ConfigError("no such queue")
    lane = SendLane(wire.send, 8)
    answers = await asyncio.gather(*(lane.send(message(str(number))) for number in range(3)), return_exceptions=True)
    assert all(isinstance(answer, ConfigError) for answer in answers)
    wire.error = None
    assert await lane.send(message("again")) is None


async def test_the_context_of_the_first_caller_does_not_leak_into_the_request() -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="nobody's")
    seen = []

    async def send(messages: Sequence[Outgoing]) -> list[Answer]:
        seen.append(variable.get())
        return [None] * len(messages)

    lane = SendLane(send, 8)

    async def caller(name: str) -> None:
        variable.set(name)
        await lane.send(message(name))

    await asyncio.gather(caller("a"), caller("b"))
    assert seen == ["nobody's"]
