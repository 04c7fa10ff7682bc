"""Unique keys: who may lock one, who may confirm it, and who may free it."""

import pytest

from taskq_sls.aws.blocking import BlockingAws
from taskq_sls.errors import AwsError, ConfigError
from taskq_sls.results.base import ResultBackend
from taskq_sls.results.dynamodb.backend import MAX_CONFLICTS, DynamoResults
from taskq_sls.results.records import KeyLock
from tests.support.interposed import interpose
from tests.support.record_builders import NOW, a_claim, normalise_numbers, start

pytestmark = pytest.mark.asyncio(loop_scope="module")

DAY = 86_400.0


def a_lock(id: str = "task-1", *, key: str = "order-7", now: float = NOW, task: str = "shop:ship") -> KeyLock:
    return KeyLock(task, key, id, "default", now, float(int(now + DAY)))


async def test_a_free_key_is_locked(results: ResultBackend) -> None:
    assert await results.lock_key(a_lock()) == a_lock()


async def test_a_lock_keeps_every_digit_of_its_time(results: ResultBackend) -> None:
    precise = a_lock(now=NOW + 0.123456)
    await results.lock_key(precise)
    assert await results.lock_key(a_lock("task-2")) == precise


async def test_a_key_that_is_taken_answers_the_lock_that_stands(results: ResultBackend) -> None:
    await results.lock_key(a_lock())
    assert await results.lock_key(a_lock("task-2", now=NOW + 1)) == a_lock()


async def test_a_key_counts_within_the_name_of_its_task(results: ResultBackend) -> None:
    await results.lock_key(a_lock())
    for other in (a_lock("task-2", task="shop:bill"), a_lock("task-3", key="order-8")):
        assert await results.lock_key(other) == other


async def test_any_printable_key_is_as_good_as_another(results: ResultBackend) -> None:
    long = a_lock(key="é #/" * 50)
    assert await results.lock_key(long) == long
    assert await results.confirm_key(long.task, long.key, long.id)
    assert await results.free_key(long.task, long.key, long.id)


async def test_a_lock_whose_answer_was_lost_is_ours(results: ResultBackend) -> None:
    await results.lock_key(a_lock())
    assert await results.lock_key(a_lock()) == a_lock()


async def test_a_lock_past_its_time_to_live_counts_as_none(results: ResultBackend) -> None:
    await results.lock_key(a_lock())
    assert (await results.lock_key(a_lock("task-2", now=NOW + DAY - 1))).id == "task-1"
    late = a_lock("task-3", now=NOW + DAY)
    assert await results.lock_key(late) == late
    assert await results.lock_key(a_lock("task-4", now=NOW + DAY)) == late


async def test_a_confirmed_lock_says_so(results: ResultBackend) -> None:
    await results.lock_key(a_lock())
    assert await results.confirm_key("shop:ship", "order-7", "task-1") is True
    assert await results.confirm_key("shop:ship", "order-7", "task-1") is True
    assert await results.lock_key(a_lock("task-2")) == a_lock()._replace(confirmed=True)


async def test_only_the_task_that_holds_a_key_confirms_it(results: ResultBackend) -> None:
    await results.lock_key(a_lock())
    assert await results.confirm_key("shop:ship", "order-7", "task-2") is False
    assert await results.lock_key(a_lock("task-2")) == a_lock()


async def test_a_key_that_was_freed_is_not_locked_again_by_a_late_confirm(results: ResultBackend) -> None:
    await results.lock_key(a_lock())
    await results.free_key("shop:ship", "order-7", "task-1")
    assert await results.confirm_key("shop:ship", "order-7", "task-1") is False
    assert await results.lock_key(a_lock("task-2")) == a_lock("task-2")


async def test_a_freed_key_can_be_locked(results: ResultBackend) -> None:
    await results.lock_key(a_lock())
    assert await results.free_key("shop:ship", "order-7", "task-1") is True
    assert await results.free_key("shop:ship", "order-7", "task-1") is False
    assert await results.lock_key(a_lock("task-2")) == a_lock("task-2")


async def test_only_the_task_that_holds_a_key_frees_it(results: ResultBackend) -> None:
    await results.lock_key(a_lock())
    assert await results.free_key("shop:ship", "order-7", "task-2") is False
    assert (await results.lock_key(a_lock("task-2"))).id == "task-1"


async def test_an_enqueue_can_free_its_own_lock_and_not_a_later_one_of_the_same_task(results: ResultBackend) -> None:
    again = a_lock(now=NOW + 61)
    await results.lock_key(a_lock())
    await results.lock_key(again, replacing=a_lock())
    assert await results.free_key("shop:ship", "order-7", "task-1", locked_at=NOW) is False
    assert (await results.lock_key(a_lock("task-2"))) == again
    assert await results.free_key("shop:ship", "order-7", "task-1", locked_at=NOW + 61) is True


