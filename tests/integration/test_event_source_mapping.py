"""The emulated event source mapping and its containers: a real queue, real child processes."""

from __future__ import annotations

import json
import logging
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from taskq_sls.core.clock import ManualClock
from taskq_sls.core.queues import Queue
from taskq_sls.errors import ConfigError, MissingResource
from taskq_sls.local_aws.container import ContainerPool, InlineContainer, InvocationFailed, ProcessContainer
from taskq_sls.local_aws.context import LambdaContext
from taskq_sls.local_aws.event_records import InvalidAnswer, failed_ids
from taskq_sls.local_aws.event_source_mapping import EventSourceMapping
from taskq_sls.local_aws.function import Function
from taskq_sls.local_aws.server import MotoServer
from tests.support.waiting import until

Handler = Callable[[Any, Any], Any]


@pytest.fixture(scope="module")
def sqs() -> Iterator[Any]:
    with MotoServer() as server:
        variables = server.environment()
        client = boto3.session.Session().client(
            "sqs",
            endpoint_url=server.endpoint,
            region_name=server.region,
            aws_access_key_id=variables["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=variables["AWS_SECRET_ACCESS_KEY"],
        )
        yield client
        client.close()


def make_queue(sqs: Any, *, visibility: int = 30, fifo: bool = False, **attributes: str) -> str:
    """A queue of its own for each test; the short visibilities make failed batches come back soon."""
    attributes["VisibilityTimeout"] = str(visibility)
    if fifo:
        attributes |= {"FifoQueue": "true", "ContentBasedDeduplication": "true"}
    name = f"q{uuid.uuid4().hex}{'.fifo' if fifo else ''}"
    url: str = sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]
    return url


def send(sqs: Any, url: str, *bodies: str, **fields: Any) -> None:
    for body in bodies:
        sqs.send_message(QueueUrl=url, MessageBody=body, **fields)


def counts(sqs: Any, url: str) -> tuple[int, int]:
    """How many messages are visible, and how many hidden."""
    attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    return int(attributes["ApproximateNumberOfMessages"]), int(attributes["ApproximateNumberOfMessagesNotVisible"])


def bodies(event: Any) -> list[str]:
    return [record["body"] for record in event["Records"]]


def receive_counts(event: Any) -> list[int]:
    return [int(record["attributes"]["ApproximateReceiveCount"]) for record in event["Records"]]


def failures(event: Any, *which: str) -> dict[str, Any]:
    """The answer that reports the records with these bodies."""
    return {
        "batchItemFailures": [
            {"itemIdentifier": record["messageId"]} for record in event["Records"] if record["body"] in which
        ]
    }


class Seen:
    """A handler that keeps its events and answers as told."""

    def __init__(self, answer: Handler = lambda event, context: None) -> None:
        self.events: list[Any] = []
        self._answer = answer

    def __call__(self, event: Any, context: Any) -> Any:
        self.events.append(event)
        return self._answer(event, context)

    @property
    def bodies(self) -> list[list[str]]:
        return [bodies(event) for event in self.events]


def mapped(sqs: Any, url: str, handler: Handler, queue: Queue | None = None, **options: Any) -> EventSourceMapping:
    options = {"function_timeout": 2, "wait": 0, **options}
    return EventSourceMapping(queue or Queue("default"), url, lambda: InlineContainer(handler), client=sqs, **options)


# The event


