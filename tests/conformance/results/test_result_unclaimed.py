"""Records written without a claim: queued, cancelled, expired, finished."""

from typing import Any

import pytest

from taskq_sls.core.states import State
from taskq_sls.results.base import ResultBackend
from taskq_sls.results.records import AttemptEnd, CancelAnswer, Claimed, Refused
from tests.support.record_builders import HOLD, NOW, TTL, a_claim, a_fence, failed, retrying, run, start, succeeded

pytestmark = pytest.mark.asyncio(loop_scope="module")

TASK: dict[str, Any] = {"task": "shop.tasks:resize", "queue": "default", "ttl": TTL}


async def test_cancelling_a_task_without_a_record_keeps_it_from_running(results: ResultBackend) -> None:
    assert await results.cancel("task-1", now=NOW, **TASK) == CancelAnswer("cancelled", State.CANCELLED)
    assert isinstance(await results.claim(a_claim(now=NOW + 1)), Refused)
    record = await results.get("task-1", now=NOW)
    assert record is not None
    assert (record.task, record.queue, record.ttl, record.attempt) == ("shop.tasks:resize", "default", TTL, 0)
    assert record.finished_at == NOW


async def test_a_queued_task_is_cancelled(results: ResultBackend) -> None:
    await results.put_queued(a_claim(ttl=TTL + 5))
    assert await results.cancel("task-1", now=NOW, **TASK) == CancelAnswer("cancelled", State.CANCELLED)
    record = await results.get("task-1", now=NOW)
    assert record is not None
    assert (record.enqueued_at, record.ttl) == (NOW - 10, TTL + 5)


async def test_a_retrying_task_is_cancelled(results: ResultBackend) -> None:
    await run(results, retrying())
    assert await results.cancel("task-1", now=NOW + 2, **TASK) == CancelAnswer("cancelled", State.CANCELLED)
    record = await results.get("task-1", now=NOW + 2)
    assert record is not None
    assert (record.status, record.next_at, record.finished_at) == (State.CANCELLED, None, NOW + 2)
    assert (record.attempt, record.error) == (1, retrying().error)


async def test_a_running_task_is_told(results: ResultBackend) -> None:
    await start(results)
    assert await results.cancel("task-1", now=NOW + 1, **TASK) == CancelAnswer("requested", State.RUNNING)
    record = await results.get("task-1", now=NOW + 1)
    assert record is not None
    assert (record.status, record.cancel_requested) == (State.RUNNING, True)


@pytest.mark.parametrize("finish", [succeeded(), failed(), AttemptEnd(State.EXPIRED, now=NOW, ttl=TTL)])
async def test_an_ended_task_is_not_cancelled(results: ResultBackend, finish: AttemptEnd) -> None:
    await run(results, finish)
    assert await results.cancel("task-1", now=NOW + 2, **TASK) == CancelAnswer("too_late", finish.state)


async def test_cancelling_twice_answers_cancelled_and_changes_nothing(results: ResultBackend) -> None:
    await results.cancel("task-1", now=NOW, **TASK)
    before = await results.get("task-1", now=NOW)
    assert await results.cancel("task-1", now=NOW + 9, **TASK) == CancelAnswer("cancelled", State.CANCELLED)
    assert await results.get("task-1", now=NOW) == before


async def test_cancelling_over_a_record_past_its_time_to_live_starts_anew(results: ResultBackend) -> None:
    await run(results, succeeded(), a_claim(labels={"old": "yes"}))
    answer = await results.cancel("task-1", task="shop.tasks:other", queue="slow", now=TTL, ttl=TTL + 100)
    assert answer == CancelAnswer("cancelled", State.CANCELLED)
    record = await results.get("task-1", now=TTL)
    assert record is not None
    assert (record.task, record.queue, record.ttl) == ("shop.tasks:other", "slow", TTL + 100)
    assert (record.attempt, record.result_json, record.labels) == (0, None, {})


