"""What all stores of counters do."""

import pytest

from taskq_sls.metrics.counters import BUCKETS, HOUR, LIFETIME_SECONDS, MINUTE, CounterKey, Counters, MetricStore
from taskq_sls.results.base import ResultBackend
from taskq_sls.results.dynamodb.backend import DynamoResults
from tests.support.record_builders import NOW

pytestmark = pytest.mark.asyncio(loop_scope="module")

TIME = int(NOW) // HOUR * HOUR

SLOT = CounterKey(MINUTE, TIME, "shop.tasks:resize", "ledger.fifo")

FULL = Counters(9, 4, 1, 2, 1, 1, 3, 12.5, 7.25, 5, 0.75, tuple(range(BUCKETS)))


def store_of(results: ResultBackend) -> MetricStore:
    assert results.metrics is not None
    return results.metrics


async def everything(results: ResultBackend, span: int = MINUTE, *, now: float = NOW) -> dict[CounterKey, Counters]:
    return dict(await store_of(results).read("shop", span, TIME - HOUR, TIME + HOUR, now=now))


async def test_counters_are_read_as_they_were_written(results: ResultBackend) -> None:
    await store_of(results).add("shop", SLOT, FULL)
    assert await everything(results) == {SLOT: FULL}


async def test_counters_of_one_minute_add_up_and_the_longest_attempt_stays(results: ResultBackend) -> None:
    for longest in (2.0, 7.5, 3.0):
        await store_of(results).add("shop", SLOT, Counters(started=2, duration=10.25, longest=longest, wait=0.5))
    assert await everything(results) == {SLOT: Counters(started=6, duration=30.75, longest=7.5, wait=1.5)}


async def test_the_smallest_durations_add_up(results: ResultBackend) -> None:
    for _ in range(2):
        await store_of(results).add("shop", SLOT, Counters(started=1, duration=0.000_05, wait=0.000_001))
    assert await everything(results) == {SLOT: Counters(started=2, duration=0.000_1, wait=0.000_002)}


async def test_counters_are_kept_by_task_queue_time_and_span(results: ResultBackend) -> None:
    slots = [
        SLOT,
        SLOT._replace(task="shop.tasks:crop"),
        SLOT._replace(queue="default"),
        SLOT._replace(time=TIME + MINUTE),
    ]
    for count, slot in enumerate(slots, 1):
        await store_of(results).add("shop", slot, Counters(started=count))
    hour = SLOT._replace(span=HOUR)
    await store_of(results).add("shop", hour, Counters(started=9))
    assert await everything(results) == {slot: Counters(started=count) for count, slot in enumerate(slots, 1)}
    assert await everything(results, HOUR) == {hour: Counters(started=9)}


async def test_a_span_of_time_holds_its_beginning_and_not_its_end(results: ResultBackend) -> None:
    for minute in range(5):
        await store_of(results).add("shop", SLOT._replace(time=TIME + minute * MINUTE), Counters(started=1))
    found = await store_of(results).read("shop", MINUTE, TIME + MINUTE, TIME + 4 * MINUTE, now=NOW)
    assert sorted(slot.time - TIME for slot, _ in found) == [60, 120, 180]


async def test_one_task_is_read_alone(results: ResultBackend) -> None:
    names = [f"shop.tasks:task_{number}" for number in range(12)]
    for name in names:
        await store_of(results).add("shop", SLOT._replace(task=name), Counters(started=1))
    for name in names:
        found = await store_of(results).read("shop", MINUTE, TIME, TIME + 1, task=name, now=NOW)
        assert [slot.task for slot, _ in found] == [name]


async def test_counters_of_another_app_are_not_read(results: ResultBackend) -> None:
    await store_of(results).add("shop-2", SLOT, FULL)
    assert await everything(results) == {}


@pytest.mark.parametrize("span", [MINUTE, HOUR])
async def test_counters_are_kept_for_their_time_and_no_longer(results: ResultBackend, span: int) -> None:
    slot = SLOT._replace(span=span)
    await store_of(results).add("shop", slot, FULL)
    assert list(await everything(results, span, now=TIME + LIFETIME_SECONDS[span] - 1)) == [slot]
    assert await everything(results, span, now=TIME + LIFETIME_SECONDS[span]) == {}


async def test_counters_are_no_records(results: ResultBackend) -> None:
    await store_of(results).add("shop", SLOT, FULL)
    assert await results.get("M#shop#0", now=NOW) is None


async def test_more_counters_than_one_page_are_all_read(dynamo_results: DynamoResults) -> None:
    real, pages = dynamo_results._table.call, []

    async def small_pages(operation: str, **parameters: object) -> dict[str, object]:
        if operation == "query":
            pages.append(operation)
            parameters["Limit"] = 2
        return await real(operation, **parameters)

    dynamo_results._table.call = small_pages  # type: ignore[method-assign]  # DynamoDB ends its pages at 1 MB
    for minute in range(5):
        await store_of(dynamo_results).add("shop", SLOT._replace(time=TIME + minute * MINUTE), Counters(started=1))
    assert len(await everything(dynamo_results)) == 5
    assert len(pages) > 4


async def test_an_item_costs_one_unit_however_long_its_names_and_large_its_numbers_are(
    dynamo_results: DynamoResults,
) -> None:
    huge = Counters._make([*[10**9] * 7, 123456789.123456, 123456.789, 10**9, 123456789.654321, (10**9,) * BUCKETS])
    await store_of(dynamo_results).add("a" * 40, SLOT._replace(task="t" * 200, queue="q" * 70), huge)
    [item] = (await dynamo_results._table.call("scan", TableName=dynamo_results._table.name))["Items"]
    size = sum(len(name) + len(next(iter(value.values()))) for name, value in item.items())
    assert size <= 1024
    assert int(item["ttl"]["N"]) == TIME + LIFETIME_SECONDS[MINUTE]
