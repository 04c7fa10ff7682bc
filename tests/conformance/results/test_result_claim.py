"""Claims: who may start an attempt."""

import pytest

from taskq_sls.core.states import State
from taskq_sls.results.base import ResultBackend
from taskq_sls.results.records import AttemptEnd, Claimed, Refused
from taskq_sls.results.rules import TAKEOVER_GRACE
from tests.support.record_builders import HOLD, NOW, TTL, a_claim, a_fence, failed, retrying, run, start, succeeded

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_task_without_a_record_is_claimed_as_attempt_one(results: ResultBackend) -> None:
    claim = a_claim(labels={"tenant": "7"}, parent="task-0")
    assert await results.claim(claim) == Claimed(1)
    record = await results.get("task-1", now=NOW)
    assert record is not None
    assert (record.status, record.attempt, record.run, record.owner) == (State.RUNNING, 1, 0, "owner-1")
    assert (record.task, record.queue) == ("shop.tasks:resize", "default")
    assert (record.enqueued_at, record.started_at, record.updated_at) == (NOW - 10, NOW, NOW)
    assert (record.lease_until, record.ttl) == (NOW + HOLD, TTL)
    assert (record.labels, record.parent) == ({"tenant": "7"}, "task-0")


async def test_a_queued_task_is_claimed_as_attempt_one(results: ResultBackend) -> None:
    await results.put_queued(a_claim())
    assert await results.claim(a_claim()) == Claimed(1)


async def test_a_claim_whose_answer_was_lost_is_claimed_again_without_counting(results: ResultBackend) -> None:
    await results.claim(a_claim())
    assert await results.claim(a_claim()) == Claimed(1)


async def test_a_lost_answer_is_recognised_even_after_the_lease_ended(results: ResultBackend) -> None:
    await results.claim(a_claim())
    assert await results.claim(a_claim(now=NOW + HOLD + 100)) == Claimed(1)


async def test_two_deliveries_of_a_task_never_run_at_once_while_the_lease_holds(results: ResultBackend) -> None:
    await start(results)
    answer = await results.claim(a_claim(owner="owner-2", now=NOW + HOLD - 1))
    assert isinstance(answer, Refused)
    assert (answer.record.owner, answer.record.lease_until) == ("owner-1", NOW + HOLD)


@pytest.mark.parametrize("state", [State.SUCCEEDED, State.FAILED, State.CANCELLED, State.EXPIRED])
async def test_a_terminal_state_is_final_for_its_run(results: ResultBackend, state: State) -> None:
    await run(results, AttemptEnd(state, now=NOW + 1, ttl=TTL))
    answer = await results.claim(a_claim(owner="owner-2", now=NOW + 2))
    assert isinstance(answer, Refused)
    assert answer.record.status is state


async def test_a_refused_claim_shows_the_stored_failure(results: ResultBackend) -> None:
    await run(results, failed())
    answer = await results.claim(a_claim(owner="owner-2"))
    assert isinstance(answer, Refused)
    assert answer.record.error == failed().error
    assert answer.record.reason == "exhausted"


@pytest.mark.parametrize(("late", "taken"), [(-0.001, False), (0, True)])
async def test_a_lease_is_taken_over_only_five_seconds_after_its_end(
    results: ResultBackend, late: float, taken: bool
) -> None:
    await start(results)
    answer = await results.claim(a_claim(owner="owner-2", now=NOW + HOLD + TAKEOVER_GRACE + late))
    assert (answer == Claimed(2)) is taken


async def test_an_ended_lease_at_the_last_attempt_is_not_taken_over(results: ResultBackend) -> None:
    await start(results)
    late = NOW + HOLD + 100
    assert isinstance(await results.claim(a_claim(owner="owner-2", now=late, max_attempts=1)), Refused)
    assert await results.claim(a_claim(owner="owner-2", now=late, max_attempts=2)) == Claimed(2)