def test_a_record_has_the_fields_and_names_that_lambda_gives_it(sqs: Any) -> None:
    url = make_queue(sqs)
    attributes = {
        "tenant": {"DataType": "String", "StringValue": "blue"},
        "size": {"DataType": "Number", "StringValue": "7"},
        "raw": {"DataType": "Binary", "BinaryValue": b"\x00\x01"},
    }
    trace = {"AWSTraceHeader": {"DataType": "String", "StringValue": "Root=1-2-3"}}
    send(sqs, url, "hello", MessageAttributes=attributes, MessageSystemAttributes=trace)
    seen = Seen()

    with mapped(sqs, url, seen):
        until(lambda: seen.events)

    (record,) = seen.events[0]["Records"]
    assert record["attributes"].pop("SentTimestamp").isdigit()
    assert record["attributes"].pop("ApproximateFirstReceiveTimestamp").isdigit()
    assert record["attributes"].pop("SenderId")
    assert record.pop("messageId")
    assert record.pop("receiptHandle")
    assert len(record.pop("md5OfMessageAttributes")) == 32
    assert record == {
        "body": "hello",
        "attributes": {"ApproximateReceiveCount": "1", "AWSTraceHeader": "Root=1-2-3"},
        "messageAttributes": {
            "tenant": {"stringValue": "blue", "stringListValues": [], "binaryListValues": [], "dataType": "String"},
            "size": {"stringValue": "7", "stringListValues": [], "binaryListValues": [], "dataType": "Number"},
            "raw": {"binaryValue": "AAE=", "stringListValues": [], "binaryListValues": [], "dataType": "Binary"},
        },
        "md5OfBody": "5d41402abc4b2a76b9719d911017c592",
        "eventSource": "aws:sqs",
        "eventSourceARN": f"arn:aws:sqs:us-east-1:123456789012:{url.rpartition('/')[2]}",
        "awsRegion": "us-east-1",
    }


def test_a_fifo_record_has_its_group_its_deduplication_id_and_its_number(sqs: Any) -> None:
    url = make_queue(sqs, fifo=True)
    send(sqs, url, "x", MessageGroupId="g", MessageDeduplicationId="d")
    seen = Seen()

    with mapped(sqs, url, seen, Queue("default.fifo")):
        until(lambda: seen.events)

    attributes = seen.events[0]["Records"][0]["attributes"]
    assert (attributes["MessageGroupId"], attributes["MessageDeduplicationId"]) == ("g", "d")
    assert attributes["SequenceNumber"].isdigit()


# Batches


def test_a_batch_has_at_most_batch_size_records(sqs: Any) -> None:
    url = make_queue(sqs)
    send(sqs, url, *"abcde")
    seen = Seen()

    with mapped(sqs, url, seen, Queue("default", batch_size=2)):
        until(lambda: len(seen.events) == 3)

    assert sorted(len(batch) for batch in seen.bodies) == [1, 2, 2]


def test_a_window_collects_more_than_one_receive_can_bring(sqs: Any) -> None:
    url = make_queue(sqs)
    send(sqs, url, *(str(number) for number in range(15)))
    seen = Seen()

    with mapped(sqs, url, seen, Queue("default", batch_size=15, batch_window=300)):
        until(lambda: seen.events)

    assert [len(batch) for batch in seen.bodies] == [15]


def test_a_batch_that_is_not_full_is_delivered_when_its_window_ends(sqs: Any) -> None:
    url = make_queue(sqs)
    send(sqs, url, *(str(number) for number in range(11)))
    seen = Seen()

    with mapped(sqs, url, seen, Queue("default", batch_size=100, batch_window=3)):
        until(lambda: seen.events)

    assert [len(batch) for batch in seen.bodies] == [11]


def test_a_batch_stays_below_six_megabytes(sqs: Any) -> None:
    url = make_queue(sqs)
    for _ in range(7):
        send(sqs, url, "x" * 1_000_000)
    seen = Seen()

    with mapped(sqs, url, seen):
        until(lambda: sum(len(batch) for batch in seen.bodies) == 7)

    assert sorted(len(batch) for batch in seen.bodies) == [2, 5]


def test_no_more_batches_run_at_once_than_max_concurrency(sqs: Any) -> None:
    url = make_queue(sqs, visibility=60)
    send(sqs, url, *"abcdef")
    together = threading.Barrier(2)
    running: list[int] = []
    most: list[int] = []
    hidden: list[int] = []

    def handler(event: Any, context: Any) -> None:
        running.append(1)
        most.append(len(running))
        together.wait(60)
        # Time enough to receive what nobody can take.
        time.sleep(0.1)
        hidden.append(counts(sqs, url)[1])
        running.pop()

    with mapped(sqs, url, handler, Queue("default", batch_size=1, max_concurrency=2), function_timeout=60):
        until(lambda: counts(sqs, url) == (0, 0))

    assert max(most) == 2
    assert max(hidden) == 2


# Answers


