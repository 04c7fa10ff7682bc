"""Reads: one, many, and pages of them."""

from collections.abc import Iterable
from typing import Any, cast

import pytest

from taskq_sls.core.states import State
from taskq_sls.errors import ConfigError
from taskq_sls.results.base import Page, Query, ResultBackend
from tests.support.record_builders import NOW, TTL, a_claim, failed, retrying, run, start, succeeded

pytestmark = pytest.mark.asyncio(loop_scope="module")

TASK = "shop.tasks:resize"


def ids(page: Iterable[Any]) -> list[str]:
    return [record.id for record in page]


async def page_through(results: ResultBackend, query: Query) -> list[Page]:
    pages = [await results.list(query, now=NOW)]
    while pages[-1].cursor is not None:
        pages.append(await results.list(query._replace(cursor=pages[-1].cursor), now=NOW))
    return pages


async def test_a_task_without_a_record_reads_as_none(results: ResultBackend) -> None:
    assert await results.get("task-1", now=NOW) is None


async def test_every_read_treats_a_record_past_its_time_to_live_as_absent(results: ResultBackend) -> None:
    await run(results, succeeded())
    just_before = TTL - 0.001
    assert await results.get("task-1", now=just_before) is not None
    assert await results.get("task-1", now=TTL) is None
    assert ids((await results.get_many(["task-1"], now=just_before)).values()) == ["task-1"]
    assert await results.get_many(["task-1"], now=TTL) == {}
    for query in (Query(status=State.SUCCEEDED), Query(tasks=(TASK,))):
        assert ids(await results.list(query, now=just_before)) == ["task-1"]
        assert ids(await results.list(query, now=TTL)) == []


async def test_a_time_to_live_counts_in_whole_seconds_rounded_up(results: ResultBackend) -> None:
    await results.put_queued(a_claim(ttl=NOW + 0.5))
    record = await results.get("task-1", now=NOW + 0.75)
    assert record is not None
    assert record.ttl == NOW + 1


async def test_more_than_a_hundred_records_are_read_at_once(results: ResultBackend) -> None:
    for number in range(105):
        await results.put_queued(a_claim(f"task-{number}"))
    asked = [f"task-{number}" for number in range(110)]
    found = await results.get_many(["task-0", *asked], now=NOW)
    assert list(found) == asked[:105]
    assert all(record.id == id for id, record in found.items())
    assert await results.get_many([], now=NOW) == {}


async def test_a_listing_by_state_is_ordered_by_when_it_was_entered_newest_first(results: ResultBackend) -> None:
    for number in range(12):
        entered = NOW + (number * 7) % 12
        await run(results, failed(now=entered), a_claim(f"task-{number}", enqueued_at=NOW - number))
    page = await results.list(Query(status=State.FAILED), now=NOW)
    assert [record.finished_at for record in page] == [NOW + 11 - position for position in range(12)]
    assert page.cursor is None


async def test_a_listing_by_task_is_ordered_by_when_it_was_enqueued_newest_first(results: ResultBackend) -> None:
    for number in range(12):
        await results.put_queued(a_claim(f"task-{number}", enqueued_at=NOW + (number * 7) % 12))
    page = await results.list(Query(tasks=(TASK,)), now=NOW)
    assert [record.enqueued_at for record in page] == [NOW + 11 - position for position in range(12)]


@pytest.mark.parametrize("query", [Query(status=State.FAILED, limit=4), Query(tasks=(TASK,), limit=4)])
async def test_pages_hold_every_record_once(results: ResultBackend, query: Query) -> None:
    for number in range(10):
        # Some times are the same, so that the id decides.
        at = NOW + number // 3
        await run(results, failed(now=at), a_claim(f"task-{number}", enqueued_at=at))
    pages = await page_through(results, query)
    assert [len(page) for page in pages] == [4, 4, 2]
    assert ids([record for page in pages for record in page]) == [f"task-{number}" for number in reversed(range(10))]


async def test_a_full_page_without_more_behind_it_is_the_last(results: ResultBackend) -> None:
    for number in range(4):
        await run(results, failed(), a_claim(f"task-{number}"))
    page = await results.list(Query(status=State.FAILED, limit=4), now=NOW)
    assert (len(page), page.cursor) == (4, None)


async def test_a_page_is_filled_although_others_lie_between(results: ResultBackend) -> None:
    for number in range(12):
        task = TASK if number % 4 == 0 else "shop.tasks:other"
        await run(results, failed(now=NOW + number), a_claim(f"task-{number}", task=task))
    pages = await page_through(results, Query(tasks=(TASK,), status=State.FAILED, limit=2))
    assert [ids(page) for page in pages] == [["task-8", "task-4"], ["task-0"]]