@pytest.mark.parametrize(("now", "claimed"), [(NOW + 30.999, False), (NOW + 31, True)])
async def test_a_retry_is_claimed_once_it_is_due(results: ResultBackend, now: float, claimed: bool) -> None:
    await run(results, retrying(next_at=NOW + 31))
    answer = await results.claim(a_claim(owner="owner-2", now=now))
    assert (answer == Claimed(2)) is claimed


async def test_a_retry_without_a_due_time_is_claimed_at_once(results: ResultBackend) -> None:
    await run(results, retrying(next_at=None))
    assert await results.claim(a_claim(owner="owner-2", now=NOW + 1)) == Claimed(2)


async def test_a_claim_clears_what_the_attempt_before_left(results: ResultBackend) -> None:
    claim = a_claim(labels={"tenant": "7"})
    await run(results, retrying(), claim)
    await start(results, a_claim(owner="owner-2", now=NOW + 40))
    record = await results.get("task-1", now=NOW + 40)
    assert record is not None
    assert (record.next_at, record.error, record.reason, record.finished_at, record.progress) == (None,) * 5
    assert (record.attempt, record.started_at, record.labels) == (2, NOW + 40, {"tenant": "7"})


async def test_a_task_with_a_cancel_request_is_not_taken_over(results: ResultBackend) -> None:
    await start(results)
    await results.cancel("task-1", task="shop.tasks:resize", queue="default", now=NOW + 1, ttl=TTL)
    answer = await results.claim(a_claim(owner="owner-2", now=NOW + HOLD + 100))
    assert isinstance(answer, Refused)
    assert answer.record.cancel_requested


async def test_a_released_task_with_a_cancel_request_is_not_started(results: ResultBackend) -> None:
    _, fence = await start(results)
    await results.cancel("task-1", task="shop.tasks:resize", queue="default", now=NOW + 1, ttl=TTL)
    await results.release(fence, now=NOW + 2)
    assert isinstance(await results.claim(a_claim(owner="owner-2", now=NOW + 3)), Refused)


async def test_a_redrive_opens_a_record_that_failed_in_a_lower_run_as_new(results: ResultBackend) -> None:
    await run(results, failed())
    again = a_claim(run=1, owner="owner-2", now=NOW + 100)
    assert await results.claim(again) == Claimed(1)
    record = await results.get("task-1", now=NOW + 100)
    assert record is not None
    assert (record.status, record.run, record.attempt, record.error) == (State.RUNNING, 1, 1, None)


async def test_the_answer_of_a_claim_that_opened_a_new_run_may_be_lost(results: ResultBackend) -> None:
    await run(results, failed())
    again = a_claim(run=1, owner="owner-2", now=NOW + 100)
    await results.claim(again)
    assert await results.claim(again) == Claimed(1)


@pytest.mark.parametrize("state", [State.SUCCEEDED, State.CANCELLED, State.EXPIRED])
async def test_a_redrive_opens_nothing_but_a_failure(results: ResultBackend, state: State) -> None:
    await run(results, AttemptEnd(state, now=NOW + 1, ttl=TTL))
    assert isinstance(await results.claim(a_claim(run=1, owner="owner-2", now=NOW + 100)), Refused)


async def test_a_redrive_does_not_start_beside_a_lower_run_that_waits(results: ResultBackend) -> None:
    await run(results, retrying())
    assert isinstance(await results.claim(a_claim(run=1, owner="owner-2", now=NOW + 100)), Refused)


async def test_a_failure_of_the_same_or_a_higher_run_stays(results: ResultBackend) -> None:
    await run(results, failed(), a_claim(run=1))
    for lower_or_same in (0, 1):
        answer = await results.claim(a_claim(run=lower_or_same, owner="owner-2", now=NOW + 100))
        assert isinstance(answer, Refused)
        assert answer.record.run == 1


async def test_a_record_past_its_time_to_live_is_replaced_whole(results: ResultBackend) -> None:
    await run(results, succeeded(), a_claim(labels={"old": "yes"}, parent="old", enqueued_at=NOW - 99))
    later = a_claim(owner="owner-2", now=TTL, ttl=TTL + 100, task="shop.tasks:other", enqueued_at=TTL - 1)
    assert await results.claim(later) == Claimed(1)
    record = await results.get("task-1", now=TTL)
    assert record is not None
    assert (record.task, record.enqueued_at, record.ttl) == ("shop.tasks:other", TTL - 1, TTL + 100)
    assert (record.labels, record.parent, record.result_json, record.finished_at) == ({}, None, None, None)