@pytest.mark.parametrize("answer", [None, {}, {"batchItemFailures": []}, {"batchItemFailures": None}])
def test_a_successful_answer_deletes_the_batch(sqs: Any, answer: Any) -> None:
    url = make_queue(sqs)
    send(sqs, url, *"abc")

    with mapped(sqs, url, lambda event, context: answer):
        until(lambda: counts(sqs, url) == (0, 0))


def test_reported_records_come_back_when_their_visibility_ends_and_the_others_are_deleted(sqs: Any) -> None:
    url = make_queue(sqs, visibility=2)
    send(sqs, url, *"abc")
    seen = Seen(lambda event, context: failures(event, "b") if len(event["Records"]) > 1 else None)

    with mapped(sqs, url, seen):
        until(lambda: len(seen.events) == 2)
        until(lambda: counts(sqs, url) == (0, 0))

    assert seen.bodies == [["a", "b", "c"], ["b"]]
    assert [receive_counts(event) for event in seen.events] == [[1, 1, 1], [2]]


def test_a_visibility_that_the_function_set_holds(sqs: Any) -> None:
    url = make_queue(sqs, visibility=600)
    send(sqs, url, "again")

    def retry_at_once(event: Any, context: Any) -> Any:
        (record,) = event["Records"]
        if receive_counts(event) == [2]:
            return None
        sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=record["receiptHandle"], VisibilityTimeout=0)
        return failures(event, "again")

    with mapped(sqs, url, retry_at_once):
        until(lambda: counts(sqs, url) == (0, 0))


def test_after_an_exception_the_whole_batch_comes_back(sqs: Any) -> None:
    url = make_queue(sqs, visibility=2)
    send(sqs, url, *"ab")

    def fail_once(event: Any, context: Any) -> None:
        if receive_counts(event)[0] == 1:
            raise ValueError("no")

    seen = Seen(fail_once)
    with mapped(sqs, url, seen):
        until(lambda: counts(sqs, url) == (0, 0))

    assert [body for batch in seen.bodies for body in batch] == ["a", "b", "a", "b"]


