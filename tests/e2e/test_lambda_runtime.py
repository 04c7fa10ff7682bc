"""The worker's handler under Lambda's own runtime: the artifact that is deployed, awslambdaric, and real timeouts."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from taskq_sls import Queue, TaskQ
from taskq_sls.aws.blocking import BlockingAws
from taskq_sls.core.flow import call_sync, drive
from taskq_sls.deploy.provision import provision
from taskq_sls.local_aws.server import MotoServer
from tests.e2e.lambda_runtime import LambdaRuntime, build_code, sqs_event
from tests.e2e.machine import ROOT
from tests.e2e.stack import body, client

pytestmark = pytest.mark.e2e

TIMEOUT = 6
"""Seconds of the function. Its margin is 20 % of that: work is stopped 1.2 s before the kill."""


class RuntimeHarness:
    """An app whose messages the test hands to the function itself, as the mapping would."""

    def __init__(self, server: MotoServer) -> None:
        self.app = TaskQ("rie", queues=[Queue("default", function_timeout=TIMEOUT)])
        port = BlockingAws(self.app.clock)
        call_sync("provision", provision(port, self.app.settings, list(self.app.queues.values())))
        call_sync("close", port.close())
        self.environment = {**server.environment(), "TASKQ_PREFIX": "rie"}
        with client("sqs") as sqs:
            self.url: str = sqs.get_queue_url(QueueName="rie-default")["QueueUrl"]
            attributes = sqs.get_queue_attributes(QueueUrl=self.url, AttributeNames=["QueueArn"])
        self._arn: str = attributes["Attributes"]["QueueArn"]

    def enqueue(self, task: str, *args: Any) -> str:
        return self.app.ref(f"shop.tasks:{task}").enqueue(*args).id

    def receive(self) -> tuple[dict[str, Any], dict[str, str]]:
        """The event of all that is visible, and the message id of each task."""
        with client("sqs") as sqs:
            answer = sqs.receive_message(
                QueueUrl=self.url, MaxNumberOfMessages=10, MessageSystemAttributeNames=["All"], WaitTimeSeconds=0
            )
        event = sqs_event(answer["Messages"], self._arn)
        return event, {str(body({"Body": one["body"]})["id"]): one["messageId"] for one in event["Records"]}

    def status(self, id: str) -> str:
        record = self.app.results.get(id)
        assert record is not None
        return str(record.status)

    def close(self) -> None:
        for services in self.app.services._blocking.values():
            drive(services.close())


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The code as `sam build` makes it, with the user's package beside it."""
    folder = tmp_path_factory.mktemp("artifact") / "code"
    build_code(folder)
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "tests" / "e2e" / "user_project" / "shop", folder / "shop", ignore=ignored)
    return folder


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[RuntimeHarness]:
    with MotoServer() as server:
        for name, value in server.environment().items():
            monkeypatch.setenv(name, value)
        for name in ("TASKQ_PREFIX", "TASKQ_TABLE", "TASKQ_BUCKET", "TASKQ_SCHEDULE_GROUP", "TASKQ_SCHEDULE_ROLE_ARN"):
            monkeypatch.delenv(name, raising=False)
        made = RuntimeHarness(server)
        yield made
        made.close()


@pytest.fixture
def function(artifact: Path, bench: RuntimeHarness, tmp_path: Path) -> Iterator[LambdaRuntime]:
    log = tmp_path / "log"
    with LambdaRuntime(
        artifact, "shop.entry.worker", timeout=TIMEOUT, environment=bench.environment, log=log
    ) as started:
        yield started


def test_a_batch_runs_in_one_container_and_its_results_are_in_the_table(
    bench: RuntimeHarness, function: LambdaRuntime
) -> None:
    first = [bench.enqueue("price", number, 3) for number in range(10)]
    event, _ = bench.receive()
    assert function.invoke(event) == {"batchItemFailures": []}
    failing = bench.enqueue("refund", "order-1")
    fine = bench.enqueue("price", 5, 3)
    event, ids = bench.receive()

    answer = function.invoke(event)

    assert answer == {"batchItemFailures": [{"itemIdentifier": ids[failing]}]}
    assert bench.status(failing) == "RETRYING"
    records = bench.app.results.get_many([*first, fine])
    assert [records[id].result for id in (*first, fine)] == [3 * number for number in (*range(10), 5)]
    assert len(function.starts()) == 1


def test_a_batch_that_runs_into_the_timeout_is_answered_before_the_kill_and_names_what_is_unfinished(
    bench: RuntimeHarness, function: LambdaRuntime
) -> None:
    quick = [bench.enqueue("price", number, 3) for number in range(4)]
    slow = [bench.enqueue("ponder", 60) for _ in range(3)]
    event, ids = bench.receive()

    started = time.monotonic()
    answer = function.invoke(event)
    took = time.monotonic() - started

    assert {one["itemIdentifier"] for one in answer["batchItemFailures"]} == {ids[id] for id in slow}
    assert len(answer["batchItemFailures"]) == 3
    assert took < TIMEOUT
    assert {bench.status(id) for id in quick} == {"SUCCEEDED"}
    assert "Task timed out" not in function.log()
    assert len(function.starts()) == 1, "the container lives on"


def test_a_task_that_cannot_be_stopped_is_reported_and_its_container_is_replaced_before_the_next_batch(
    bench: RuntimeHarness, function: LambdaRuntime
) -> None:
    quick, stuck = bench.enqueue("price", 2, 3), bench.enqueue("release", 60)
    event, ids = bench.receive()

    answer = function.invoke(event)

    assert answer == {"batchItemFailures": [{"itemIdentifier": ids[stuck]}]}
    assert (bench.status(quick), bench.status(stuck)) == ("SUCCEEDED", "RUNNING"), "its lease is left"

    following = bench.enqueue("price", 4, 3)
    event, _ = bench.receive()
    refused = function.invoke(event)
    assert refused["errorType"] == "Runtime.ExitError"
    assert bench.app.results.get(following) is None, "it was not touched"

    assert function.invoke(event) == {"batchItemFailures": []}
    assert bench.status(following) == "SUCCEEDED"
    assert len(function.starts()) == 2
