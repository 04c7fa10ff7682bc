"""Concurrent single sends share requests, and every caller gets the answer to its own message."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Sequence
from typing import Any, cast

import pytest

from taskq_sls.brokers.base import MAX_BATCH, Answer, EntryError, Outgoing
from taskq_sls.core.coalescing import RequestBatcher
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
    lane = RequestBatcher(wire.send, MAX_BATCH, 8)
    assert await lane.send(message("a")) is None
    assert await lane.send(message("b")) is None
    assert wire.batches == [["a"], ["b"]]


async def test_a_hundred_callers_share_ten_requests(wire: Wire) -> None:
    wire.gate.set()
    lane = RequestBatcher(wire.send, MAX_BATCH, 8)
    answers = await asyncio.gather(*(lane.send(message(str(number))) for number in range(100)))
    assert answers == [None] * 100
    assert len(wire.batches) == 10
    assert sorted(int(body) for batch in wire.batches for body in batch) == list(range(100))


async def test_each_caller_gets_the_answer_to_its_own_message(wire: Wire) -> None:
    wire.gate.set()
    wire.refused = {"3", "17"}
    lane = RequestBatcher(wire.send, MAX_BATCH, 8)
    answers = await asyncio.gather(*(lane.send(message(str(number))) for number in range(25)))
    assert {str(number) for number, answer in enumerate(answers) if answer is not None} == wire.refused
    assert all(answer is None or answer.message == str(number) for number, answer in enumerate(answers))


async def test_a_partial_batch_waits_for_the_request_under_way_and_no_longer(wire: Wire) -> None:
    lane = RequestBatcher(wire.send, MAX_BATCH, 8)
    callers = [asyncio.create_task(lane.send(message("first")))]
    await settle()
    callers += [asyncio.create_task(lane.send(message(str(number)))) for number in range(3)]
    await settle()
    assert wire.batches == [["first"]]
    wire.gate.set()
    await asyncio.gather(*callers)
    assert wire.batches == [["first"], ["0", "1", "2"]]


async def test_a_full_batch_waits_for_nothing_up_to_the_most_requests_at_once(wire: Wire) -> None:
    lane = RequestBatcher(wire.send, MAX_BATCH, 3)
    callers = [asyncio.create_task(lane.send(message(str(number)))) for number in range(55)]
    await settle()
    assert [len(batch) for batch in wire.batches] == [10, 10, 10]
    wire.gate.set()
    await asyncio.gather(*callers)
    assert wire.most == 3
    assert sum(map(len, wire.batches)) == 55


async def test_one_request_at_a_time_keeps_the_order_of_the_callers(wire: Wire) -> None:
    wire.gate.set()
    lane = RequestBatcher(wire.send, MAX_BATCH, 1)
    await asyncio.gather(*(lane.send(message(str(number))) for number in range(35)))
    assert [body for batch in wire.batches for body in batch] == [str(number) for number in range(35)]
    assert wire.most == 1


async def test_a_caller_that_is_cancelled_takes_nobody_along(wire: Wire) -> None:
    lane = RequestBatcher(wire.send, MAX_BATCH, 8)
    callers = [asyncio.create_task(lane.send(message(str(number)))) for number in range(3)]
    await settle()
    callers[0].cancel()
    await settle()
    wire.gate.set()
    assert await asyncio.gather(*callers[1:]) == [None, None]
    assert callers[0].cancelled()


async def test_a_caller_that_is_cancelled_before_its_request_begins_sends_nothing(wire: Wire) -> None:
    lane = RequestBatcher(wire.send, MAX_BATCH, 1)
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
    lane = RequestBatcher(wire.send, MAX_BATCH, 8)
    answers = await asyncio.gather(*(lane.send(message(str(number))) for number in range(3)), return_exceptions=True)
    assert all(isinstance(answer, ConfigError) for answer in answers)
    wire.error = None
    assert await lane.send(message("again")) is None


async def test_a_request_that_answers_for_too_few_entries_leaves_no_caller_waiting() -> None:
    async def send(messages: Sequence[Outgoing]) -> list[Answer]:
        return [None]

    lane = RequestBatcher(send, MAX_BATCH, 8)
    answers = await asyncio.gather(*(lane.send(message(str(number))) for number in range(2)), return_exceptions=True)
    assert [type(answer) for answer in answers] == [type(None), ValueError]


async def test_a_request_that_is_cancelled_before_it_begins_leaves_no_caller_waiting(wire: Wire) -> None:
    lane = RequestBatcher(wire.send, MAX_BATCH, 1)
    lane._running.add(cast(Any, asyncio.current_task()))  # so that the entry waits
    caller = asyncio.create_task(lane.send(message("a")))
    await settle()
    lane._running.clear()
    lane._start(full=False)
    next(iter(lane._running)).cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(caller, 60)
    assert wire.batches == []
    wire.gate.set()
    assert await lane.send(message("b")) is None


class TestTaskFactories:
    """Tracers put their own in: that of aws-xray-sdk knows no argument `context`."""

    async def test_one_that_takes_no_context_starts_requests(self, wire: Wire) -> None:
        wire.gate.set()
        asyncio.get_running_loop().set_task_factory(lambda loop, coroutine: asyncio.Task(coroutine, loop=loop))
        lane = RequestBatcher(wire.send, MAX_BATCH, 8)
        assert await asyncio.wait_for(lane.send(message("a")), 60) is None
        assert await asyncio.gather(*(lane.send(message(str(number))) for number in range(12))) == [None] * 12

    @pytest.mark.parametrize(("returned", "says"), [(False, "no more tasks"), (True, "'NoneType' object has no")])
    async def test_whatever_keeps_a_request_from_starting_is_raised_to_its_callers(
        self, wire: Wire, returned: bool, says: str
    ) -> None:
        wire.gate.set()
        lane = RequestBatcher(wire.send, MAX_BATCH, 8)
        callers = [asyncio.create_task(lane.send(message(str(number)))) for number in range(12)]

        def refuse(loop: asyncio.AbstractEventLoop, coroutine: Any, **_: Any) -> Any:
            if not returned:
                raise RuntimeError("no more tasks")

        loop = asyncio.get_running_loop()
        loop.set_task_factory(refuse)
        done, waiting = await asyncio.wait(callers, timeout=60)
        loop.set_task_factory(None)
        assert not waiting
        assert all(str(caller.exception()).startswith(says) for caller in done)
        assert await lane.send(message("again")) is None
        assert wire.batches == [["again"]]


class TestContexts:
    trace: contextvars.ContextVar[str] = contextvars.ContextVar("trace", default="nobody's")
    span: contextvars.ContextVar[str] = contextvars.ContextVar("span", default="nobody's")

    @pytest.fixture
    def seen(self) -> list[tuple[str, str]]:
        return []

    @pytest.fixture
    def lane(self, seen: list[tuple[str, str]]) -> RequestBatcher[Outgoing, Answer]:
        async def send(messages: Sequence[Outgoing]) -> list[Answer]:
            seen.append((self.trace.get(), self.span.get()))
            self.span.set("the request's")
            return [None] * len(messages)

        return RequestBatcher(send, MAX_BATCH, 8)

    async def call(self, lane: RequestBatcher[Outgoing, Answer], span: str) -> str:
        self.span.set(span)
        await lane.send(message(span))
        return self.span.get()

    async def test_the_request_of_one_caller_sees_its_variables_and_changes_none(
        self, lane: RequestBatcher[Outgoing, Answer], seen: list[tuple[str, str]]
    ) -> None:
        self.trace.set("t")
        assert await self.call(lane, "a") == "a"
        assert seen == [("t", "a")]

    async def test_a_shared_request_sees_the_variables_on_which_its_callers_agree(
        self, lane: RequestBatcher[Outgoing, Answer], seen: list[tuple[str, str]]
    ) -> None:
        self.trace.set("t")
        assert await asyncio.gather(self.call(lane, "a"), self.call(lane, "b")) == ["a", "b"]
        assert seen == [("t", "nobody's")]

    async def test_a_variable_that_one_caller_does_not_have_stays_out_of_a_shared_request(
        self, lane: RequestBatcher[Outgoing, Answer], seen: list[tuple[str, str]]
    ) -> None:
        await asyncio.gather(self.call(lane, "a"), lane.send(message("b")))
        assert seen == [("nobody's", "nobody's")]