@pytest.mark.parametrize("answer", [{"batchItemFailures": [{"itemIdentifier": "unknown"}]}, {1}])
def test_after_an_answer_that_lambda_does_not_understand_the_whole_batch_comes_back(
    sqs: Any, answer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    url = make_queue(sqs, visibility=2)
    send(sqs, url, *"ab")
    seen = Seen(lambda event, context: answer if receive_counts(event)[0] == 1 else None)

    with mapped(sqs, url, seen):
        until(lambda: counts(sqs, url) == (0, 0))

    assert [body for batch in seen.bodies for body in batch] == ["a", "b", "a", "b"]
    assert [record.action for record in caplog.records if record.levelno == logging.ERROR] == [  # type: ignore[attr-defined]  # extra
        "mapping_invocation_failed"
    ]


@pytest.mark.parametrize(
    "answer",
    [
        "done",
        [],
        7,
        {"batchItemFailures": "a"},
        {"batchItemFailures": {}},
        {"batchItemFailures": ["a"]},
        {"batchItemFailures": [{"itemIdentifier": ""}]},
        {"batchItemFailures": [{"itemIdentifier": None}]},
        {"batchItemFailures": [{"itemIdentifier": 7}]},
        {"batchItemFailures": [{"id": "a"}]},
        {"batchItemFailures": [{"itemIdentifier": "a"}, {"itemIdentifier": "z"}]},
    ],
)
def test_an_answer_that_lambda_does_not_understand_is_invalid(answer: Any) -> None:
    with pytest.raises(InvalidAnswer):
        failed_ids(answer, {"a", "b"})


def test_an_answer_names_the_failed_records() -> None:
    assert failed_ids({"batchItemFailures": [{"itemIdentifier": "a"}]}, {"a", "b"}) == {"a"}


def test_without_report_batch_item_failures_a_partial_answer_deletes_everything(sqs: Any) -> None:
    url = make_queue(sqs, visibility=2)
    send(sqs, url, *"ab")

    with mapped(sqs, url, lambda event, context: failures(event, "a", "b"), report_batch_item_failures=False):
        until(lambda: counts(sqs, url) == (0, 0))


def test_a_message_that_always_fails_reaches_the_dead_letter_queue(sqs: Any) -> None:
    dead = make_queue(sqs)
    arn = f"arn:aws:sqs:us-east-1:123456789012:{dead.rpartition('/')[2]}"
    policy = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": 2})
    url = make_queue(sqs, visibility=2, RedrivePolicy=policy)
    send(sqs, url, "poison")
    seen = Seen(lambda event, context: failures(event, "poison"))

    with mapped(sqs, url, seen):
        until(lambda: counts(sqs, dead) == (1, 0))

    assert [receive_counts(event) for event in seen.events] == [[1], [2]]


# Order


def test_a_fifo_group_is_delivered_in_order_by_one_batch_at_a_time(sqs: Any) -> None:
    url = make_queue(sqs, fifo=True)
    send(sqs, url, *"abcdef", MessageGroupId="g")
    running: list[int] = []
    most: list[int] = []

    def handler(event: Any, context: Any) -> None:
        running.append(1)
        most.append(len(running))
        time.sleep(0.05)
        running.pop()

    seen = Seen(handler)
    with mapped(sqs, url, seen, Queue("default.fifo", batch_size=2, max_concurrency=3)):
        until(lambda: counts(sqs, url) == (0, 0))

    assert seen.bodies == [["a", "b"], ["c", "d"], ["e", "f"]]
    assert max(most) == 1


def test_two_fifo_groups_run_at_the_same_time(sqs: Any) -> None:
    url = make_queue(sqs, visibility=60, fifo=True)
    for group in ("g", "h"):
        send(sqs, url, group, MessageGroupId=group)
    together = threading.Barrier(2)

    def handler(event: Any, context: Any) -> None:
        together.wait(60)

    with mapped(sqs, url, handler, Queue("default.fifo", batch_size=1), function_timeout=60):
        until(lambda: counts(sqs, url) == (0, 0))


def test_a_failure_in_a_fifo_group_keeps_the_order_of_the_rest(sqs: Any) -> None:
    url = make_queue(sqs, visibility=2, fifo=True)
    send(sqs, url, *"abc", MessageGroupId="g")
    seen = Seen(lambda event, context: failures(event, "b", "c") if len(event["Records"]) == 3 else None)

    with mapped(sqs, url, seen, Queue("default.fifo")):
        until(lambda: counts(sqs, url) == (0, 0))

    assert seen.bodies == [["a", "b", "c"], ["b", "c"]]


def test_a_fifo_group_that_comes_back_while_its_batch_waits_is_not_started_twice(sqs: Any) -> None:
    url = make_queue(sqs, visibility=60, fifo=True)
    send(sqs, url, "slow", MessageGroupId="g")
    goes_on = threading.Event()
    running: list[int] = []
    most: list[int] = []

    def handler(event: Any, context: Any) -> None:
        running.append(1)
        most.append(len(running))
        (record,) = event["Records"]
        if len(most) == 1:
            # As if the visibility had ended early.
            sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=record["receiptHandle"], VisibilityTimeout=0)
            until(lambda: counts(sqs, url) == (0, 1))
            goes_on.wait(30)
        running.pop()

    seen = Seen(handler)
    with mapped(sqs, url, seen, Queue("default.fifo"), function_timeout=60):
        until(lambda: seen.events)
        goes_on.set()
        until(lambda: counts(sqs, url) == (0, 0))

    assert max(most) == 1


# Throttling, errors, the stop


def test_a_batch_that_finds_no_free_container_goes_back_and_has_cost_a_receive(
    sqs: Any, caplog: pytest.LogCaptureFixture
) -> None:
    url = make_queue(sqs, visibility=1)
    send(sqs, url, *"abc")
    seen = Seen(lambda event, context: time.sleep(0.7))

    with mapped(sqs, url, seen, Queue("default", batch_size=1), reserved_concurrency=1, function_timeout=1):
        until(lambda: {body for batch in seen.bodies for body in batch} == set("abc"))
        until(lambda: counts(sqs, url) == (0, 0))

    assert max(count for event in seen.events for count in receive_counts(event)) > 1
    assert any("throttled" in message for message in caplog.messages)


