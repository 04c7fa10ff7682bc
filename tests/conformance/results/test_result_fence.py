"""What the holder of an attempt may do, and what it may not any more."""

from typing import Any

import pytest

from taskq_sls.core.context import Progress
from taskq_sls.core.message import ErrorInfo
from taskq_sls.core.states import State
from taskq_sls.errors import PayloadTooLarge
from taskq_sls.results.base import ResultBackend
from taskq_sls.results.layout import CUT, MAX_MESSAGE_BYTES, MAX_RESULT_BYTES, MAX_TRACEBACK_BYTES
from taskq_sls.results.records import AttemptEnd, Claimed, Renewed, TaskRecord
from tests.support.record_builders import HOLD, NOW, TTL, a_claim, failed, retrying, run, start, succeeded

pytestmark = pytest.mark.asyncio(loop_scope="module")

TASK: dict[str, Any] = {"task": "shop.tasks:resize", "queue": "default", "ttl": TTL}
AFTER_LEASE = NOW + HOLD + 10


async def read(results: ResultBackend, now: float = NOW) -> TaskRecord:
    record = await results.get("task-1", now=now)
    assert record is not None
    return record


async def test_a_finish_stores_the_result_and_ends_the_lease(results: ResultBackend) -> None:
    await run(results, succeeded('{"width": 200}', progress=Progress(3, 3)))
    record = await read(results)
    assert (record.status, record.result_json, record.finished_at) == (State.SUCCEEDED, '{"width": 200}', NOW + 1)
    assert (record.lease_until, record.updated_at, record.progress) == (None, NOW + 1, Progress(3, 3))


async def test_a_failure_stores_its_error_and_reason(results: ResultBackend) -> None:
    await run(results, failed())
    record = await read(results)
    assert (record.status, record.error, record.reason) == (State.FAILED, failed().error, "exhausted")


async def test_a_retry_stores_when_it_is_due(results: ResultBackend) -> None:
    await run(results, retrying(next_at=NOW + 31))
    record = await read(results)
    assert (record.status, record.next_at, record.finished_at) == (State.RETRYING, NOW + 31, None)
    assert (record.lease_until, record.error) == (None, retrying().error)


@pytest.mark.parametrize("finish", [succeeded(), failed(), retrying()])
async def test_a_finish_whose_answer_was_lost_answers_the_same_again(
    results: ResultBackend, finish: AttemptEnd
) -> None:
    fence = await run(results, finish)
    assert await results.finish(fence, finish) is finish.state


async def test_a_zombie_cannot_finish_over_its_successor(results: ResultBackend) -> None:
    _, zombie = await start(results)
    _, successor = await start(results, a_claim(owner="owner-2", now=AFTER_LEASE))
    assert await results.finish(zombie, succeeded('"zombie"')) is None
    assert await results.finish(successor, succeeded('"successor"')) is State.SUCCEEDED
    assert await results.finish(zombie, succeeded('"zombie"')) is None
    assert (await read(results)).result_json == '"successor"'


async def test_a_fence_of_another_attempt_or_run_is_refused(results: ResultBackend) -> None:
    _, fence = await start(results)
    assert await results.finish(fence._replace(attempt=2), succeeded()) is None
    assert await results.finish(fence._replace(run=1), succeeded()) is None
    assert await results.finish(fence, succeeded()) is State.SUCCEEDED


async def test_a_finished_attempt_cannot_be_finished_otherwise(results: ResultBackend) -> None:
    fence = await run(results, succeeded())
    assert await results.finish(fence, failed()) is None
    assert await results.finish(fence, retrying()) is None
    assert (await read(results)).status is State.SUCCEEDED


async def test_nothing_is_finished_without_a_record(results: ResultBackend) -> None:
    _, fence = await start(results)
    other = fence._replace(id="task-2")
    assert await results.finish(other, succeeded()) is None
    assert await results.renew(other, now=NOW, lease_until=NOW + 1) is None
    assert await results.release(other, now=NOW) is False
    assert await results.get("task-2", now=NOW) is None


