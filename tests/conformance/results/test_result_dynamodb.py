"""What only DynamoDB can show: the items, the number of calls, races between calls, missing tables."""

from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio

from taskq_sls.aws.blocking import BlockingAws
from taskq_sls.aws.port import is_item_too_large
from taskq_sls.core.context import Progress
from taskq_sls.core.states import State
from taskq_sls.errors import AwsError, ConfigError, MissingResource
from taskq_sls.results.base import Query
from taskq_sls.results.dynamodb.backend import MAX_CONFLICTS, DynamoResults
from taskq_sls.results.dynamodb.table import MAX_EMPTY_ANSWERS
from taskq_sls.results.records import CancelAnswer, Claimed, Refused
from tests.support.emulators import create_bare_table
from tests.support.interposed import Interposed, interpose
from tests.support.record_builders import (
    HOLD,
    NOW,
    TTL,
    a_claim,
    a_fence,
    failed,
    normalise_numbers,
    retrying,
    run,
    start,
    succeeded,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

CANCEL: dict[str, Any] = {"task": "shop.tasks:resize", "queue": "default", "ttl": TTL}


@pytest_asyncio.fixture(loop_scope="module")
async def pair(blocking_aws: BlockingAws, dynamo_results: DynamoResults) -> tuple[DynamoResults, Interposed]:
    """A backend, and the client between it and the table that `dynamo_results` uses too."""
    return interpose(blocking_aws, dynamo_results._table.name)


async def raw_item(results: DynamoResults, id: str = "task-1") -> dict[str, Any]:
    key = {"pk": {"S": f"T#{id}"}, "sk": {"S": "META"}}
    answer = await results._table.call("get_item", TableName=results._table.name, Key=key)
    item: dict[str, Any] = normalise_numbers(answer["Item"])
    return item


async def test_the_attributes_of_an_item_are_the_documented_ones(dynamo_results: DynamoResults) -> None:
    claim = a_claim(labels={"tenant": "7"}, parent="task-0")
    await run(dynamo_results, succeeded(progress=Progress(1, 2, "half")), claim)
    assert await raw_item(dynamo_results) == {
        "pk": {"S": "T#task-1"},
        "sk": {"S": "META"},
        "task": {"S": "shop.tasks:resize"},
        "queue": {"S": "default"},
        "status": {"S": "SUCCEEDED"},
        "run": {"N": "0"},
        "attempt": {"N": "1"},
        "owner": {"S": "owner-1"},
        "enqueued_at": {"N": "1799999990"},
        "started_at": {"N": "1800000000"},
        "finished_at": {"N": "1800000001"},
        "updated_at": {"N": "1800000001"},
        "progress": {"M": {"done": {"N": "1"}, "total": {"N": "2"}, "note": {"S": "half"}}},
        "result": {"S": '"done"'},
        "labels": {"M": {"tenant": {"S": "7"}}},
        "parent": {"S": "task-0"},
        "ttl": {"N": "1801728000"},
        "status_shard": {"S": "S#SUCCEEDED#7"},
        "status_time": {"S": "1800000001000#task-1"},
        "task_shard": {"S": "N#shop.tasks:resize#7"},
        "task_time": {"S": "1799999990000#task-1"},
    }


async def test_only_retrying_and_terminal_tasks_are_in_the_status_index(dynamo_results: DynamoResults) -> None:
    await dynamo_results.put_queued(a_claim())
    assert "status_shard" not in await raw_item(dynamo_results)
    await run(dynamo_results, retrying())
    assert (await raw_item(dynamo_results))["status_shard"] == {"S": "S#RETRYING#7"}
    _, fence = await start(dynamo_results, a_claim(owner="owner-2", now=NOW + 40))
    assert not {"status_shard", "status_time"} & set(await raw_item(dynamo_results))
    await dynamo_results.release(fence, now=NOW + 41)
    assert (await raw_item(dynamo_results))["status_time"] == {"S": "1800000041000#task-1"}


async def test_the_keys_of_the_name_index_never_change(dynamo_results: DynamoResults) -> None:
    await run(dynamo_results, retrying())
    before = await raw_item(dynamo_results)
    await run(
        dynamo_results,
        failed(),
        a_claim(owner="owner-2", now=NOW + 40, enqueued_at=NOW + 1, task="moved:task", aliases=("shop.tasks:resize",)),
    )
    after = await raw_item(dynamo_results)
    for name in ("task", "task_shard", "task_time", "enqueued_at"):
        assert after[name] == before[name]


async def test_the_shards_spread_tasks_evenly(dynamo_results: DynamoResults) -> None:
    for number in range(64):
        await dynamo_results.put_queued(a_claim(f"task-{number}"))
    used = {(await raw_item(dynamo_results, f"task-{number}"))["task_shard"]["S"] for number in range(64)}
    assert used == {f"N#shop.tasks:resize#{shard}" for shard in range(8)}


async def test_every_operation_is_one_call(pair: tuple[DynamoResults, Interposed]) -> None:
    results, client = pair
    _, fence = await start(results)
    await results.claim(a_claim(owner="owner-2"))
    await results.renew(fence, now=NOW, lease_until=NOW + 80)
    await results.release(fence, now=NOW)
    await run(results, succeeded())
    await results.cancel("task-1", now=NOW, **CANCEL)
    await results.expire(a_claim("task-2"))
    await results.put_queued(a_claim("task-3"))
    await results.put_finished(a_claim("task-4"), 1, succeeded())
    await results.get("task-4", now=NOW)
    assert client.calls == ["update_item"] * 7 + ["put_item"] * 3 + ["get_item"]


async def test_a_record_that_changed_before_its_replacement_is_not_replaced(
    dynamo_results: DynamoResults, pair: tuple[DynamoResults, Interposed]
) -> None:
    results, client = pair
    await run(dynamo_results, failed())

    async def claim_first(operation: str, params: dict[str, Any]) -> None:
        if operation == "put_item":
            assert await dynamo_results.claim(a_claim(run=1, owner="first", now=NOW + 2)) == Claimed(1)

    client.hook = claim_first
    answer = await results.claim(a_claim(run=1, owner="second", now=NOW + 2))
    assert isinstance(answer, Refused)
    assert answer.record.owner == "first"


async def test_a_task_that_ends_while_it_is_cancelled_is_too_late(
    dynamo_results: DynamoResults, pair: tuple[DynamoResults, Interposed]
) -> None:
    results, client = pair
    claim, _ = await start(dynamo_results)

    async def finish_first(operation: str, params: dict[str, Any]) -> None:
        if len(client.calls) == 2:
            await dynamo_results.finish(a_fence(claim), succeeded())

    client.hook = finish_first
    assert await results.cancel("task-1", now=NOW, **CANCEL) == CancelAnswer("too_late", State.SUCCEEDED)


async def test_a_record_that_never_stands_still_is_a_transient_error(
    dynamo_results: DynamoResults, pair: tuple[DynamoResults, Interposed]
) -> None:
    results, client = pair

    async def put_another_failure_first(operation: str, params: dict[str, Any]) -> None:
        if operation == "put_item":
            await dynamo_results.put_finished(a_claim(owner=f"other-{len(client.calls)}"), 1, failed())

    client.hook = put_another_failure_first
    await dynamo_results.put_finished(a_claim(), 1, failed())
    with pytest.raises(AwsError, match=r"task-1 changed 5 times meanwhile") as caught:
        await results.claim(a_claim(run=1, owner="owner-2"))
    assert caught.value.transient
    assert client.calls == ["update_item", "put_item"] * MAX_CONFLICTS


async def test_a_task_that_changed_its_place_after_the_index_was_read_is_left_out(
    dynamo_results: DynamoResults, pair: tuple[DynamoResults, Interposed]
) -> None:
    results, client = pair
    await run(dynamo_results, retrying())

    async def retry_first(operation: str, params: dict[str, Any]) -> None:
        if operation == "batch_get_item":
            again = a_claim(owner="owner-2", now=NOW + 40)
            await run(dynamo_results, retrying(now=NOW + 41, next_at=NOW + 80), again)

    client.hook = retry_first
    assert await results.list(Query(status=State.RETRYING), now=NOW) == []
    client.hook = None
    assert len(await results.list(Query(status=State.RETRYING), now=NOW)) == 1


async def test_an_index_that_answers_in_small_pages_is_read_to_the_end(
    dynamo_results: DynamoResults, pair: tuple[DynamoResults, Interposed]
) -> None:
    results, client = pair
    for number in range(30):
        await dynamo_results.put_queued(a_claim(f"task-{number}", enqueued_at=NOW + number))

    async def one_at_a_time(operation: str, params: dict[str, Any]) -> dict[str, Any] | None:
        return await client.client.call(operation, **params | {"Limit": 1}) if operation == "query" else None

    client.hook = one_at_a_time
    page = await results.list(Query(tasks=("shop.tasks:resize",)), now=NOW)
    assert [record.id for record in page] == [f"task-{number}" for number in reversed(range(30))]


async def test_keys_left_unprocessed_are_asked_for_again(pair: tuple[DynamoResults, Interposed]) -> None:
    results, client = pair
    for number in range(6):
        await results.put_queued(a_claim(f"task-{number}"))

    async def two_at_a_time(operation: str, params: dict[str, Any]) -> dict[str, Any] | None:
        [(table, request)] = params["RequestItems"].items()
        now, later = request["Keys"][:2], request["Keys"][2:]
        answer = await client.client.call(operation, RequestItems={table: request | {"Keys": now}})
        return answer | {"UnprocessedKeys": {table: request | {"Keys": later}} if later else {}}

    client.hook = two_at_a_time
    assert len(await results.get_many([f"task-{number}" for number in range(6)], now=NOW)) == 6


async def test_a_table_that_stays_throttled_is_a_transient_error(
    blocking_aws: BlockingAws, pair: tuple[DynamoResults, Interposed]
) -> None:
    results, client = pair

    async def nothing(operation: str, params: dict[str, Any]) -> dict[str, Any]:
        return {"Responses": {}, "UnprocessedKeys": params["RequestItems"]}

    client.hook = nothing
    with pytest.raises(AwsError, match="1 keys were not read in 8 tries") as caught:
        await results.get_many(["task-1"], now=NOW)
    assert caught.value.transient
    assert len(client.calls) == MAX_EMPTY_ANSWERS


async def test_a_record_removed_by_its_time_to_live_is_lost_to_its_holder(
    dynamo_results: DynamoResults,
) -> None:
    _, fence = await start(dynamo_results)
    item = await raw_item(dynamo_results)
    key = {"pk": item["pk"], "sk": item["sk"]}
    await dynamo_results._table.call("delete_item", TableName=dynamo_results._table.name, Key=key)
    assert await dynamo_results.finish(fence, succeeded()) is None
    assert await dynamo_results.renew(fence, now=NOW, lease_until=NOW + HOLD) is None


async def test_a_missing_table_is_named_with_where_it_was_looked_for_and_the_fix(blocking_aws: BlockingAws) -> None:
    results = DynamoResults(blocking_aws.client("dynamodb"), blocking_aws.flow, "no-such-table", blocking_aws.describe)
    with pytest.raises(MissingResource) as caught:
        await results.claim(a_claim())
    for part in ("'no-such-table'", blocking_aws.describe(), "`taskq provision MODULE:APP`", "TASKQ_TABLE"):
        assert part in str(caught.value)
    for reading in (
        results.get("task-1", now=NOW),
        results.get_many(["task-1"], now=NOW),
        results.list(Query(status=State.FAILED), now=NOW),
    ):
        with pytest.raises(MissingResource):
            await reading


async def test_a_missing_index_is_named_with_the_fix(blocking_aws: BlockingAws) -> None:
    port, name = blocking_aws, f"without-indexes-{uuid4()}"
    create_bare_table(port, name)
    results = DynamoResults(port.client("dynamodb"), port.flow, name, port.describe)
    with pytest.raises(MissingResource, match=rf"'{name}' lacks an index .*by-status.*taskq provision"):
        await results.list(Query(status=State.FAILED), now=NOW)


async def test_an_item_over_400_kb_is_refused_with_words_that_are_known(dynamo_results: DynamoResults) -> None:
    claim, fence = await start(dynamo_results, a_claim(labels={"large": "x" * 80_000}))  # as older versions allowed
    large = succeeded('"' + "x" * 345_000 + '"')

    with pytest.raises(AwsError) as updated:
        await dynamo_results.finish(fence, large)
    with pytest.raises(AwsError) as put:
        await dynamo_results.put_finished(claim, 1, large)

    assert is_item_too_large(updated.value.code, updated.value.message)
    assert is_item_too_large(put.value.code, put.value.message)


DAMAGE: dict[str, Any] = {
    "status": {"N": "5"},
    "run": {"S": "first"},
    "attempt": {"NULL": True},
    "updated_at": {"S": "yesterday"},
    "enqueued_at": {"N": "1e100"},
    "labels": {"L": []},
    "error": {"M": {"type": {"S": "x"}}},
    "progress": {"M": {}},
    "result": {"S": "no JSON"},
    "call": {"S": "{"},
    "past_1": {"L": [{"N": "1"}]},
    "owner": {"BOOL": False},
}


@pytest.mark.parametrize("attribute", DAMAGE)
async def test_a_damaged_record_is_shown_as_unreadable_and_the_others_with_it(
    dynamo_results: DynamoResults, attribute: str
) -> None:
    await run(dynamo_results, succeeded(), a_claim("good"))
    await run(dynamo_results, succeeded(), a_claim("bad"))
    item = await raw_item(dynamo_results, "bad")
    await dynamo_results._table.overwrite({**item, attribute: DAMAGE[attribute]})

    for query in (Query(tasks=("shop.tasks:resize",)), Query(status=State.SUCCEEDED)):
        found = {record.id: record for record in await dynamo_results.list(query, now=NOW + 2)}
        assert (found["good"].status, found["bad"].status) == (State.SUCCEEDED, "UNREADABLE")
    read = await dynamo_results.get_many(["good", "bad"], now=NOW + 2)
    assert read["bad"].error is not None
    assert f"attribute {attribute!r}" in read["bad"].error.message
    assert isinstance(await dynamo_results.claim(a_claim("bad", owner="owner-2", now=NOW + 2)), Refused)


async def test_an_item_that_botocore_cannot_parse_is_shown_as_unreadable(dynamo_results: DynamoResults) -> None:
    for number in range(5):
        await run(dynamo_results, succeeded(), a_claim(f"task-{number}"))
    item = await raw_item(dynamo_results, "task-3")
    # moto's answer for a map with an empty key is one that botocore cannot parse.
    await dynamo_results._table.overwrite({**item, "labels": {"M": {"": {"S": "x"}}}})

    states = {record.id: record.status for record in await dynamo_results.list(Query(status=State.SUCCEEDED), now=NOW)}
    assert len(states) == 5
    assert [id for id, status in states.items() if status is not State.SUCCEEDED] == ["task-3"]
    record = await dynamo_results.get("task-3", now=NOW)
    assert record is not None
    assert record.status == "UNREADABLE"
    assert record.error is not None
    assert "botocore cannot parse" in record.error.message


async def test_a_state_and_an_attribute_of_a_later_version_are_read_and_left_alone(
    dynamo_results: DynamoResults,
) -> None:
    await run(dynamo_results, retrying(next_at=NOW))
    item = await raw_item(dynamo_results)
    later = {**item, "status": {"S": "PAUSED"}, "paused_by": {"M": {"name": {"S": "ann"}}}}
    await dynamo_results._table.overwrite(later)

    record = await dynamo_results.get("task-1", now=NOW + 1)
    answer = await dynamo_results.claim(a_claim(owner="owner-2", now=NOW + 10_000))
    cancelled = await dynamo_results.cancel("task-1", now=NOW + 1, **CANCEL)

    assert record is not None
    assert (record.status, record.status.terminal, record.attempt) == ("PAUSED", False, 1)
    assert isinstance(answer, Refused)
    assert not await dynamo_results.close_idle(record, failed(now=NOW + 10_000))
    assert cancelled == CancelAnswer("too_late", State.read("PAUSED"))
    assert await raw_item(dynamo_results) == later


async def test_an_endpoint_that_returns_no_item_with_a_refusal_is_named(
    pair: tuple[DynamoResults, Interposed],
) -> None:
    results, client = pair
    await start(results)

    async def bare(operation: str, parameters: dict[str, Any]) -> None:
        parameters.pop("ReturnValuesOnConditionCheckFailure", None)

    client.hook = bare
    with pytest.raises(ConfigError, match="ignores ReturnValuesOnConditionCheckFailure"):
        await results.claim(a_claim(owner="owner-2"))
    with pytest.raises(ConfigError, match="ignores ReturnValuesOnConditionCheckFailure"):
        await results.cancel("task-1", now=NOW, **CANCEL)