def test_a_mapping_outlives_errors_of_its_queue(
    sqs: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("taskq_sls.local_aws.event_source_mapping.PAUSE", 0.1)
    url = make_queue(sqs)
    seen = Seen()

    with mapped(sqs, url, seen):
        sqs.delete_queue(QueueUrl=url)
        until(lambda: any("polling default failed" in message for message in caplog.messages))
        sqs.create_queue(QueueName=url.rpartition("/")[2])
        send(sqs, url, "after")
        until(lambda: seen.events)

    assert seen.bodies == [["after"]]


def test_stopping_makes_collected_messages_visible_again(sqs: Any) -> None:
    url = make_queue(sqs, visibility=600)
    send(sqs, url, "early")
    seen = Seen()

    with mapped(sqs, url, seen, Queue("default", batch_window=300)):
        until(lambda: counts(sqs, url) == (0, 1))

    assert seen.events == []
    assert counts(sqs, url) == (1, 0)


def test_stopping_gives_back_a_batch_that_waits_for_a_container(sqs: Any) -> None:
    url = make_queue(sqs, visibility=600)
    send(sqs, url, *"ab")
    goes_on = threading.Event()
    seen = Seen(lambda event, context: goes_on.wait(60) and None)
    mapping = mapped(sqs, url, seen, Queue("default", batch_size=1), reserved_concurrency=1, function_timeout=60)
    mapping.start()
    until(lambda: seen.events and counts(sqs, url) == (0, 2))

    stopping = threading.Thread(target=mapping.stop)
    stopping.start()
    until(lambda: counts(sqs, url) == (1, 1))
    goes_on.set()
    stopping.join(60)

    assert len(seen.events) == 1
    assert counts(sqs, url) == (1, 0)


def test_stopping_waits_for_a_running_invocation_and_settles_it(sqs: Any) -> None:
    url = make_queue(sqs, visibility=60)
    send(sqs, url, "slow")
    goes_on = threading.Event()
    seen = Seen(lambda event, context: goes_on.wait(60) and None)
    mapping = mapped(sqs, url, seen, function_timeout=60)
    mapping.start()
    until(lambda: seen.events)

    stopping = threading.Thread(target=mapping.stop)
    stopping.start()
    assert counts(sqs, url) == (0, 1)
    goes_on.set()
    stopping.join(60)

    assert counts(sqs, url) == (0, 0)
    assert [
        thread.name for thread in threading.enumerate() if thread.name.startswith(("taskq-poll", "taskq-inv"))
    ] == []


def test_a_visibility_below_the_function_timeout_is_refused_with_the_fix(sqs: Any) -> None:
    mapping = mapped(sqs, make_queue(sqs, visibility=5), Seen(), function_timeout=6)

    with pytest.raises(ConfigError, match=r"visibility timeout of 5 seconds .* set it to 36"):
        mapping.start()


def test_a_queue_that_does_not_exist_is_refused(sqs: Any) -> None:
    url = make_queue(sqs)

    with pytest.raises(MissingResource, match="no queue"):
        mapped(sqs, f"{url}-missing", Seen()).start()


@pytest.mark.parametrize("options", [{"function_timeout": 901}, {"reserved_concurrency": 0}, {"wait": 21}])
def test_an_option_out_of_its_range_is_refused(sqs: Any, options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(options))):
        mapped(sqs, "http://127.0.0.1/1/q", Seen(), **options)


# Containers


PROGRAM = """
import json, os, pathlib, subprocess, sys, time

calls = 0

def echo(event, context):
    global calls
    calls += 1
    print("printed by the function", calls)
    return {"event": event, "pid": os.getpid(), "calls": calls}

def describe(event, context):
    return {
        "remaining": context.get_remaining_time_in_millis(),
        "context": {name: getattr(context, name) for name in (
            "aws_request_id", "function_name", "function_version", "memory_limit_in_mb", "invoked_function_arn",
            "log_group_name")},
        "environment": {name: os.environ.get(name) for name in (
            "AWS_LAMBDA_FUNCTION_NAME", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "AWS_LAMBDA_FUNCTION_TIMEOUT", "_HANDLER",
            "AWS_REGION", "MINE")},
        "execution": os.environ["AWS_EXECUTION_ENV"],
        "trace": os.environ["_X_AMZN_TRACE_ID"],
        "stdin": sys.stdin.read(),
    }

def hang(event, context):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    pathlib.Path("child").write_text(str(child.pid))
    time.sleep(600)

def by_body(event, context):
    body = event["Records"][0]["body"]
    count = int(event["Records"][0]["attributes"]["ApproximateReceiveCount"])
    with open("log", "a") as log:
        print(json.dumps([body, count, os.getpid()]), file=log)
    if count == 1 and body == "hang":
        time.sleep(600)
    if count == 1 and body == "exit":
        os._exit(3)

def leave(event, context):
    sys.exit(4)

def fail(event, context):
    raise ValueError("too blue")

def unfit(event, context):
    return {1, 2}

class App:
    def lambda_handler(self):
        return lambda event, context: "from the app"

class Nested:
    app = App()

number = 7
"""