async def test_a_retry_becomes_cancelled_where_a_cancel_was_requested(results: ResultBackend) -> None:
    _, fence = await start(results)
    await results.cancel("task-1", now=NOW, **TASK)
    assert await results.finish(fence, retrying()) is State.CANCELLED
    assert await results.finish(fence, retrying()) is State.CANCELLED
    record = await read(results)
    assert (record.status, record.next_at, record.finished_at) == (State.CANCELLED, None, NOW + 1)


@pytest.mark.parametrize("finish", [succeeded(), failed()])
async def test_an_end_wins_over_a_cancel_request(results: ResultBackend, finish: AttemptEnd) -> None:
    _, fence = await start(results)
    await results.cancel("task-1", now=NOW, **TASK)
    assert await results.finish(fence, finish) is finish.state


async def test_a_retry_that_was_cancelled_before_its_repeated_finish_answers_cancelled(results: ResultBackend) -> None:
    fence = await run(results, retrying())
    await results.cancel("task-1", now=NOW + 2, **TASK)
    assert await results.finish(fence, retrying()) is State.CANCELLED


# aiohttp warns of bodies over 1 MiB, which this is once its letters are escaped.
@pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")
async def test_a_result_of_350_000_bytes_is_stored(results: ResultBackend) -> None:
    result = '"' + "é" * (MAX_RESULT_BYTES // 2 - 1) + '"'
    await run(results, succeeded(result))
    assert (await read(results)).result_json == result


async def test_a_larger_result_is_refused_with_size_limit_and_fix(results: ResultBackend) -> None:
    _, fence = await start(results)
    too_large = succeeded('"' + "é" * (MAX_RESULT_BYTES // 2) + '"')
    with pytest.raises(PayloadTooLarge, match=r"350,002 bytes .* at most 350,000 .*TASKQ_BUCKET"):
        await results.finish(fence, too_large)
    with pytest.raises(PayloadTooLarge):
        await results.put_finished(a_claim("task-2"), 1, too_large)
    assert (await read(results)).status is State.RUNNING


async def test_long_error_texts_are_cut_where_they_matter_least(results: ResultBackend) -> None:
    error = ErrorInfo("builtins.ValueError", "first" + "é" * 20_000, "x" * 70_000 + "the cause")
    await run(results, AttemptEnd(State.FAILED, now=NOW, ttl=TTL, error=error))
    stored = (await read(results)).error
    assert stored is not None
    assert len(stored.message.encode()) in (MAX_MESSAGE_BYTES - 1, MAX_MESSAGE_BYTES)
    assert stored.message.startswith("first")
    assert stored.message.endswith(CUT)
    assert len(stored.traceback) == MAX_TRACEBACK_BYTES
    assert stored.traceback.startswith(CUT)
    assert stored.traceback.endswith("the cause")


async def test_an_error_text_that_utf_8_cannot_carry_is_stored_escaped(results: ResultBackend) -> None:
    await run(
        results, AttemptEnd(State.FAILED, now=NOW, ttl=TTL, error=ErrorInfo("builtins.OSError", "no file \udc80"))
    )
    assert (await read(results)).error == ErrorInfo("builtins.OSError", "no file \\udc80", "")


async def test_progress_that_no_number_can_hold_does_not_stop_a_finish(results: ResultBackend) -> None:
    await run(results, succeeded(progress=Progress(float("nan"), float("inf"))))
    assert (await read(results)).progress is None


async def test_a_renewal_moves_the_lease_and_takes_progress_along(results: ResultBackend) -> None:
    _, fence = await start(results)
    progress = Progress(1, 4, "a quarter")
    answer = await results.renew(fence, now=NOW + 20, lease_until=NOW + 80, progress=progress)
    assert answer == Renewed(cancel_requested=False)
    record = await read(results)
    assert (record.lease_until, record.updated_at, record.progress) == (NOW + 80, NOW + 20, progress)
    await results.renew(fence, now=NOW + 40, lease_until=NOW + 100)
    assert (await read(results)).progress == progress


async def test_a_renewal_carries_the_cancel_request(results: ResultBackend) -> None:
    _, fence = await start(results)
    await results.cancel("task-1", now=NOW, **TASK)
    assert await results.renew(fence, now=NOW + 20, lease_until=NOW + 80) == Renewed(cancel_requested=True)


async def test_a_lost_or_finished_lease_is_not_renewed(results: ResultBackend) -> None:
    _, zombie = await start(results)
    _, successor = await start(results, a_claim(owner="owner-2", now=AFTER_LEASE))
    assert await results.renew(zombie, now=AFTER_LEASE, lease_until=AFTER_LEASE + HOLD) is None
    await results.finish(successor, succeeded())
    assert await results.renew(successor, now=AFTER_LEASE, lease_until=AFTER_LEASE + HOLD) is None
    assert (await read(results)).lease_until is None


async def test_a_release_gives_the_first_attempt_back(results: ResultBackend) -> None:
    _, fence = await start(results)
    assert await results.release(fence, now=NOW + 5) is True
    record = await read(results)
    assert (record.status, record.attempt, record.lease_until) == (State.QUEUED, 0, None)
    assert await results.claim(a_claim(owner="owner-2", now=NOW + 5)) == Claimed(1)


async def test_a_release_after_a_retry_leaves_it_due_now(results: ResultBackend) -> None:
    await run(results, retrying())
    _, fence = await start(results, a_claim(owner="owner-2", now=NOW + 40))
    assert await results.release(fence, now=NOW + 45) is True
    record = await read(results)
    assert (record.status, record.attempt, record.next_at) == (State.RETRYING, 1, NOW + 45)
    assert await results.claim(a_claim(owner="owner-3", now=NOW + 45)) == Claimed(2)


async def test_a_release_whose_answer_was_lost_is_released(results: ResultBackend) -> None:
    _, fence = await start(results)
    await results.release(fence, now=NOW + 5)
    assert await results.release(fence, now=NOW + 6) is True
    assert (await read(results)).attempt == 0


async def test_only_the_holder_releases(results: ResultBackend) -> None:
    _, zombie = await start(results)
    await start(results, a_claim(owner="owner-2", now=AFTER_LEASE))
    assert await results.release(zombie, now=AFTER_LEASE) is False
    fence = await run(results, succeeded(), a_claim("task-2"))
    assert await results.release(fence, now=NOW + 5) is False


async def test_an_abandoned_attempt_is_closed(results: ResultBackend) -> None:
    await start(results)
    crashed = failed(now=AFTER_LEASE, reason="crashed")
    assert await results.close_abandoned(await read(results), crashed) is True
    record = await read(results)
    assert (record.status, record.reason, record.lease_until) == (State.FAILED, "crashed", None)


async def test_closing_again_after_a_lost_answer_is_closed(results: ResultBackend) -> None:
    await start(results)
    seen = await read(results)
    crashed = failed(now=AFTER_LEASE, reason="crashed")
    await results.close_abandoned(seen, crashed)
    assert await results.close_abandoned(seen, crashed) is True


async def test_an_attempt_that_came_back_to_life_is_not_closed(results: ResultBackend) -> None:
    _, fence = await start(results)
    seen = await read(results)
    await results.renew(fence, now=NOW + 30, lease_until=AFTER_LEASE + HOLD)
    assert await results.close_abandoned(seen, failed(now=AFTER_LEASE, reason="crashed")) is False
    await results.finish(fence, failed(reason="exhausted"))
    assert await results.close_abandoned(seen, failed(now=AFTER_LEASE, reason="crashed")) is False


async def test_an_attempt_under_a_live_lease_is_not_closed(results: ResultBackend) -> None:
    await start(results)
    assert await results.close_abandoned(await read(results), failed(now=NOW + HOLD, reason="crashed")) is False