async def test_a_lock_is_taken_over_only_while_it_stands_as_it_was_seen(results: ResultBackend) -> None:
    seen = a_lock()
    await results.lock_key(seen)
    await results.confirm_key("shop:ship", "order-7", "task-1")
    second = a_lock("task-2", now=NOW + 61)
    assert await results.lock_key(second, replacing=seen) == second
    assert await results.lock_key(a_lock("task-3", now=NOW + 62), replacing=seen) == second
    assert await results.lock_key(a_lock("task-3", now=NOW + 62), replacing=second._replace(locked_at=NOW)) == second


async def test_a_take_over_drops_what_was_confirmed_of_the_lock_before(results: ResultBackend) -> None:
    await results.lock_key(a_lock())
    await results.confirm_key("shop:ship", "order-7", "task-1")
    second = a_lock("task-2", now=NOW + 61)
    await results.lock_key(second, replacing=a_lock())
    assert (await results.lock_key(a_lock("task-3"))).confirmed is False


async def test_a_record_carries_the_key_of_its_task(results: ResultBackend) -> None:
    await start(results, a_claim(unique_key="order-7"))
    await results.put_queued(a_claim("task-2", unique_key="order-8"))
    await results.expire(a_claim("task-3", unique_key="order-9"))
    await start(results, a_claim("task-4"))
    found = await results.get_many(["task-1", "task-2", "task-3", "task-4"], now=NOW)
    assert [found[f"task-{number}"].unique_key for number in (1, 2, 3, 4)] == ["order-7", "order-8", "order-9", None]


async def test_a_cancel_before_the_first_attempt_leaves_the_key_to_be_added_by_nobody(results: ResultBackend) -> None:
    await results.cancel("task-1", task="shop:ship", queue="default", now=NOW, ttl=NOW + DAY)
    record = await results.get("task-1", now=NOW)
    assert record is not None
    assert record.unique_key is None


async def test_locks_are_no_records(results: ResultBackend) -> None:
    await results.lock_key(a_lock())
    assert await results.get("task-1", now=NOW) is None


async def test_memory_forgets_expired_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    from taskq_sls.results import memory

    monkeypatch.setattr(memory, "FIRST_SWEEP_ROWS", 10)
    results = memory.MemoryResults()
    for number in range(9):
        await results.lock_key(a_lock(key=str(number)))
    await results.lock_key(a_lock(key="last", now=NOW + 2 * DAY))
    assert len(results._keys) == 1


async def test_each_operation_on_a_key_is_one_call(dynamo_results: DynamoResults, blocking_aws: BlockingAws) -> None:
    results, client = interpose(blocking_aws, dynamo_results._table.name)
    await results.lock_key(a_lock())
    await results.lock_key(a_lock("task-2"))
    await results.confirm_key("shop:ship", "order-7", "task-1")
    await results.free_key("shop:ship", "order-7", "task-1")
    assert client.calls == ["put_item", "put_item", "update_item", "delete_item"]


async def test_refusals_that_never_return_the_lock_name_the_endpoint(
    dynamo_results: DynamoResults, blocking_aws: BlockingAws
) -> None:
    results, client = interpose(blocking_aws, dynamo_results._table.name)

    async def refuse(operation: str, params: dict[str, object]) -> None:
        raise AwsError(operation, "ConditionalCheckFailedException", "no")

    client.hook = refuse
    with pytest.raises(ConfigError, match="ignores ReturnValuesOnConditionCheckFailure"):
        await results.lock_key(a_lock())
    assert len(client.calls) == MAX_CONFLICTS


async def test_a_lock_is_an_item_of_its_own_kind_outside_the_indexes(
    dynamo_results: DynamoResults,
) -> None:
    await dynamo_results.lock_key(a_lock())
    await dynamo_results.confirm_key("shop:ship", "order-7", "task-1")
    table = dynamo_results._table
    answer = await table.call(
        "get_item", TableName=table.name, Key={"pk": {"S": "U#shop:ship#order-7"}, "sk": {"S": "LOCK"}}
    )
    item = normalise_numbers(answer["Item"])
    assert {name: next(iter(value.values())) for name, value in item.items()} == {
        "pk": "U#shop:ship#order-7",
        "sk": "LOCK",
        "id": "task-1",
        "queue": "default",
        "locked_at": "1800000000",
        "ttl": str(int(NOW + DAY)),
        "confirmed": True,
    }
