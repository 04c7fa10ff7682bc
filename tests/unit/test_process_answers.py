"""A child process and its parent: every answer belongs to its task, and no attempt waits without end."""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import AsyncIterator
from typing import Any

import pytest

from taskq_sls import Middleware, Retry
from taskq_sls.core.delivery import DONE, DeadLetter
from taskq_sls.engine.processes.frames import FrameError, FrameReader, MessageKind, frame
from tests.support import process_functions as functions
from tests.support.engine_harness import EngineHarness, delivery

ONCE = Retry(max_attempts=1)


@pytest.fixture
async def harness() -> AsyncIterator[EngineHarness]:
    harness = EngineHarness()
    yield harness
    assert harness.app.children is not None
    assert not harness.app.children._busy
    harness.app.children.close()


def in_process(harness: EngineHarness, function: Any, **options: Any) -> Any:
    return harness.task(run_in="process", retry=ONCE, **options)(function)


async def outcome_of(harness: EngineHarness, task: Any, *args: Any, id: str = "task-1") -> Any:
    async with asyncio.timeout(60):
        return await harness.process(delivery(task, *args, id=id))


async def result_of(harness: EngineHarness, task: Any, *args: Any, id: str = "task-1") -> Any:
    assert await outcome_of(harness, task, *args, id=id) == DONE
    return json.loads(harness.record(id).result_json or "null")


async def error_of(harness: EngineHarness, task: Any, *args: Any) -> Any:
    outcome = await outcome_of(harness, task, *args)
    assert isinstance(outcome, DeadLetter)
    return outcome.error


@pytest.mark.parametrize(("how", "status"), [("exit", 5), ("failing exec", 1), ("return", 0), ("unseen", 0)])
async def test_a_fork_that_comes_out_of_the_function_ends_and_answers_nothing(
    harness: EngineHarness, how: str, status: int, capfd: pytest.CaptureFixture[str]
) -> None:
    child = await result_of(harness, in_process(harness, functions.process_id), id="before")
    assert await result_of(harness, in_process(harness, functions.fork), how, id="fork") == f"{how}: {status}"
    assert await result_of(harness, in_process(harness, functions.process_id, name="next"), id="next") == child
    if how != "unseen":
        assert "in the fork" in capfd.readouterr().err


async def test_an_answer_to_another_request_kills_the_child_and_fails_its_attempt(harness: EngineHarness) -> None:
    child = await result_of(harness, in_process(harness, functions.process_id), id="before")
    error = await error_of(harness, in_process(harness, functions.answer_for_another_request))
    assert error.type == "taskq_sls.errors.TaskCrashed"
    assert "was killed: it sent an answer to request 1000000, but 2 was sent" in error.message
    assert await result_of(harness, in_process(harness, functions.process_id, name="next"), id="next") != child


@pytest.mark.parametrize("data", [b"hello", b"some text that is longer than what a message begins with"])
async def test_bytes_that_are_no_message_kill_the_child_and_fail_its_attempt(
    harness: EngineHarness, data: bytes
) -> None:
    task = in_process(harness, functions.write_to_the_connection)
    error = await error_of(harness, task, *task.plan.signature.encode((data,), {})[0])
    assert error.type == "taskq_sls.errors.TaskCrashed"
    assert "it sent bytes that are no message" in error.message


async def test_a_context_that_the_child_cannot_read_is_a_failed_attempt(harness: EngineHarness) -> None:
    def accept(value: Any) -> Any:
        return value

    class Marked(Middleware):
        options = {"mark": accept}

    mark = functions.OnlyHere(functions.process_id())
    task = in_process(harness, functions.process_id, name="marked", middleware=[Marked()], mark=mark)
    error = await error_of(harness, task)
    assert (error.type, error.message) == ("RuntimeError", "made in another process")
    assert await result_of(harness, in_process(harness, functions.process_id), id="next")


async def test_a_context_that_cannot_be_sent_is_a_failed_attempt(
    harness: EngineHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(options: Any) -> Any:
        raise TypeError("cannot pickle it")

    await result_of(harness, in_process(harness, functions.process_id), id="before")
    monkeypatch.setattr("taskq_sls.engine.processes.pool._picklable", fail)
    error = await error_of(harness, in_process(harness, functions.sleep))
    assert error.message == "cannot pickle it"


async def test_a_result_that_is_too_large_to_travel_is_refused_with_the_limit(harness: EngineHarness) -> None:
    outcome = await outcome_of(harness, in_process(harness, functions.too_large))
    assert isinstance(outcome, DeadLetter)
    assert outcome.reason == "result"
    assert outcome.error is not None
    assert "the limit is 10,000" in outcome.error.message


async def test_a_request_that_is_too_large_is_a_failed_attempt(
    harness: EngineHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("taskq_sls.engine.processes.frames.MAX_BYTES", 10_000)
    error = await error_of(harness, in_process(harness, functions.size_of), "x" * 20_000)
    assert "is too large to pass between a worker and its child process" in error.message


async def test_a_pool_of_processes_works_and_ends(harness: EngineHarness) -> None:
    assert await result_of(harness, in_process(harness, functions.pool_of_processes)) == [1, 2]


async def test_a_forked_process_of_a_child_can_be_terminated(harness: EngineHarness) -> None:
    assert await result_of(harness, in_process(harness, functions.terminate_a_process)) == -15


def test_messages_come_out_as_they_went_in_however_their_bytes_arrive() -> None:
    reader, sent = FrameReader(3), [(MessageKind.RUN, 1, None), (MessageKind.STOP_REASON, 1, "x" * 100)]
    found = []
    for byte in b"".join(frame(message) for message in sent):
        reader.feed(bytes([byte]))
        if (message := reader.next()) is not None:
            found.append(message)
    assert found == sent


@pytest.mark.parametrize(
    "data",
    [
        b"hello, world",
        struct.pack("!4sQ", frame(())[:4], 1 << 60),
        frame(("too", "short")),
        frame(["of", "another", "kind"]),
        frame(("a", "b", "c"))[:-1] + b"x",
    ],
)
def test_bytes_that_are_no_message_are_refused_and_not_waited_for(data: bytes) -> None:
    reader = FrameReader(3)
    reader.feed(data)
    with pytest.raises(FrameError):
        reader.next()