@pytest.fixture
def container(tmp_path: Path) -> Iterator[Callable[..., ProcessContainer]]:
    (tmp_path / "program.py").write_text(PROGRAM)
    (tmp_path / "broken.py").write_text("import not_installed_here\n")
    made: list[ProcessContainer] = []

    def make(handler: str = "program:echo", **options: Any) -> ProcessContainer:
        one = ProcessContainer(Function(handler, directory=tmp_path, **options))
        made.append(one)
        return one

    yield make
    for one in made:
        one.close()


def call(container: ProcessContainer | InlineContainer, event: Any = None, timeout: float = 30) -> Any:
    return container.invoke(event or {}, timeout=timeout, request_id="request-1")


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_a_container_stays_warm_and_its_prints_go_to_stderr(
    container: Callable[..., ProcessContainer], capfd: pytest.CaptureFixture[str]
) -> None:
    warm = container()

    first, second = call(warm, {"n": 1}), call(warm, {"n": 2})

    assert (first["event"], first["calls"]) == ({"n": 1}, 1)
    assert (second["event"], second["calls"]) == ({"n": 2}, 2)
    assert first["pid"] == second["pid"] == warm.pid
    captured = capfd.readouterr()
    assert "printed by the function 2" in captured.err
    assert captured.out == ""


def test_events_and_answers_of_megabytes_pass(container: Callable[..., ProcessContainer]) -> None:
    event = {"text": "ä" * 3_000_000}

    assert call(container(), event)["event"] == event


def test_the_function_sees_the_context_and_the_environment_of_lambda(
    container: Callable[..., ProcessContainer],
) -> None:
    one = container(
        "program:describe", name="shop", memory_size=512, timeout=20, region="eu-west-1", environment={"MINE": "1"}
    )

    answer = call(one, timeout=20)

    assert 0 < answer["remaining"] <= 20_000
    assert answer["context"] == {
        "aws_request_id": "request-1",
        "function_name": "shop",
        "function_version": "$LATEST",
        "memory_limit_in_mb": "512",
        "invoked_function_arn": "arn:aws:lambda:eu-west-1:123456789012:function:shop",
        "log_group_name": "/aws/lambda/shop",
    }
    assert answer["environment"] == {
        "AWS_LAMBDA_FUNCTION_NAME": "shop",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512",
        "AWS_LAMBDA_FUNCTION_TIMEOUT": "20",
        "_HANDLER": "program:describe",
        "AWS_REGION": "eu-west-1",
        "MINE": "1",
    }
    assert answer["execution"].startswith("AWS_Lambda_python3.")
    assert answer["trace"].startswith("Root=1-")
    assert answer["stdin"] == ""


def test_an_app_is_asked_for_its_handler(container: Callable[..., ProcessContainer]) -> None:
    assert call(container("program:Nested.app")) == "from the app"


def test_at_the_timeout_the_container_and_what_it_started_are_killed(
    container: Callable[..., ProcessContainer], tmp_path: Path
) -> None:
    one = container("program:hang")
    child = tmp_path / "child"

    with pytest.raises(InvocationFailed, match="timed out after 1") as raised:
        call(one, timeout=1)

    assert raised.value.kind == "timeout"
    assert not one.alive
    until(lambda: not is_running(int(child.read_text())))