async def test_a_task_that_was_never_started_expires(results: ResultBackend) -> None:
    assert await results.expire(a_claim()) is True
    record = await results.get("task-1", now=NOW)
    assert record is not None
    assert (record.status, record.attempt, record.finished_at) == (State.EXPIRED, 0, NOW)
    assert isinstance(await results.claim(a_claim(owner="owner-2")), Refused)


async def test_a_queued_task_expires(results: ResultBackend) -> None:
    await results.put_queued(a_claim())
    assert await results.expire(a_claim(now=NOW + 1)) is True
    record = await results.get("task-1", now=NOW)
    assert record is not None
    assert record.status is State.EXPIRED


async def test_an_expiry_whose_answer_was_lost_is_expired(results: ResultBackend) -> None:
    await results.expire(a_claim())
    assert await results.expire(a_claim()) is True
    assert await results.expire(a_claim(owner="owner-2")) is False


async def test_a_task_whose_first_attempt_was_started_does_not_expire(results: ResultBackend) -> None:
    await start(results)
    assert await results.expire(a_claim(owner="owner-2", now=NOW + HOLD + 100)) is False
    await run(results, retrying(), a_claim("task-2"))
    assert await results.expire(a_claim("task-2", owner="owner-2", now=NOW + 100)) is False


async def test_a_queued_task_of_another_run_does_not_expire(results: ResultBackend) -> None:
    await results.put_queued(a_claim())
    assert await results.expire(a_claim(run=1)) is False


async def test_a_record_past_its_time_to_live_is_expired_anew(results: ResultBackend) -> None:
    await run(results, succeeded())
    assert await results.expire(a_claim(now=TTL, ttl=TTL + 100)) is True


async def test_a_queued_record_waits_for_its_first_attempt(results: ResultBackend) -> None:
    assert await results.put_queued(a_claim(labels={"tenant": "7"})) is True
    record = await results.get("task-1", now=NOW)
    assert record is not None
    assert (record.status, record.attempt, record.owner, record.lease_until) == (State.QUEUED, 0, None, None)
    assert (record.enqueued_at, record.labels, record.ttl) == (NOW - 10, {"tenant": "7"}, TTL)


async def test_a_queued_record_never_replaces_one_that_is_alive(results: ResultBackend) -> None:
    claim, fence = await start(results)
    assert await results.put_queued(claim) is False
    assert await results.finish(fence, succeeded()) is State.SUCCEEDED
    assert await results.put_queued(claim) is False
    record = await results.get("task-1", now=NOW)
    assert record is not None
    assert record.status is State.SUCCEEDED


async def test_a_queued_record_replaces_one_past_its_time_to_live(results: ResultBackend) -> None:
    await run(results, succeeded())
    assert await results.put_queued(a_claim(now=TTL, ttl=TTL + 100)) is True
    assert await results.claim(a_claim(now=TTL + 1, ttl=TTL + 100)) == Claimed(1)


async def test_the_end_of_an_unclaimed_attempt_is_recorded(results: ResultBackend) -> None:
    await results.put_finished(a_claim(labels={"tenant": "7"}), 2, succeeded('"first"'))
    record = await results.get("task-1", now=NOW)
    assert record is not None
    assert (record.status, record.attempt, record.result_json) == (State.SUCCEEDED, 2, '"first"')
    assert (record.labels, record.finished_at, record.lease_until) == ({"tenant": "7"}, NOW + 1, None)


async def test_of_two_unclaimed_attempts_the_last_write_wins(results: ResultBackend) -> None:
    await results.put_finished(a_claim(), 1, failed())
    await results.put_finished(a_claim(), 2, succeeded('"second"'))
    record = await results.get("task-1", now=NOW)
    assert record is not None
    assert (record.status, record.attempt, record.result_json) == (State.SUCCEEDED, 2, '"second"')
    assert (record.error, record.reason) == (None, None)


async def test_a_claimed_attempt_is_fenced_from_an_unclaimed_one(results: ResultBackend) -> None:
    claim, _ = await start(results)
    await results.put_finished(a_claim(owner="owner-2"), 1, succeeded())
    assert await results.finish(a_fence(claim), failed()) is None
