"""Records that are put without a condition share requests, and each task gets the answer to its own record."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import pytest_asyncio

from taskq_sls.aws.blocking import BlockingAws
from taskq_sls.core.clock import ManualClock
from taskq_sls.core.flow import AsyncFlow
from taskq_sls.core.states import State
from taskq_sls.errors import AwsError
from taskq_sls.results.dynamodb.backend import DynamoResults
from taskq_sls.results.dynamodb.batching import BatchingDynamoResults
from tests.support.interposed import Interposed
from tests.support.record_builders import NOW, a_claim, failed, succeeded

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module")
async def client(blocking_aws: BlockingAws) -> Interposed:
    return Interposed(blocking_aws.client("dynamodb"))


@pytest_asyncio.fixture(loop_scope="module")
async def batching(
    blocking_aws: BlockingAws, dynamo_results: DynamoResults, client: Interposed
) -> BatchingDynamoResults:
    name = dynamo_results._table.name
    return BatchingDynamoResults(client, AsyncFlow(ManualClock()), name, blocking_aws.describe)


async def put(results: DynamoResults, *ids: str, **other: Any) -> list[BaseException | None]:
    """End so many tasks at once; for each what it raised."""
    puts = (results.put_finished(a_claim(id, **other), 1, succeeded()) for id in ids)
    return await asyncio.gather(*puts, return_exceptions=True)


def ids(count: int) -> list[str]:
    return [f"task-{number}" for number in range(count)]


async def states(results: DynamoResults, names: list[str]) -> set[State | None]:
    found = await results.get_many(names, now=NOW + 2)
    return {found[name].status if name in found else None for name in names}


async def test_fifty_tasks_that_end_together_share_two_requests(
    batching: BatchingDynamoResults, client: Interposed
) -> None:
    assert await put(batching, *ids(50)) == [None] * 50
    assert client.calls == ["batch_write_item"] * 2
    assert await states(batching, ids(50)) == {State.SUCCEEDED}


async def test_a_task_that_ends_alone_waits_for_nobody(batching: BatchingDynamoResults, client: Interposed) -> None:
    assert await put(batching, "task-1") == [None]
    assert client.calls == ["put_item"]


async def test_the_record_is_the_one_that_is_put_alone(
    batching: BatchingDynamoResults, dynamo_results: DynamoResults
) -> None:
    await put(batching, "task-1", "task-2")
    batched = await dynamo_results.get("task-1", now=NOW)
    await put(dynamo_results, "task-1")
    assert batched is not None
    assert batched == await dynamo_results.get("task-1", now=NOW)


async def test_what_the_table_has_no_capacity_for_fails_alone_and_for_now(
    batching: BatchingDynamoResults, client: Interposed
) -> None:
    async def leave_one(operation: str, params: dict[str, Any]) -> dict[str, Any] | None:
        if operation != "batch_write_item":
            return None
        [(table, requests)] = params["RequestItems"].items()
        kept = [request for request in requests if request["PutRequest"]["Item"]["pk"]["S"] != "T#task-3"]
        await client.client.call(operation, RequestItems={table: kept})
        return {"UnprocessedItems": {table: [request for request in requests if request not in kept]}}

    client.hook = leave_one
    answers = await put(batching, *ids(5))
    assert [answer is None for answer in answers] == [True, True, True, False, True]
    assert isinstance(answers[3], AwsError)
    assert answers[3].transient
    assert await states(batching, ["task-3"]) == {None}
    assert await states(batching, ["task-0", "task-1", "task-2", "task-4"]) == {State.SUCCEEDED}


async def test_two_deliveries_of_a_task_that_end_together_do_not_keep_others_out(
    batching: BatchingDynamoResults, client: Interposed
) -> None:
    # DynamoDB refuses a batch that names a key twice.
    assert await put(batching, "task-1", "task-1", "task-2") == [None] * 3
    assert client.calls[0] == "batch_write_item"
    assert client.calls[1:] == ["put_item"] * 3
    assert await states(batching, ["task-1", "task-2"]) == {State.SUCCEEDED}


async def test_a_record_that_the_table_refuses_fails_alone(batching: BatchingDynamoResults, client: Interposed) -> None:
    async def refuse(operation: str, params: dict[str, Any]) -> dict[str, Any] | None:
        if operation == "batch_write_item" or params["Item"]["pk"]["S"] == "T#task-1":
            raise AwsError(operation, "ValidationException", "an item is not to my taste")
        return None

    client.hook = refuse
    answers = await put(batching, *ids(3))
    assert [answer is None for answer in answers] == [True, False, True]


async def test_a_fault_of_the_request_is_everybody_s_and_repeating_mends_it(
    batching: BatchingDynamoResults, client: Interposed
) -> None:
    async def fail(operation: str, params: dict[str, Any]) -> dict[str, Any] | None:
        raise AwsError(operation, "ServiceUnavailable", "later", transient=True)

    client.hook = fail
    answers = await put(batching, *ids(3))
    assert all(isinstance(answer, AwsError) and answer.transient for answer in answers)
    assert client.calls == ["batch_write_item"]
    client.hook = None
    assert await put(batching, *ids(3)) == [None] * 3


async def test_a_role_without_the_permission_puts_each_by_itself_from_then_on(
    batching: BatchingDynamoResults, client: Interposed
) -> None:
    async def deny(operation: str, params: dict[str, Any]) -> dict[str, Any] | None:
        if operation == "batch_write_item":
            raise AwsError(operation, "AccessDeniedException", "not authorized to perform: dynamodb:BatchWriteItem")
        return None

    client.hook = deny
    assert await put(batching, *ids(3)) == [None] * 3
    assert await put(batching, *ids(3)) == [None] * 3
    assert client.calls == ["batch_write_item"] + ["put_item"] * 6


async def test_an_end_that_replaces_another_is_batched_too(batching: BatchingDynamoResults) -> None:
    await asyncio.gather(*(batching.put_finished(a_claim(id), 1, failed()) for id in ids(3)))
    assert await states(batching, ids(3)) == {State.FAILED}
    await put(batching, *ids(3))
    assert await states(batching, ids(3)) == {State.SUCCEEDED}