@pytest.mark.parametrize(
    ("handler", "kind", "message"),
    [
        ("program:fail", "error", "ValueError: too blue"),
        ("program:unfit", "error", "not JSON serializable"),
        ("program:leave", "crash", "exit status 4"),
        ("broken:handler", "init", "not_installed_here"),
        ("program:missing", "init", "missing"),
        ("program:number", "init", "program:number is int"),
    ],
)
def test_an_invocation_without_an_answer_says_why(
    container: Callable[..., ProcessContainer], handler: str, kind: str, message: str
) -> None:
    one = container(handler)

    with pytest.raises(InvocationFailed, match=message) as raised:
        call(one)

    assert raised.value.kind == kind
    assert one.alive == (kind == "error")
    assert ("Traceback" in raised.value.traceback) == (kind != "crash")


def test_a_container_ends_when_it_is_closed(container: Callable[..., ProcessContainer]) -> None:
    one = container()
    pid = call(one)["pid"]

    one.close()

    assert not is_running(pid)
    assert not one.alive


@pytest.mark.parametrize("body", ["hang", "exit"])
def test_after_a_kill_or_a_crash_the_whole_batch_comes_back_to_a_new_container(
    sqs: Any, container: Callable[..., ProcessContainer], tmp_path: Path, body: str
) -> None:
    url = make_queue(sqs, visibility=5)
    send(sqs, url, body, "neighbour")

    with EventSourceMapping(
        Queue("default"), url, lambda: container("program:by_body"), function_timeout=4, client=sqs, wait=1
    ):
        until(lambda: counts(sqs, url) == (0, 0))

    log = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    first, second = [entry for entry in log if entry[0] == body]
    assert (first[1], second[1]) == (1, 2)
    assert first[2] != second[2]
    assert not any(is_running(pid) for _, _, pid in log)


def test_an_inline_container_gives_up_at_the_timeout_and_another_takes_over() -> None:
    goes_on = threading.Event()
    slow = InlineContainer(lambda event, context: goes_on.wait(10))

    with pytest.raises(InvocationFailed, match="timed out") as raised:
        call(slow, timeout=0.05)
    goes_on.set()
    slow.close()

    assert raised.value.kind == "timeout"
    assert not slow.alive


def test_a_pool_lends_each_container_once_and_forgets_those_that_ended() -> None:
    pool = ContainerPool(lambda: InlineContainer(lambda event, context: None), size=1)
    first = pool.acquire(1)
    assert first is not None
    assert pool.acquire(0) is None

    pool.release(first)
    again = pool.acquire(1)
    assert again is first
    again.close()
    pool.release(again)
    other = pool.acquire(1)

    assert other is not None
    assert other is not first
    pool.release(other)
    pool.close()
    assert pool.acquire(0) is None
    assert not other.alive


def test_a_container_that_comes_back_after_the_close_is_ended() -> None:
    pool = ContainerPool(lambda: InlineContainer(lambda event, context: None), size=1)
    lent = pool.acquire(1)
    assert lent is not None

    pool.close()
    pool.release(lent)

    assert not lent.alive


@pytest.mark.parametrize("handler", ["program", "program:", ":echo", "program:echo()", "a b:c", ""])
def test_a_handler_that_is_no_module_and_attribute_is_refused(handler: str) -> None:
    with pytest.raises(ConfigError, match="MODULE:ATTRIBUTE"):
        Function(handler)


@pytest.mark.parametrize("options", [{"timeout": 0}, {"timeout": 901}, {"memory_size": 127}, {"memory_size": 10_241}])
def test_a_function_setting_out_of_its_range_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(options))):
        Function("program:echo", **options)


# The context


def test_the_remaining_time_follows_the_clock_and_ends_at_zero() -> None:
    clock = ManualClock()
    context = LambdaContext(timeout=10, clock=clock)

    assert context.get_remaining_time_in_millis() == 10_000
    clock.travel(9.5)
    assert context.get_remaining_time_in_millis() == 500
    clock.travel(1)
    assert context.get_remaining_time_in_millis() == 0


def test_a_context_of_its_own_has_the_attributes_of_lambda(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)

    context = LambdaContext(function_name="shop", memory_limit_in_mb=256)

    assert context.invoked_function_arn == "arn:aws:lambda:us-east-1:123456789012:function:shop"
    assert context.memory_limit_in_mb == "256"
    assert context.log_group_name == "/aws/lambda/shop"
    assert context.aws_request_id != LambdaContext().aws_request_id
