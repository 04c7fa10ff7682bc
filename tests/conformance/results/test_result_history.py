"""What a record tells of the call and of the attempts before the present one."""

import pytest

from taskq_sls.core.message import ErrorInfo
from taskq_sls.core.states import State
from taskq_sls.results.base import ResultBackend
from taskq_sls.results.layout import CUT, MAX_CALL_BYTES, MAX_PAST_ERROR_BYTES
from taskq_sls.results.records import KEPT_ATTEMPTS, PastAttempt, TaskRecord
from tests.support.record_builders import NOW, a_claim, failed, retrying, run, start, succeeded

pytestmark = pytest.mark.asyncio(loop_scope="module")

LONGEST = "x" * (MAX_CALL_BYTES - len('{"args":[""],"kwargs":{}}'))


async def read(results: ResultBackend) -> TaskRecord:
    record = await results.get("task-1", now=NOW)
    assert record is not None
    return record


async def fail(results: ResultBackend, attempt: int) -> None:
    """One attempt that starts at 100 s times its number, ends a second later, and is tried again."""
    began = NOW + 100 * attempt
    claim = a_claim(owner=f"owner-{attempt}", now=began, max_attempts=100)
    end = retrying(now=began + 1, next_at=began + 2, started_at=began)
    await run(results, end, claim)


async def test_the_arguments_of_the_call_are_recorded(results: ResultBackend) -> None:
    await start(results, a_claim(call=(["a.png"], {"width": 200})))
    assert (await read(results)).call == '{"args":["a.png"],"kwargs":{"width":200}}'


async def test_where_no_call_is_given_none_is_recorded(results: ResultBackend) -> None:
    await start(results)
    assert (await read(results)).call is None


@pytest.mark.parametrize("call", [([LONGEST + "x"], {}), (["\ud800"], {})])
async def test_a_call_that_is_too_large_or_no_text_is_left_out(results: ResultBackend, call: object) -> None:
    await start(results, a_claim(call=call))
    assert (await read(results)).call is None


async def test_the_largest_call_is_recorded(results: ResultBackend) -> None:
    await start(results, a_claim(call=([LONGEST], {})))
    assert len((await read(results)).call or "") == MAX_CALL_BYTES


async def test_a_later_claim_fills_in_what_the_first_write_did_not_know(results: ResultBackend) -> None:
    await results.put_queued(a_claim())
    await start(results, a_claim(call=([1], {})))
    assert (await read(results)).call == '{"args":[1],"kwargs":{}}'


async def test_an_unclaimed_task_records_its_call_too(results: ResultBackend) -> None:
    await results.put_finished(a_claim(call=([1], {})), 1, succeeded())
    assert (await read(results)).call == '{"args":[1],"kwargs":{}}'


async def test_failed_attempts_are_remembered(results: ResultBackend) -> None:
    for attempt in (1, 2):
        await fail(results, attempt)
    await start(results, a_claim(now=NOW + 300, max_attempts=100))

    error = "builtins.OSError: try later"
    record = await read(results)
    assert record.past == (PastAttempt(1, NOW + 100, NOW + 101, error), PastAttempt(2, NOW + 200, NOW + 201, error))
    assert record.attempt == 3


async def test_only_the_last_attempts_are_remembered(results: ResultBackend) -> None:
    for attempt in range(1, KEPT_ATTEMPTS + 4):
        await fail(results, attempt)

    assert [one.attempt for one in (await read(results)).past] == list(range(4, KEPT_ATTEMPTS + 4))


async def test_the_place_of_an_attempt_that_was_lost_does_not_show_an_older_one(results: ResultBackend) -> None:
    for attempt in range(1, KEPT_ATTEMPTS + 1):
        await fail(results, attempt)
    lost = KEPT_ATTEMPTS + 1
    await start(results, a_claim(owner="lost", now=NOW + 100 * lost - 50, max_attempts=100))
    await fail(results, lost + 1)

    assert [one.attempt for one in (await read(results)).past] == [*range(3, lost), lost + 1]


async def test_an_attempt_whose_answer_was_lost_is_remembered_once(results: ResultBackend) -> None:
    end = retrying(started_at=NOW)
    fence = await run(results, end)
    assert await results.finish(fence, end) is State.RETRYING
    assert len((await read(results)).past) == 1


async def test_a_long_error_is_cut(results: ResultBackend) -> None:
    end = retrying(started_at=NOW)._replace(error=ErrorInfo("E", "x" * 1_000, ""))
    await run(results, end)
    (past,) = (await read(results)).past
    assert len(past.error) == MAX_PAST_ERROR_BYTES
    assert past.error.endswith(CUT)


async def test_the_end_of_a_task_is_not_an_attempt_before_it(results: ResultBackend) -> None:
    await run(results, failed(started_at=NOW))
    assert (await read(results)).past == ()


async def test_a_new_run_remembers_nothing_of_the_one_before(results: ResultBackend) -> None:
    await fail(results, 1)
    await run(results, failed(now=NOW + 201), a_claim(owner="owner-2", now=NOW + 200, max_attempts=100))
    await start(results, a_claim(owner="owner-3", run=1, now=NOW + 300))

    assert (await read(results)).past == ()
