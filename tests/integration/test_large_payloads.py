"""Large messages and results over queues, table and bucket of a local AWS, with a worker and with Lambda."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import boto3
import pytest

from taskq_sls import PayloadMissing, PayloadTooLarge, Queue, Retry, TaskFailed, await_all
from taskq_sls.aws.blocking import BlockingAws
from taskq_sls.brokers.base import MAX_BODY_BYTES
from taskq_sls.core.clock import ManualClock
from taskq_sls.core.flow import drive
from taskq_sls.core.states import State
from taskq_sls.deploy.doctor import examine
from taskq_sls.deploy.doctor.bucket import check_bucket
from taskq_sls.deploy.provision.buckets import provision_bucket
from taskq_sls.errors import AwsError
from taskq_sls.local_aws.container import InlineContainer
from taskq_sls.local_aws.event_source_mapping import EventSourceMapping
from taskq_sls.payloads.base import LIFETIMES
from taskq_sls.payloads.s3 import S3Payloads
from tests.support.aws_bench import AwsBench
from tests.support.waiting import async_until

MakeBench = Callable[..., AwsBench]

BIG = "x" * MAX_BODY_BYTES
BUCKET = "bench-payloads"


@pytest.fixture
def s3(make_aws_bench: MakeBench) -> Any:
    """A plain client of the local AWS, with the bucket provisioned."""
    make_aws_bench()
    port = BlockingAws(ManualClock())
    drive(provision_bucket(port.client("s3"), BUCKET, "us-east-1"))
    drive(port.close())
    client = boto3.client("s3")
    yield client
    for key in keys(client):
        client.delete_object(Bucket=BUCKET, Key=key)
    client.delete_bucket(Bucket=BUCKET)
    client.close()


@pytest.fixture
def bench(make_aws_bench: MakeBench, s3: Any) -> AwsBench:
    return make_aws_bench(
        Queue("default", visibility_timeout=5, function_timeout=5), Queue("ledger.fifo"), bucket=BUCKET
    )


def keys(s3: Any) -> list[str]:
    return [one["Key"] for one in s3.list_objects_v2(Bucket=BUCKET).get("Contents", [])]


async def test_a_worker_runs_large_messages_and_returns_large_results(bench: AwsBench, s3: Any) -> None:
    @bench.app.task(name="echo")
    async def echo(text: str) -> str:
        return text

    texts = ["a", BIG, "é" * 600_000, "b"]
    handles = await echo.aenqueue_many([(text,) for text in texts])
    async with bench.working():
        assert await await_all(handles, 20) == texts
    record = await bench.record(handles[1].id)
    assert record is not None
    assert (record.result, record.result_key in keys(s3)) == (BIG, True)
    assert sorted(key.partition("/")[0] for key in keys(s3)) == ["messages"] * 2 + ["results"] * 2


def test_sync_callers_and_a_lambda_function_do_the_same(bench: AwsBench, s3: Any) -> None:
    @bench.app.task(name="echo")
    def echo(text: str) -> str:
        return text

    @bench.app.task(name="post", queue="ledger.fifo", group="g")
    def post(text: str) -> int:
        return len(text)

    handle = echo.enqueue(BIG)
    posted = post.enqueue_many([("a",), (BIG,)])
    handlers = []

    def container() -> InlineContainer:
        handlers.append(bench.app.lambda_handler())
        return InlineContainer(handlers[-1])

    for name, waited in (("default", [handle]), ("ledger.fifo", posted)):
        url = drive(bench.app.services.blocking().broker._urls.url(name))  # type: ignore[attr-defined]  # SQS's own
        queue = bench.app.queues[name]
        with EventSourceMapping(queue, url, container, endpoint=bench.server.endpoint, region=bench.server.region):
            results = [one.result(60) for one in waited]
        assert results in ([BIG], [1, len(BIG)])
    for handler in handlers:
        handler.close()


async def test_a_dead_letter_copy_points_to_the_same_object_and_runs_when_it_is_redriven(
    bench: AwsBench, s3: Any
) -> None:
    broken = True

    @bench.app.task(name="size", retry=Retry(max_attempts=1))
    async def size(text: str) -> int:
        if broken:
            raise ValueError("not yet")
        return len(text)

    handle = await size.aenqueue(BIG)
    async with bench.working():
        with pytest.raises(TaskFailed, match="not yet"):
            await handle.aresult(60)
        broker = (await bench.app.services.on_loop()).broker
        await async_until(lambda: copies(broker))
        broken = False
        [copy] = await broker.receive("default-dlq", max_messages=1, wait=1, visibility=1)
        assert [json.loads(copy.body)["payload"]] == keys(s3)
        await bench.send_raw(copy.body)

        async def redriven() -> bool:
            return await handle.astatus() is State.SUCCEEDED

        await async_until(redriven)
        assert await handle.aresult(60) == len(BIG)


async def copies(broker: Any) -> int:
    found: int = (await broker.depth("default-dlq")).visible
    return found


async def test_a_lost_object_fails_its_own_message_alone(bench: AwsBench, s3: Any) -> None:
    @bench.app.task(name="size")
    async def size(text: str) -> int:
        return len(text)

    lost = await size.aenqueue(BIG)
    s3.delete_object(Bucket=BUCKET, Key=keys(s3)[0])
    kept = await size.aenqueue(BIG + "x")
    async with bench.working():
        assert await kept.aresult(60) == len(BIG) + 1
    assert await bench.record(lost.id) is None
    assert sum(await bench.depth()) == 1


async def test_a_lost_result_is_told_to_whoever_reads_it(bench: AwsBench, s3: Any) -> None:
    @bench.app.task(name="make")
    async def make() -> str:
        return BIG

    handle = await make.aenqueue()
    async with bench.working():
        assert await handle.aresult(60) == BIG
    s3.delete_object(Bucket=BUCKET, Key=keys(s3)[0])
    with pytest.raises(PayloadMissing, match="gone from the bucket"):
        await handle.aresult(5)
    assert await handle.astatus() is State.SUCCEEDED


async def test_a_server_that_fails_is_waited_out_on_every_side(bench: AwsBench, s3: Any) -> None:
    @bench.app.task(name="echo")
    async def echo(text: str) -> str:
        bench.wire.fault, bench.wire.fails = "503", lambda operation: operation == "" and not mended
        return text

    mended = False
    handle = await echo.aenqueue(BIG)
    async with bench.working():
        await async_until(lambda: bench.wire.fault)
        await asyncio.sleep(0.2)
        mended = True
        assert await handle.aresult(60) == BIG


async def test_without_a_bucket_the_fix_is_said_on_both_sides(make_aws_bench: MakeBench) -> None:
    bench = make_aws_bench()

    @bench.app.task(name="make")
    async def make(text: str = "") -> str:
        return BIG

    with pytest.raises(PayloadTooLarge, match="TASKQ_BUCKET"):
        await make.aenqueue(BIG)
    handle = await make.aenqueue()
    async with bench.working():
        with pytest.raises(TaskFailed, match="TASKQ_BUCKET") as caught:
            await handle.aresult(60)
    assert caught.value.reason == "result"


# -- provisioning and doctor ------------------------------------------------------------------------------------


def provision(name: str = BUCKET) -> str:
    port = BlockingAws(ManualClock())
    made = drive(provision_bucket(port.client("s3"), name, "us-east-1"))
    drive(port.close())
    return f"{made.action} {made.detail}".strip()


def diagnose(name: str = BUCKET) -> list[tuple[str, str]]:
    port = BlockingAws(ManualClock())
    findings = drive(check_bucket(port.client("s3"), name))
    drive(port.close())
    return [(one.level, f"{one.detail} -> {one.fix}") for one in findings]


def test_the_bucket_has_a_rule_per_lifetime_is_encrypted_and_not_public(s3: Any) -> None:
    rules = s3.get_bucket_lifecycle_configuration(Bucket=BUCKET)["Rules"]
    assert [(rule["Filter"]["Prefix"], rule["Expiration"]["Days"], rule["Status"]) for rule in rules] == [
        (one.prefix, one.days, "Enabled") for one in LIFETIMES
    ]
    assert set(s3.get_public_access_block(Bucket=BUCKET)["PublicAccessBlockConfiguration"].values()) == {True}
    assert s3.get_bucket_encryption(Bucket=BUCKET)["ServerSideEncryptionConfiguration"]["Rules"]
    assert provision() == "exists"
    assert [level for level, _ in diagnose()] == ["ok"]


def test_provisioning_restores_what_is_missing_and_keeps_the_rules_of_others(s3: Any) -> None:
    other = {"ID": "logs", "Status": "Enabled", "Filter": {"Prefix": "logs/"}, "Expiration": {"Days": 3}}
    s3.put_bucket_lifecycle_configuration(Bucket=BUCKET, LifecycleConfiguration={"Rules": [other]})
    s3.delete_public_access_block(Bucket=BUCKET)
    found = diagnose()
    assert [level for level, _ in found] == ["fail", "warn"]
    assert "no lifecycle rule for messages/45d/" in found[0][1]
    assert "does not block public access" in found[1][1]

    assert provision().startswith("updated public access blocked, lifetimes of messages/45d/")
    rules = s3.get_bucket_lifecycle_configuration(Bucket=BUCKET)["Rules"]
    assert [rule["ID"] for rule in rules if not rule["ID"].startswith("taskq-")] == ["logs"]
    assert len(rules) == 1 + len(LIFETIMES)
    assert [level for level, _ in diagnose()] == ["ok"]


def test_doctor_finds_a_rule_that_would_take_objects_too_early(s3: Any) -> None:
    rules = s3.get_bucket_lifecycle_configuration(Bucket=BUCKET)["Rules"]
    early = {"ID": "tidy", "Status": "Enabled", "Filter": {"Prefix": "messages/"}, "Expiration": {"Days": 7}}
    s3.put_bucket_lifecycle_configuration(Bucket=BUCKET, LifecycleConfiguration={"Rules": [*rules, early]})
    found = diagnose()
    assert {level for level, _ in found} == {"fail"}
    assert "rule tidy removes objects under messages/45d/ before their 45 days" in found[0][1]
    s3.put_bucket_lifecycle_configuration(Bucket=BUCKET, LifecycleConfiguration={"Rules": rules})


def test_doctor_names_a_bucket_that_does_not_exist(s3: Any) -> None:
    [(level, text)] = diagnose("no-such-bucket")
    assert level == "fail"
    assert "does not exist -> run `taskq provision" in text


@pytest.mark.parametrize(("bucket", "subjects"), [(None, []), (BUCKET, [f"bucket {BUCKET}"])])
def test_the_bucket_is_examined_where_one_is_configured(
    make_aws_bench: MakeBench, s3: Any, bucket: str | None, subjects: list[str]
) -> None:
    bench = make_aws_bench(bucket=bucket)
    port = BlockingAws(ManualClock())
    findings = drive(examine(bench.app, port))
    drive(port.close())
    assert [one.subject for one in findings if one.subject.startswith("bucket")] == subjects
    assert all(one.level == "ok" for one in findings if one.subject in subjects)


def test_what_s3_refuses_is_explained(s3: Any) -> None:
    class Denying:
        async def call(self, operation: str, /, **params: Any) -> dict[str, Any]:
            raise AwsError(operation, "AccessDenied", "Access Denied", status=403)

    with pytest.raises(AwsError, match="allow s3:GetObject on it, and s3:ListBucket on the bucket"):
        drive(S3Payloads(Denying(), BUCKET, lambda: "here").get("messages/45d/a/0-t.json"))
    [finding] = drive(check_bucket(Denying(), BUCKET))
    assert finding.level == "fail"
    assert "s3:ListBucket" in finding.fix