async def test_a_waiting_record_past_its_time_to_live_is_not_resumed(results: ResultBackend) -> None:
    await run(results, retrying(), a_claim(labels={"old": "yes"}))
    assert await results.claim(a_claim(owner="owner-2", now=TTL, ttl=TTL + 100)) == Claimed(1)
    record = await results.get("task-1", now=TTL)
    assert record is not None
    assert record.labels == {}


async def test_a_running_record_past_its_time_to_live_is_replaced_too(results: ResultBackend) -> None:
    claim = a_claim(ttl=NOW + 30, lease_until=NOW + 1000)
    await results.claim(claim)
    assert await results.claim(a_claim(owner="owner-2", now=NOW + 29)) != Claimed(1)
    assert await results.claim(a_claim(owner="owner-2", now=NOW + 30)) == Claimed(1)


async def test_the_zombie_of_a_replaced_record_can_write_nothing(results: ResultBackend) -> None:
    claim = a_claim(ttl=NOW + 30)
    await results.claim(claim)
    await results.claim(a_claim(owner="owner-2", now=NOW + 30))
    assert await results.finish(a_fence(claim), succeeded()) is None


@pytest.mark.parametrize("status", list(State))
async def test_a_record_of_another_task_is_never_claimed(results: ResultBackend, status: State) -> None:
    if status is State.QUEUED:
        await results.put_queued(a_claim(task="shop:echo"))
    elif status is State.RUNNING:
        await start(results, a_claim(task="shop:echo"))
    else:
        await run(results, AttemptEnd(status, now=NOW + 1, ttl=TTL), a_claim(task="shop:echo"))
    late = NOW + HOLD + 100
    for run_number in (0, 1):
        answer = await results.claim(a_claim(task="shop:export", owner="owner-2", run=run_number, now=late))
        assert isinstance(answer, Refused)
        assert (answer.record.task, answer.record.status) == ("shop:echo", status)
    assert not await results.expire(a_claim(task="shop:export", owner="owner-2", now=late))


async def test_an_expired_record_of_another_task_is_replaced(results: ResultBackend) -> None:
    await run(results, succeeded(), a_claim(task="shop:echo"))
    assert await results.claim(a_claim(task="shop:export", owner="owner-2", now=TTL + 1, ttl=TTL + 100)) == Claimed(1)
    record = await results.get("task-1", now=TTL + 1)
    assert record is not None
    assert record.task == "shop:export"


@pytest.mark.parametrize("status", [State.QUEUED, State.RUNNING, State.RETRYING, State.FAILED])
async def test_a_record_under_a_former_name_is_claimed(results: ResultBackend, status: State) -> None:
    former = a_claim(task="old:export")
    if status is State.QUEUED:
        await results.put_queued(former)
    elif status is State.RUNNING:
        await start(results, former)
    elif status is State.RETRYING:
        await run(results, retrying(), former)
    else:
        await run(results, failed(), former)
    moved = a_claim(
        task="new:export",
        aliases=("older:export", "old:export"),
        owner="owner-2",
        run=int(status is State.FAILED),
        now=NOW + HOLD + 100,
    )
    assert isinstance(await results.claim(moved), Claimed)


async def test_a_queued_record_under_a_former_name_expires(results: ResultBackend) -> None:
    await results.put_queued(a_claim(task="old:export"))
    assert await results.expire(a_claim(task="new:export", aliases=("old:export",), now=NOW + 100))


async def test_only_the_run_after_a_failed_one_is_opened(results: ResultBackend) -> None:
    await run(results, failed())
    for ahead in (2, 90_000):
        assert isinstance(await results.claim(a_claim(owner="owner-2", run=ahead, now=NOW + 2)), Refused)
    assert await results.claim(a_claim(owner="owner-3", run=1, now=NOW + 2)) == Claimed(1)