async def test_since_is_inclusive_and_until_is_not(results: ResultBackend) -> None:
    for number in range(5):
        at = NOW + number
        await run(results, failed(now=at), a_claim(f"task-{number}", enqueued_at=at))
    for query in (Query(status=State.FAILED), Query(tasks=(TASK,))):
        page = await results.list(query._replace(since=NOW + 1, until=NOW + 3), now=NOW)
        assert ids(page) == ["task-2", "task-1"]
        assert ids(await results.list(query._replace(since=NOW + 3, until=NOW + 3), now=NOW)) == []
        newest = await results.list(query._replace(limit=1), now=NOW)
        assert ids(await results.list(query._replace(until=NOW + 1, cursor=newest.cursor), now=NOW)) == ["task-0"]


async def test_a_listing_by_task_and_state_shows_only_these(results: ResultBackend) -> None:
    await results.put_queued(a_claim("waits"))
    await start(results, a_claim("runs"))
    await run(results, failed(), a_claim("failed"))
    await results.put_queued(a_claim("other", task="shop.tasks:other"))
    assert ids(await results.list(Query(tasks=(TASK,), status=State.QUEUED), now=NOW)) == ["waits"]
    assert ids(await results.list(Query(tasks=(TASK,), status=State.RUNNING), now=NOW)) == ["runs"]
    both = Query(tasks=(TASK, "shop.tasks:other", TASK))
    assert sorted(ids(await results.list(both, now=NOW))) == ["failed", "other", "runs", "waits"]


async def test_a_task_leaves_the_listing_of_a_state_with_the_state(results: ResultBackend) -> None:
    await run(results, retrying())
    assert ids(await results.list(Query(status=State.RETRYING), now=NOW)) == ["task-1"]
    await run(results, succeeded(now=NOW + 41), a_claim(owner="owner-2", now=NOW + 40))
    assert ids(await results.list(Query(status=State.RETRYING), now=NOW)) == []
    assert ids(await results.list(Query(status=State.SUCCEEDED), now=NOW)) == ["task-1"]


async def test_a_cancelled_task_is_listed_by_its_name_and_state(results: ResultBackend) -> None:
    await results.cancel("task-1", task=TASK, queue="default", now=NOW, ttl=TTL)
    assert ids(await results.list(Query(status=State.CANCELLED), now=NOW)) == ["task-1"]
    assert ids(await results.list(Query(tasks=(TASK,), since=NOW), now=NOW)) == ["task-1"]


@pytest.mark.parametrize(
    ("query", "message"),
    [
        (Query(status=State.FAILED, limit=0), "limit=0 must be a whole number of 1 to 1,000"),
        (Query(status=State.FAILED, limit=1001), "limit=1001"),
        (Query(status=State.FAILED, limit=True), "limit=True"),
        (Query(status=State.FAILED, cursor="yesterday"), "cursor='yesterday' is not a cursor"),
        (Query(status=State.FAILED, since=-1), "since=-1 must be epoch seconds"),
        (Query(status=State.FAILED, until=NOW * 1000), "milliseconds"),
        (Query(status=State.FAILED, since=float("nan")), "since=nan"),
        (Query(status=cast(State, "DONE")), "status='DONE' is not a state; use one of QUEUED"),
        (Query(tasks=cast(tuple[str, ...], TASK)), "must be a tuple"),
        (Query(), "listing tasks without a status needs task names"),
        (Query(status=State.RUNNING), "listing tasks of status RUNNING needs task names"),
    ],
)
async def test_a_malformed_query_is_refused(results: ResultBackend, query: Query, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        await results.list(query, now=NOW)


async def test_only_tasks_with_all_labels_that_are_asked_for_are_listed(results: ResultBackend) -> None:
    for number in range(6):
        labels = {"tenant": str(number % 2), "size": "small" if number < 4 else "large"}
        await results.put_queued(a_claim(f"task-{number}", enqueued_at=NOW + number, labels=labels))

    asked = Query(("shop.tasks:resize",), labels={"tenant": "1", "size": "small"}, limit=1)
    first = await results.list(asked, now=NOW)
    second = await results.list(asked._replace(cursor=first.cursor), now=NOW)

    assert [one.id for one in (*first, *second)] == ["task-3", "task-1"]


async def test_a_bounded_look_ends_early_and_is_gone_on_with(results: ResultBackend) -> None:
    for number in range(230):
        await results.put_queued(
            a_claim(f"task-{number:03}", enqueued_at=NOW + number, labels={"odd": str(number % 115)})
        )

    query = Query(("shop.tasks:resize",), labels={"odd": "0"}, most_read=100)
    found, cursor, pages = [], None, 0
    while pages == 0 or cursor is not None:
        page = await results.list(query._replace(cursor=cursor), now=NOW)
        found += [one.id for one in page]
        cursor, pages = page.cursor, pages + 1

    assert found == ["task-115", "task-000"]
