"""Every call that the code makes in Lambda is one that the template's role allows."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator

import boto3
import pytest

from taskq_sls import Queue, Retry, TaskContext, TaskQ, at
from taskq_sls.brokers.base import Outgoing
from taskq_sls.core.flow import drive
from taskq_sls.deploy.template import render
from taskq_sls.local_aws.event_records import event_of, record_of
from tests.support.aws_bench import AwsBench
from tests.support.permissions import Recorder, lacking, recorder
from tests.support.template import ACCOUNT, REGION, Stack

__all__ = ["recorder"]

MakeBench = Callable[..., AwsBench]

ROLE = f"arn:aws:iam::{ACCOUNT}:role/stack-ScheduleRole-1A2B3C"

LAMBDA_S_OWN = {
    "sqs:ReceiveMessage",
    "sqs:DeleteMessage",
    "logs:CreateLogStream",
    "logs:PutLogEvents",
    "xray:PutTraceSegments",
    "xray:PutTelemetryRecords",
}
"""What Lambda itself does with a function's role."""

OF_FAULTS = {"s3:ListBucket"}
"""Never asked for, but what S3 answers depends on it."""

LARGE = "x" * 1_100_000
"""Fits neither a message nor a record."""


@pytest.fixture
def bench(make_aws_bench: MakeBench) -> Iterator[AwsBench]:
    """An app with a bucket and a scheduler, as a stack has them."""
    bucket = f"permissions-{uuid.uuid4().hex}"
    bench = make_aws_bench(
        Queue("default", function_timeout=60),
        Queue("ledger.fifo", function_timeout=60),
        bucket=bucket,
        schedule_role_arn=ROLE,
    )
    s3 = boto3.client("s3")
    s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "eu-north-1"})
    yield bench
    s3.close()


def stack_of(app: TaskQ) -> Stack:
    return Stack(render(app), Prefix=app.settings.prefix)


class Container:
    """Receives as Lambda does, and calls the handler; only the handler's own calls are recorded."""

    def __init__(self, bench: AwsBench, recorder: Recorder) -> None:
        self._app = bench.app
        self._recorder = recorder
        self._sqs = boto3.client("sqs")
        self._handler = bench.app.lambda_handler()

    def invoke(self, queue: str) -> None:
        name = f"{self._app.settings.prefix}-{queue}"
        url = self._sqs.get_queue_url(QueueName=name)["QueueUrl"]
        received = self._sqs.receive_message(
            QueueUrl=url,
            MaxNumberOfMessages=10,
            VisibilityTimeout=30,
            WaitTimeSeconds=0,
            MessageSystemAttributeNames=["All"],
            MessageAttributeNames=["All"],
        ).get("Messages", [])
        assert received, f"queue {queue} is empty"
        arn = f"arn:aws:sqs:{REGION}:{ACCOUNT}:{name}"
        with self._recorder.recording(queue):
            answer = self._handler(event_of([record_of(one, queue_arn=arn, region=REGION) for one in received]))
        failed = {one["itemIdentifier"] for one in answer["batchItemFailures"]}
        for message in received:
            if message["MessageId"] not in failed:
                self._sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])

    def close(self) -> None:
        self._handler.close()
        self._sqs.close()


@pytest.fixture
def container(bench: AwsBench, recorder: Recorder) -> Iterator[Container]:
    container = Container(bench, recorder)
    yield container
    container.close()


def test_a_worker_may_do_all_that_its_tasks_do(bench: AwsBench, container: Container, recorder: Recorder) -> None:
    app = bench.app

    @app.task(name="echo")
    def echo(text: str) -> str:
        return text

    @app.task(name="post", queue="ledger.fifo", group="g", record="queued")
    def post() -> None: ...

    @app.task(name="fail", retry=Retry(max_attempts=2, backoff=0, jitter="none"))
    def fail() -> None:
        raise ValueError("always")

    @app.task(name="busy", timeout=30)
    def busy(ctx: TaskContext) -> None:
        ctx.progress(1, 2)
        first = echo.enqueue("small")
        echo.enqueue_many([("a",), ("b",)])
        echo.with_options(unique_key="one").enqueue("unique")
        echo.enqueue(LARGE)
        later = echo.with_options(delay=86_400).enqueue("later")
        assert later.cancel()
        post.enqueue()
        post.with_options(delay=60).enqueue()
        assert first.status()
        assert app.results.get(first.id) is None
        app.results.list(status="FAILED")
        app.results.list(task="echo")
        schedule = echo.schedule(at("2099-01-01T00:00:00"), "x")
        assert schedule.pause()
        assert schedule.resume()
        assert schedule.next_run() is not None
        assert schedule.cancel()

    handle = busy.enqueue()
    fail.enqueue()
    drive(app.services.blocking().broker.send([Outgoing("default", "{}", "poison")]))
    container.invoke("default")
    container.invoke("default")
    container.invoke("ledger.fifo")
    assert handle.status() == "SUCCEEDED"

    stack = stack_of(app)
    for queue, role in (("default", "DefaultWorkerRole"), ("ledger.fifo", "LedgerFifoWorkerRole")):
        assert lacking(recorder.needs(stack, queue), stack.statements(role)) == []
    # And nothing is allowed that is not needed.
    given = {action for one in stack.statements("DefaultWorkerRole") for action in one["Action"]}
    assert given - {need.action for need in recorder.needs(stack, "default")} == LAMBDA_S_OWN | OF_FAULTS


def test_the_function_for_events_may_do_all_that_it_does(bench: AwsBench, recorder: Recorder) -> None:
    app = bench.app

    @app.on_event(source="shop", detail_type="Plain")
    @app.task(name="plain", record="queued")
    def plain(order: str) -> None: ...

    @app.on_event(source="shop", detail_type="Late", delay=86_400)
    @app.task(name="late")
    def late(order: str) -> None: ...

    @app.on_event(source="shop", detail_type="Unique", unique_key="one")
    @app.task(name="unique")
    def unique(order: str) -> None: ...

    handler = app.event_handler()
    # The second event with the unique key finds the key taken, and reads the record of the task that has it.
    orders = (("Plain", "1"), ("Unique", "12"), ("Unique", "123"), ("Plain", LARGE[:1_060_000]), ("Late", "1"))
    for kind, order in orders:
        event = {
            "version": "0",
            "id": f"11111111-2222-3333-4444-{len(order):012d}",
            "detail-type": kind,
            "source": "shop",
            "account": ACCOUNT,
            "time": "2026-11-22T00:00:00Z",
            "region": REGION,
            "resources": [],
            "detail": {"order": order},
        }
        with recorder.recording("events"):
            assert len(handler(json.loads(json.dumps(event)))["tasks"]) == 1

    stack = stack_of(app)
    needs = recorder.needs(stack, "events")
    assert lacking(needs, stack.statements("EventsRole")) == []
    given = {action for one in stack.statements("EventsRole") for action in one["Action"]}
    # A unique key is freed where its message was refused.
    unused = LAMBDA_S_OWN - {"sqs:ReceiveMessage", "sqs:DeleteMessage"} | {"dynamodb:DeleteItem"}
    assert given - {need.action for need in needs} == unused
