"""What all stores of worker reports do, and how a task that nobody works on is ended."""

import pytest

from taskq_sls.core.states import State
from taskq_sls.results.base import ResultBackend
from taskq_sls.results.rules import TAKEOVER_GRACE
from taskq_sls.results.workers import ALIVE_SECONDS, LOST_SECONDS, RunningTask, WorkerReport, WorkerReports
from tests.support.record_builders import HOLD, NOW, a_claim, failed, retrying, start

pytestmark = pytest.mark.asyncio(loop_scope="module")


def a_report(id: str = "worker-1", *, app: str = "shop", started_at: float = NOW, **fields: object) -> WorkerReport:
    report = WorkerReport(app, id, "host", 7, started_at, NOW)
    return report._replace(**fields)  # type: ignore[arg-type]  # by name


def workers_of(results: ResultBackend) -> WorkerReports:
    assert results.workers is not None
    return results.workers


async def test_a_report_is_read_as_it_was_written(results: ResultBackend) -> None:
    report = a_report(
        running=3,
        done=12,
        concurrency=100,
        version="1.2.3",
        queues=("default", "ledger.fifo"),
        stopping=True,
        oldest=(RunningTask("id-1", "shop:resize"), RunningTask("id-2", "shop:crop")),
        beat_at=NOW + 0.25,
    )
    await workers_of(results).beat(report)
    assert await workers_of(results).alive("shop", now=NOW) == [report]


async def test_a_later_report_takes_the_place_of_the_one_before(results: ResultBackend) -> None:
    await workers_of(results).beat(a_report(running=3, oldest=(RunningTask("id", "t"),)))
    await workers_of(results).beat(later := a_report(beat_at=NOW + 60, queues=()))
    assert await workers_of(results).alive("shop", now=NOW + 60) == [later]


async def test_workers_are_those_of_one_app_the_oldest_first(results: ResultBackend) -> None:
    for report in (a_report("b", started_at=NOW - 5), a_report("a"), a_report("c", app="other")):
        await workers_of(results).beat(report)
    assert [one.id for one in await workers_of(results).alive("shop", now=NOW)] == ["b", "a"]


async def test_a_worker_that_says_nothing_any_more_is_not_alive(results: ResultBackend) -> None:
    await workers_of(results).beat(a_report())
    assert len(await workers_of(results).alive("shop", now=NOW + ALIVE_SECONDS - 0.5)) == 1
    assert await workers_of(results).alive("shop", now=NOW + ALIVE_SECONDS) == []


async def test_a_worker_that_never_said_goodbye_is_known_as_lost_for_an_hour(results: ResultBackend) -> None:
    await workers_of(results).beat(a_report())
    (found,) = await workers_of(results).recent("shop", now=NOW + LOST_SECONDS - 1)
    assert (found.state(NOW), found.state(NOW + ALIVE_SECONDS)) == ("on", "lost")
    assert await workers_of(results).recent("shop", now=NOW + LOST_SECONDS) == []


async def test_a_worker_that_has_ended_is_gone_and_others_are_not(results: ResultBackend) -> None:
    await workers_of(results).beat(a_report("a"))
    await workers_of(results).beat(a_report("b"))
    await workers_of(results).unregister("shop", "a")
    await workers_of(results).unregister("shop", "never-there")
    assert [one.id for one in await workers_of(results).alive("shop", now=NOW)] == ["b"]


async def test_reports_are_no_records(results: ResultBackend) -> None:
    await workers_of(results).beat(a_report("task-1"))
    assert await results.get("task-1", now=NOW) is None


# -- close_idle -----------------------------------------------------------------------------------------------------


async def test_a_task_that_waits_for_its_next_attempt_can_be_ended(results: ResultBackend) -> None:
    claim, fence = await start(results)
    await results.finish(fence, retrying())
    record = await results.get(claim.id, now=NOW + 2)
    assert record is not None

    assert await results.close_idle(record, failed(now=NOW + 3, reason="redriven"))

    ended = await results.get(claim.id, now=NOW + 3)
    assert ended is not None
    assert (ended.status, ended.reason, ended.next_at, ended.run) == (State.FAILED, "redriven", None, 0)


async def test_a_queued_task_can_be_ended(results: ResultBackend) -> None:
    claim = a_claim()
    await results.put_queued(claim)
    record = await results.get(claim.id, now=NOW)
    assert record is not None

    assert await results.close_idle(record, failed())


async def test_a_running_task_is_ended_only_when_its_lease_is_over(results: ResultBackend) -> None:
    claim, _ = await start(results)
    record = await results.get(claim.id, now=NOW)
    assert record is not None

    assert not await results.close_idle(record, failed(now=NOW + HOLD))
    assert await results.close_idle(record, failed(now=NOW + HOLD + TAKEOVER_GRACE))


async def test_a_task_that_has_moved_on_is_not_ended(results: ResultBackend) -> None:
    claim, fence = await start(results)
    await results.finish(fence, retrying(next_at=NOW + 31))
    record = await results.get(claim.id, now=NOW + 2)
    assert record is not None
    await start(results, a_claim(owner="owner-2", now=NOW + 40))

    assert not await results.close_idle(record, failed(now=NOW + 41))

    stands = await results.get(claim.id, now=NOW + 41)
    assert stands is not None
    assert stands.status is State.RUNNING


async def test_a_lease_that_was_renewed_meanwhile_keeps_its_task(results: ResultBackend) -> None:
    claim, fence = await start(results)
    record = await results.get(claim.id, now=NOW)
    assert record is not None
    late = NOW + HOLD + 10
    await results.renew(fence, now=late, lease_until=late + HOLD)

    assert not await results.close_idle(record, failed(now=late))


async def test_a_task_that_has_ended_stays_as_it_is(results: ResultBackend) -> None:
    claim, fence = await start(results)
    await results.finish(fence, failed())
    record = await results.get(claim.id, now=NOW + 2)
    assert record is not None

    assert not await results.close_idle(record, failed(reason="redriven"))


async def test_an_ended_task_is_listed_among_those_that_failed(results: ResultBackend) -> None:
    from taskq_sls.results.base import Query

    claim, fence = await start(results)
    await results.finish(fence, retrying())
    record = await results.get(claim.id, now=NOW + 2)
    assert record is not None
    await results.close_idle(record, failed(now=NOW + 3))

    assert [one.id for one in await results.list(Query(status=State.FAILED), now=NOW + 3)] == [claim.id]
    assert await results.list(Query(status=State.RETRYING), now=NOW + 3) == []
