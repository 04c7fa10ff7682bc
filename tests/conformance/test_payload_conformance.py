"""What every payload store does: in memory, and S3 over each port."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from moto import mock_aws

from taskq_sls.aws.aio import AsyncAws
from taskq_sls.aws.blocking import BlockingAws, ThreadedAws
from taskq_sls.aws.port import AwsPort
from taskq_sls.core.clock import ManualClock
from taskq_sls.core.flow import drive
from taskq_sls.errors import MissingResource, PayloadMissing
from taskq_sls.payloads.base import PayloadStore, message_key
from taskq_sls.payloads.memory import MemoryPayloads
from taskq_sls.payloads.s3 import S3Payloads
from tests.support.broker_fixtures import set_aws_environment

PORTS: dict[str, Callable[..., Any]] = {"blocking": BlockingAws, "threaded": ThreadedAws, "async": AsyncAws}

KEY = message_key("order:4711@x/../+=", 0, "token", 0.0)

_buckets = (f"payloads-{number}" for number in itertools.count())


@pytest.fixture(params=["memory", *PORTS])
async def store(
    request: pytest.FixtureRequest, broker_moto_server: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[PayloadStore]:
    if request.param == "memory":
        yield MemoryPayloads(ManualClock())
        return
    set_aws_environment(monkeypatch)
    monkeypatch.setenv("AWS_ENDPOINT_URL", broker_moto_server)
    port: AwsPort = PORTS[request.param](ManualClock())
    bucket = next(_buckets)
    place = {"LocationConstraint": "eu-west-1"}
    await port.client("s3").call("create_bucket", Bucket=bucket, CreateBucketConfiguration=place)
    yield S3Payloads(port.client("s3"), bucket, port.describe)
    await port.close()


@pytest.mark.parametrize(
    "body",
    [b"", b'{"args": []}', "äé€\U0001f600".encode(), b"x" * 1_048_576, b"x" * 1_048_577, bytes(range(256)) * 20_000],
    ids=["empty", "small", "text", "a megabyte", "more", "five megabytes of anything"],
)
async def test_an_object_is_read_as_it_was_put(store: PayloadStore, body: bytes) -> None:
    await store.put(KEY, body)
    assert await store.get(KEY) == body


async def test_an_object_that_is_not_there_is_named(store: PayloadStore) -> None:
    await store.put(KEY, b"x")
    with pytest.raises(PayloadMissing, match=f"{store.name}/messages/45d/no/0-such.json"):
        await store.get("messages/45d/no/0-such.json")


async def test_objects_are_apart(store: PayloadStore) -> None:
    keys = [message_key("a", run, token, 0.0) for run in (0, 1) for token in ("t", "u")]
    for key in keys:
        await store.put(key, key.encode())
    assert [await store.get(key) for key in keys] == [key.encode() for key in keys]


async def test_putting_again_after_a_lost_answer_is_harmless(store: PayloadStore) -> None:
    await store.put(KEY, b"x")
    await store.put(KEY, b"x")
    assert await store.get(KEY) == b"x"


# -- what only S3 has -------------------------------------------------------------------------------------------


@pytest.fixture
def blocking(monkeypatch: pytest.MonkeyPatch) -> Iterator[BlockingAws]:
    set_aws_environment(monkeypatch)
    with mock_aws():
        port = BlockingAws(ManualClock())
        yield port
        drive(port.close())


@pytest.mark.parametrize("operation", ["put", "get"])
def test_a_bucket_that_does_not_exist_is_named_with_the_fix(blocking: BlockingAws, operation: str) -> None:
    store = S3Payloads(blocking.client("s3"), "no-such-bucket", blocking.describe)
    call = store.put(KEY, b"x") if operation == "put" else store.get(KEY)
    with pytest.raises(MissingResource, match=r"'no-such-bucket' does not exist at .*taskq provision.*TASKQ_BUCKET"):
        drive(call)


def test_what_has_outlived_its_class_is_gone_from_memory_as_it_would_be_from_the_bucket() -> None:
    clock = ManualClock()
    store = MemoryPayloads(clock)
    drive(store.put(KEY, b"x"))
    clock.travel(45 * 86_400)
    assert drive(store.get(KEY)) == b"x"
    clock.travel(86_400)  # the rule counts from the next midnight
    with pytest.raises(PayloadMissing):
        drive(store.get(KEY))
