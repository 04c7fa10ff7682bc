"""The commands against moto, in this process."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws

from taskq_sls import TaskQ
from taskq_sls.cli import main
from taskq_sls.cli.apps import load_app
from taskq_sls.core.clock import SystemClock
from taskq_sls.core.flow import drive
from taskq_sls.core.forced_end import ShutdownWatchdog
from taskq_sls.core.states import State
from taskq_sls.results.records import AttemptEnd, Claim, Fence

SHOP = """
from datetime import date, timedelta
from taskq_sls import TaskQ, Queue, Retry, TaskContext

app = TaskQ("shop", queues=[Queue("default"), Queue("slow", visibility_timeout=30), Queue("ledger.fifo")])

@app.task
def resize(path: str, width: int = 100) -> str:
    return f"{path}@{width}"

@app.task
def after(day: date) -> date:
    return day + timedelta(days=1)

@app.task(retry=Retry(max_attempts=1))
def fail() -> None:
    raise ValueError("no such image")

@app.task(queue="ledger.fifo")
def book(amount: int) -> None: ...
"""

APP = ("--app", "shop:app")

Run = Callable[..., str]


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An app in the current directory, and credentials; nothing exists in AWS."""
    for name in [name for name in os.environ if name.startswith(("AWS_", "TASKQ_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "shop.py").write_text(SHOP)
    yield
    sys.modules.pop("shop", None)


@pytest.fixture
def aws(environment: None) -> Iterator[None]:
    with mock_aws():
        yield


@pytest.fixture
def run(aws: None, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command and gives back its stdout."""

    def run(*argv: str, status: int = 0) -> str:
        assert main(argv) == status, capsys.readouterr().err
        return capsys.readouterr().out

    return run


@pytest.fixture
def provisioned(run: Run) -> None:
    run("provision", "shop:app")


@pytest.fixture
def errors(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command that is refused and gives back the one line of stderr."""

    def errors(*argv: str, status: int = 2) -> str:
        assert main(argv) == status
        err = capsys.readouterr().err
        assert "Traceback" not in err
        assert err.splitlines()[-1].startswith("taskq: error: ")
        return err

    return errors


def work(app: TaskQ, *queues: str) -> None:
    """Process what the queues hold, once, as a worker would."""

    async def process() -> None:
        services = await app.services.on_loop()
        executor = app.executor(services)
        for queue in queues or ("default",):
            for delivery in await services.broker.receive(queue, max_messages=10, wait=0, visibility=60):
                await executor.process(delivery)
                await services.broker.ack([delivery])

    asyncio.run(process())


def queue_url(name: str) -> str:
    return str(boto3.client("sqs").get_queue_url(QueueName=name)["QueueUrl"])


# -- provision ------------------------------------------------------------------------------------------------------


def test_provision_tells_what_it_made_and_then_what_it_found(run: Run) -> None:
    first = json.loads(run("provision", "shop:app", "--json"))
    second = json.loads(run("provision", "shop:app", "--json"))

    assert {one["action"] for one in first} == {"created"}
    assert {one["action"] for one in second} == {"exists"}
    assert {"shop-default", "shop-slow-dlq", "shop-ledger-dlq.fifo", "shop-tasks"} <= {one["name"] for one in first}


def test_provision_corrects_and_tells_what_differs(run: Run, provisioned: None) -> None:
    boto3.client("sqs").set_queue_attributes(QueueUrl=queue_url("shop-slow"), Attributes={"VisibilityTimeout": "1"})

    out = run("provision", "shop:app")

    assert "updated  queue  shop-slow " in out
    assert "VisibilityTimeout 1 -> 30" in out


# -- enqueue --------------------------------------------------------------------------------------------------------


def test_enqueue_prints_the_id_of_the_message_that_it_sent(run: Run, provisioned: None) -> None:
    id = run("enqueue", "resize", *APP, "--args", '["a.png"]', "--kwargs", '{"width": 3}', "--label", "a=b").strip()

    (message,) = boto3.client("sqs").receive_message(QueueUrl=queue_url("shop-default"))["Messages"]
    body = json.loads(message["Body"])
    assert (body["id"], body["task"]) == (id, "shop:resize")
    assert (body["args"], body["kwargs"], body["labels"]) == (["a.png"], {"width": 3}, {"a": "b"})


def test_enqueue_takes_queue_group_and_id(run: Run, provisioned: None) -> None:
    run("enqueue", "book", *APP, "--args", "[1]", "--group", "g", "--id", "my-id")
    run("enqueue", "resize", *APP, "--args", '["a"]', "--queue", "slow")

    for queue in ("ledger.fifo", "slow"):
        assert boto3.client("sqs").receive_message(QueueUrl=queue_url(f"shop-{queue}"))["Messages"]
    assert run("enqueue", "book", *APP, "--args", "[1]", "--group", "g", "--id", "my-id") == "my-id\n"


def test_a_task_with_a_unique_key_is_sent_once(run: Run, provisioned: None) -> None:
    command = ("enqueue", "resize", *APP, "--args", '["a"]', "--unique-key", "thumbnail of a")
    assert run(*command) == run(*command)

    (message,) = boto3.client("sqs").receive_message(QueueUrl=queue_url("shop-default"), MaxNumberOfMessages=10)[
        "Messages"
    ]
    assert json.loads(message["Body"])["unique_key"] == "thumbnail of a"


def test_a_task_whose_code_is_elsewhere_is_sent_by_name(run: Run, provisioned: None) -> None:
    answer = json.loads(run("enqueue", "far.away:task", *APP, "--by-name", "--args", '[{"a": 1}]', "--json"))

    (message,) = boto3.client("sqs").receive_message(QueueUrl=queue_url("shop-default"))["Messages"]
    assert answer == {"id": json.loads(message["Body"])["id"], "task": "far.away:task", "queue": "default"}


def test_waiting_prints_the_result_by_the_tasks_own_types(
    run: Run, provisioned: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = load_app("shop:app")
    work_instead_of_sleeping(app, monkeypatch)

    assert run("enqueue", "after", *APP, "--args", '["2026-12-31"]', "--wait") == '"2027-01-01"\n'
    answer = json.loads(run("enqueue", "resize", *APP, "--args", '["a"]', "--wait", "--json"))
    assert (answer["status"], answer["result"]) == ("SUCCEEDED", "a@100")


def test_waiting_for_a_task_that_fails_is_status_1_with_the_remote_traceback(
    provisioned: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    work_instead_of_sleeping(load_app("shop:app"), monkeypatch)

    assert main(["enqueue", "fail", *APP, "--wait"]) == 1

    out, err = capsys.readouterr()
    assert out == ""
    assert "ValueError: no such image" in err
    assert "Remote traceback:" in err
    assert 'raise ValueError("no such image")' in err


def test_waiting_too_long_is_status_1(provisioned: None, errors: Run) -> None:
    err = errors("enqueue", "resize", *APP, "--args", '["a"]', "--wait", "--timeout", "0", status=1)
    assert "is QUEUED after 0 s; is a worker consuming its queue?" in err


def work_instead_of_sleeping(app: TaskQ, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the command sleeps between two looks, a worker does the work."""
    monkeypatch.setattr(type(app.clock), "block", lambda _, seconds: work(app))


# -- result ---------------------------------------------------------------------------------------------------------


def test_result_shows_the_record_of_a_task(run: Run, provisioned: None) -> None:
    id = run("enqueue", "resize", *APP, "--args", '["a"]').strip()
    work(load_app("shop:app"))

    record = json.loads(run("result", id, *APP, "--json"))

    assert (record["id"], record["status"], record["attempt"], record["result"]) == (id, "SUCCEEDED", 1, "a@100")
    assert 'result     "a@100"' in run("result", id, *APP)
    assert run("result", id, *APP, "--wait", "--timeout", "1")


def test_result_of_a_failed_task_is_status_1_and_shows_the_error(run: Run, provisioned: None) -> None:
    id = run("enqueue", "fail", *APP).strip()
    work(load_app("shop:app"))

    assert "ValueError: no such image" in run("result", id, *APP, status=1)


def test_result_of_a_cancelled_task_is_status_1_only_for_one_who_waits_for_it(run: Run, provisioned: None) -> None:
    id = run("enqueue", "resize", *APP, "--args", '["a"]').strip()
    task = load_app("shop:app").registry.get("shop:resize")
    assert task is not None
    task._handle(id, "default").cancel()

    assert "CANCELLED" in run("result", id, *APP)
    assert "CANCELLED" in run("result", id, *APP, "--wait", status=1)


def test_a_task_without_a_record_is_status_1_with_the_possible_reasons(provisioned: None, errors: Run) -> None:
    err = errors("result", "unknown-id", *APP, status=1)

    for reason in ("has not started yet", "expired", "record='none'", "'shop-tasks'"):
        assert reason in err


# -- tasks ----------------------------------------------------------------------------------------------------------


def test_tasks_lists_the_newest_first_page_by_page(
    run: Run, provisioned: None, capsys: pytest.CaptureFixture[str]
) -> None:
    ids = [run("enqueue", "resize", *APP, "--args", '["a"]').strip() for _ in range(3)]
    work(load_app("shop:app"))

    first = json.loads(run("tasks", *APP, "--limit", "2", "--json"))
    second = json.loads(run("tasks", *APP, "--limit", "2", "--json", "--cursor", first["cursor"]))
    assert main(["tasks", *APP, "--limit", "2"]) == 0

    assert [one["id"] for one in first["tasks"] + second["tasks"]] == ids[::-1]
    assert second["cursor"] is None
    out, err = capsys.readouterr()
    assert [line.split()[0] for line in out.splitlines()] == ["ID", ids[2], ids[1]]
    assert f"more with --cursor '{first['cursor']}'" in err


def test_tasks_filters_by_status_task_and_time(run: Run, provisioned: None) -> None:
    run("enqueue", "resize", *APP, "--args", '["a"]')
    run("enqueue", "fail", *APP)
    work(load_app("shop:app"))

    assert "ValueError: no such image" in run("tasks", *APP, "--status", "failed")
    assert "shop:resize" not in run("tasks", *APP, "--status", "failed")
    assert "shop:fail" not in run("tasks", *APP, "--task", "resize", "--since", "1h")
    assert run("tasks", *APP, "--until", "1h") == ""
    assert run("tasks", *APP, "--until", "2026-01-01T00:00:00Z") == ""
    assert run("tasks", *APP, "--task", "gone:task") == ""


def test_a_wrong_cursor_is_refused(provisioned: None, errors: Run) -> None:
    assert "cursor='x' is not a cursor" in errors("tasks", *APP, "--cursor", "x")


# -- what is missing in the environment -----------------------------------------------------------------------------

_NEED_QUEUE = (["enqueue", "resize", *APP, "--args", '["a"]'], ["worker", "shop:app", "--burst", "--queues", "default"])
_NEED_TABLE = (["result", "x", *APP], ["tasks", *APP], ["worker", "shop:app", "--burst"])


@pytest.mark.parametrize("argv", _NEED_QUEUE)
def test_a_missing_queue_is_told_with_the_fix(provisioned: None, errors: Run, argv: list[str]) -> None:
    boto3.client("sqs").delete_queue(QueueUrl=queue_url("shop-default"))

    err = errors(*argv)
    assert "'shop-default'" in err
    assert "taskq provision MODULE:APP" in err


@pytest.mark.parametrize("argv", _NEED_TABLE)
def test_a_missing_table_is_told_with_the_fix(provisioned: None, errors: Run, argv: list[str]) -> None:
    boto3.client("dynamodb").delete_table(TableName="shop-tasks")

    err = errors(*argv)
    assert "DynamoDB table 'shop-tasks' does not exist" in err
    assert "taskq provision MODULE:APP" in err


_ALL = (
    ["enqueue", "resize", *APP, "--args", '["a"]'],
    ["result", "x", *APP],
    ["tasks", *APP],
    ["provision", "shop:app"],
    ["worker", "shop:app", "--burst"],
)


@pytest.mark.parametrize("argv", _ALL)
def test_a_missing_region_is_told_with_the_fix(
    environment: None, errors: Run, monkeypatch: pytest.MonkeyPatch, argv: list[str]
) -> None:
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    assert "AWS_DEFAULT_REGION" in errors(*argv)


@pytest.mark.parametrize("argv", _ALL)
def test_missing_credentials_are_told_with_the_fix(
    environment: None, errors: Run, monkeypatch: pytest.MonkeyPatch, argv: list[str]
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    assert "AWS_ACCESS_KEY_ID" in errors(*argv)


@pytest.fixture
def nothing_listens(environment: None, monkeypatch: pytest.MonkeyPatch) -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{probe.getsockname()[1]}"
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    monkeypatch.setattr("botocore.endpoint.time.sleep", lambda seconds: None)
    return endpoint


@pytest.mark.parametrize("argv", _ALL[:4])
def test_an_endpoint_that_is_down_is_told(nothing_listens: str, errors: Run, argv: list[str]) -> None:
    assert nothing_listens in errors(*argv)


@pytest.mark.parametrize("argv", _ALL[:4])
def test_a_malformed_endpoint_is_told(
    environment: None, errors: Run, monkeypatch: pytest.MonkeyPatch, argv: list[str]
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "localhost:4566")
    assert "AWS_ENDPOINT_URL" in errors(*argv)


def test_a_malformed_variable_is_told_by_name(aws: None, errors: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASKQ_QUEUE_URLS", "not json")
    assert "TASKQ_QUEUE_URLS is not JSON" in errors("enqueue", "resize", *APP, "--args", '["a"]')


# -- doctor ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def diagnose(run: Run) -> Callable[..., list[dict[str, str]]]:
    """The findings of doctor that are not fine."""

    def diagnose(status: int) -> list[dict[str, str]]:
        findings: list[dict[str, str]] = json.loads(run("doctor", "shop:app", "--json", status=status))
        return [finding for finding in findings if finding["level"] != "ok"]

    return diagnose


Diagnose = Callable[[int], list[dict[str, str]]]


def test_doctor_finds_nothing_wrong_after_provisioning(run: Run, provisioned: None) -> None:
    out = run("doctor", *APP)

    assert [line for line in out.splitlines() if not line.startswith("ok ")] == []
    for subject in ("credentials", "endpoint", "queue ledger.fifo", "table shop-tasks", "tasks", "aiobotocore"):
        assert f"ok    {subject}: " in out


def test_doctor_neither_receives_nor_sends_nor_writes(run: Run, provisioned: None) -> None:
    run("enqueue", "resize", *APP, "--args", '["a"]')

    run("doctor", "shop:app")

    answer = boto3.client("sqs").receive_message(QueueUrl=queue_url("shop-default"), AttributeNames=["All"])
    (message,) = answer["Messages"]
    assert message["Attributes"]["ApproximateReceiveCount"] == "1"
    assert boto3.client("dynamodb").scan(TableName="shop-tasks")["Count"] == 0


def test_doctor_names_every_missing_queue_and_the_missing_table(diagnose: Diagnose) -> None:
    found = diagnose(1)

    assert {one["subject"] for one in found} == {
        "queue default",
        "queue slow",
        "queue ledger.fifo",
        "table shop-tasks",
    }
    assert {one["level"] for one in found} == {"fail"}
    assert all("taskq provision" in one["fix"] for one in found)


@pytest.mark.parametrize(
    ("attributes", "told"),
    [
        ({"VisibilityTimeout": "7"}, "visibility timeout is 7 s, declared are 30 s"),
        ({"MessageRetentionPeriod": "600"}, "keeps messages for 600 s"),
        ({"RedrivePolicy": ""}, "has no redrive policy"),
        ({"MaximumMessageSize": "262144"}, "refuses messages above 262,144 bytes, of the 1,048,576"),
        ({"DelaySeconds": "30"}, "delays every message by 30 s"),
    ],
)
def test_doctor_warns_of_a_queue_that_differs_from_its_declaration(
    provisioned: None, diagnose: Diagnose, attributes: dict[str, str], told: str
) -> None:
    boto3.client("sqs").set_queue_attributes(QueueUrl=queue_url("shop-slow"), Attributes=attributes)

    (found,) = diagnose(0)

    assert (found["level"], found["subject"]) == ("warn", "queue slow")
    assert told in found["detail"]


def test_doctor_names_tasks_whose_retry_is_overdue(run: Run, provisioned: None, diagnose: Diagnose) -> None:
    results, now = load_app("shop:app").services.blocking().results, time.time()
    for id, due in (("late", now - 1_000), ("waits", now + 60)):
        claim = Claim(id, 0, "shop:resize", "default", id, now - 2_000, now, 3, now + 2e6, now - 2_000)
        drive(results.claim(claim))
        drive(results.finish(Fence(id, 0, 1, id), AttemptEnd(State.RETRYING, now - 2_000, now + 2e6, next_at=due)))

    (found,) = diagnose(0)

    assert (found["level"], found["subject"]) == ("warn", "tasks")
    assert found["detail"] == "1 wait for a retry that was due more than 15 minutes ago: late"
    assert "taskq dlq ls" in found["fix"]


def test_doctor_warns_of_a_queue_url_that_nothing_uses(
    provisioned: None, diagnose: Diagnose, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TASKQ_QUEUE_URLS", json.dumps({"deflt": queue_url("shop-default")}))
    sys.modules.pop("shop")

    (found,) = diagnose(0)

    assert "'deflt', which the app does not declare" in found["detail"]


def test_doctor_warns_of_another_redrive_policy(provisioned: None, diagnose: Diagnose) -> None:
    arn = "arn:aws:sqs:eu-west-1:123456789012:shop-default-dlq"
    policy = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": 3})
    boto3.client("sqs").set_queue_attributes(QueueUrl=queue_url("shop-slow"), Attributes={"RedrivePolicy": policy})

    details = [one["detail"] for one in diagnose(0)]

    assert "is redriven after 3 receives, declared are 100" in details[0]
    assert f"is redriven to {arn}" in details[1]


def test_doctor_warns_of_a_missing_dead_letter_queue(provisioned: None, diagnose: Diagnose) -> None:
    boto3.client("sqs").delete_queue(QueueUrl=queue_url("shop-slow-dlq"))

    (found,) = diagnose(0)

    assert "its dead-letter queue 'shop-slow-dlq' does not exist" in found["detail"]


def test_doctor_fails_a_visibility_that_lambda_would_refuse(
    aws: None, run: Run, tmp_path: Path, diagnose: Diagnose
) -> None:
    text = SHOP.replace('Queue("default")', 'Queue("default", function_timeout=60)')
    (tmp_path / "shop.py").write_text(text)
    run("provision", "shop:app")
    boto3.client("sqs").set_queue_attributes(QueueUrl=queue_url("shop-default"), Attributes={"VisibilityTimeout": "30"})

    (found,) = diagnose(1)

    assert "Lambda refuses one below the function's timeout" in found["detail"]


def test_doctor_fails_a_table_of_another_shape(provisioned: None, diagnose: Diagnose) -> None:
    dynamodb = boto3.client("dynamodb")
    dynamodb.delete_table(TableName="shop-tasks")
    key = "somekey"
    dynamodb.create_table(
        TableName="shop-tasks",
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"}],
        KeySchema=[{"AttributeName": key, "KeyType": "HASH"}],
    )

    details = " / ".join(one["detail"] for one in diagnose(1))

    assert "has the keys somekey, not pk, sk" in details
    assert "lacks the index by-status" in details
    assert "lacks the index by-task" in details
    assert "has no time to live" in details


@pytest.fixture
def deny(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Makes operations be refused as a policy would refuse them; moto has no policies without users."""
    from taskq_sls.aws.blocking import Clients
    from taskq_sls.errors import AwsError

    invoke = Clients.invoke

    def deny(*operations: str, code: str = "AccessDeniedException") -> None:
        def refusing(self: Clients, service: str, operation: str, params: dict[str, Any]) -> dict[str, Any]:
            if operation in operations:
                raise AwsError(operation, code, "not allowed", status=400)
            return invoke(self, service, operation, params)

        monkeypatch.setattr(Clients, "invoke", refusing)

    return deny


@pytest.mark.parametrize(
    ("operation", "action"),
    [
        ("send_message_batch", "sqs:SendMessage"),
        ("receive_message", "sqs:ReceiveMessage"),
        ("delete_message_batch", "sqs:DeleteMessage"),
        ("change_message_visibility_batch", "sqs:ChangeMessageVisibility"),
        ("get_item", "dynamodb:GetItem"),
        ("batch_get_item", "dynamodb:BatchGetItem"),
        ("put_item", "dynamodb:PutItem"),
        ("update_item", "dynamodb:UpdateItem"),
        ("query", "dynamodb:Query"),
    ],
)
def test_doctor_fails_a_permission_that_is_missing_by_its_action(
    provisioned: None, diagnose: Diagnose, deny: Callable[..., None], operation: str, action: str
) -> None:
    deny(operation)

    found = diagnose(1)

    assert {one["level"] for one in found} == {"fail"}
    assert all(f"{action}" in one["detail"] and "is not allowed" in one["detail"] for one in found)


def test_doctor_warns_where_it_may_not_look(provisioned: None, diagnose: Diagnose, deny: Callable[..., None]) -> None:
    deny("get_queue_attributes", "describe_table", "describe_time_to_live")

    found = diagnose(0)

    assert {one["level"] for one in found} == {"warn"}
    assert any("dynamodb:DescribeTable" in one["fix"] for one in found)


def test_doctor_warns_when_sts_is_not_there(provisioned: None, diagnose: Diagnose, deny: Callable[..., None]) -> None:
    deny("get_caller_identity", code="InternalFailure")

    (found,) = diagnose(0)

    assert (found["level"], found["subject"]) == ("warn", "credentials")


def test_doctor_fails_a_clock_that_is_off(
    provisioned: None, diagnose: Diagnose, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = SystemClock.time
    monkeypatch.setattr(SystemClock, "time", lambda clock: now() - 3_600)

    (found,) = diagnose(1)

    assert (found["level"], found["subject"]) == ("fail", "clock")
    assert "s behind the endpoint's" in found["detail"]


def test_doctor_fails_credentials_that_are_refused(
    provisioned: None, diagnose: Diagnose, deny: Callable[..., None]
) -> None:
    deny("get_caller_identity", code="InvalidClientTokenId")

    (found,) = diagnose(1)

    assert (found["level"], found["subject"]) == ("fail", "credentials")


def test_doctor_fails_an_endpoint_that_is_down_without_tracebacks(
    nothing_listens: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["doctor", "shop:app"]) == 1

    out, err = capsys.readouterr()
    assert f"fail  endpoint: endpoint {nothing_listens} region eu-west-1 does not answer" in out
    assert "taskq local up" in out
    assert err == ""


@pytest.mark.parametrize("variable", ["AWS_DEFAULT_REGION", "AWS_ACCESS_KEY_ID"])
def test_doctor_fails_what_the_environment_lacks(
    environment: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], variable: str
) -> None:
    monkeypatch.delenv(variable)
    assert main(["doctor", "shop:app"]) == 1
    out, err = capsys.readouterr()
    assert variable in out
    assert "fail" in out
    assert err == ""


def test_doctor_fails_annotations_that_cannot_be_resolved(
    provisioned: None, tmp_path: Path, diagnose: Diagnose
) -> None:
    sys.modules.pop("shop", None)
    (tmp_path / "shop.py").write_text(SHOP + "\n@app.task\ndef bad(x: 'Nowhere') -> None: ...\n")

    (found,) = diagnose(1)

    assert found["subject"] == "task shop:bad"
    assert "Nowhere" in found["detail"]


# -- worker ---------------------------------------------------------------------------------------------------------


def test_a_burst_worker_runs_what_there_is_and_ends(
    run: Run, provisioned: None, capsys: pytest.CaptureFixture[str]
) -> None:
    id = run("enqueue", "resize", *APP, "--args", '["a"]').strip()

    assert main(["worker", "shop:app", "--burst", "--queues", "default", "--log-format", "json"]) == 0

    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    (succeeded,) = [line for line in lines if line.get("action") == "task_succeeded"]
    assert (succeeded["task_id"], succeeded["attempt"], succeeded["queue"]) == (id, 1, "default")
    assert json.loads(run("result", id, *APP, "--json"))["status"] == "SUCCEEDED"


def test_a_program_that_calls_the_command_itself_outlives_it(
    run: Run, provisioned: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    armed: list[str] = []
    monkeypatch.setattr(ShutdownWatchdog, "arm", lambda guard, *given: armed.append(guard._action))

    assert main(["worker", "shop:app", "--burst", "--queues", "default"]) == 0
    assert "worker_exit_forced" not in armed

    monkeypatch.setattr(sys, "argv", ["taskq", "worker", "shop:app", "--burst", "--queues", "default"])
    assert main() == 0
    assert "worker_exit_forced" in armed, "the command's own process ends although a task left threads"
