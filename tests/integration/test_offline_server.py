"""The embedded AWS server: atomic under concurrent clients, prompt to stop, and empty at each start."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from typing import Any

import aiobotocore.session
import boto3
import pytest
from botocore.config import Config

from taskq_sls.errors import ConfigError
from taskq_sls.local_aws.server import HOST, MotoServer
from tests.support.waiting import until

Connect = Callable[[str], Any]


@pytest.fixture(autouse=True)
def only_reasons_wake_a_poll(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("taskq_sls.local_aws.serialized_moto.RECHECK", 60)


@pytest.fixture
def server() -> Iterator[MotoServer]:
    with MotoServer() as running:
        yield running


@pytest.fixture
def connect(server: MotoServer) -> Iterator[Connect]:
    clients = []

    def client(service: str) -> Any:
        made = client_of(server, service)
        clients.append(made)
        return made

    yield client
    for made in clients:
        made.close()


def client_of(server: MotoServer, service: str) -> Any:
    variables = server.environment()
    return boto3.session.Session().client(
        service,
        endpoint_url=variables["AWS_ENDPOINT_URL"],
        region_name=variables["AWS_DEFAULT_REGION"],
        aws_access_key_id=variables["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=variables["AWS_SECRET_ACCESS_KEY"],
        config=Config(max_pool_connections=32, retries={"total_max_attempts": 1}),
    )


def receive(sqs: Any, url: str, **parameters: Any) -> list[str]:
    answer = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, **parameters)
    return [message["Body"] for message in answer.get("Messages", ())]


def in_background(call: Callable[[], Any]) -> tuple[threading.Thread, list[Any]]:
    """Run `call` in a thread; the list gets its answer."""
    answers: list[Any] = []
    thread = threading.Thread(target=lambda: answers.append(call()))
    thread.start()
    return thread, answers


def waits_on(server: MotoServer) -> None:
    """Return when a long poll waits inside the server."""
    until(lambda: server.waiting_polls == 1)


@pytest.fixture
def eager_threads() -> Iterator[None]:
    """Threads take turns so often that what is not locked shows."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def make_table(dynamodb: Any) -> None:
    dynamodb.create_table(
        TableName="race",
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )


@pytest.mark.usefixtures("eager_threads")
def test_a_conditional_update_raced_by_sixteen_threads_has_one_winner(connect: Connect) -> None:
    dynamodb = connect("dynamodb")
    make_table(dynamodb)
    threads, rounds = 16, 30
    together = threading.Barrier(threads)

    def race(racer: int) -> list[int]:
        won = []
        for number in range(rounds):
            together.wait()
            try:
                dynamodb.update_item(
                    TableName="race",
                    Key={"pk": {"S": str(number)}},
                    UpdateExpression="SET winner = :racer",
                    ConditionExpression="attribute_not_exists(pk)",
                    ExpressionAttributeValues={":racer": {"N": str(racer)}},
                )
            except dynamodb.exceptions.ConditionalCheckFailedException:
                continue
            won.append(number)
        return won

    with ThreadPoolExecutor(threads) as pool:
        wins = [number for won in pool.map(race, range(threads)) for number in won]

    assert sorted(wins) == list(range(rounds))


@pytest.mark.usefixtures("eager_threads")
def test_eight_receivers_over_a_hundred_messages_get_each_once(connect: Connect) -> None:
    sqs = connect("sqs")
    url = sqs.create_queue(QueueName="q")["QueueUrl"]
    bodies = [str(number) for number in range(100)]
    for start in range(0, 100, 10):
        entries = [{"Id": body, "MessageBody": body} for body in bodies[start : start + 10]]
        sqs.send_message_batch(QueueUrl=url, Entries=entries)

    def drain(_: int) -> list[str]:
        mine: list[str] = []
        while got := [m["Body"] for m in sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=1).get("Messages", ())]:
            mine += got
        return mine

    with ThreadPoolExecutor(8) as pool:
        received = [body for mine in pool.map(drain, range(8)) for body in mine]

    assert sorted(received) == sorted(bodies)


def test_a_waiting_poll_does_not_hold_up_other_requests_and_wakes_at_a_send(
    server: MotoServer, connect: Connect
) -> None:
    sqs = connect("sqs")
    url = sqs.create_queue(QueueName="q")["QueueUrl"]

    poll, bodies = in_background(lambda: receive(sqs, url, WaitTimeSeconds=20))
    waits_on(server)
    sqs.send_message(QueueUrl=url, MessageBody="hello")
    poll.join(10)

    assert bodies == [["hello"]]


def test_a_waiting_poll_wakes_when_a_visibility_ends(connect: Connect) -> None:
    sqs = connect("sqs")
    url = sqs.create_queue(QueueName="q")["QueueUrl"]
    sqs.send_message(QueueUrl=url, MessageBody="again")
    assert receive(sqs, url, VisibilityTimeout=1) == ["again"]

    assert receive(sqs, url, WaitTimeSeconds=20) == ["again"]


def test_a_waiting_poll_wakes_when_a_delay_ends(connect: Connect) -> None:
    sqs = connect("sqs")
    url = sqs.create_queue(QueueName="q")["QueueUrl"]
    sqs.send_message(QueueUrl=url, MessageBody="late", DelaySeconds=1)

    assert receive(sqs, url, WaitTimeSeconds=20) == ["late"]


def test_a_waiting_poll_wakes_when_the_head_of_its_fifo_group_is_deleted(server: MotoServer, connect: Connect) -> None:
    sqs = connect("sqs")
    url = sqs.create_queue(QueueName="q.fifo", Attributes={"FifoQueue": "true", "ContentBasedDeduplication": "true"})[
        "QueueUrl"
    ]
    for body in ("first", "second"):
        sqs.send_message(QueueUrl=url, MessageBody=body, MessageGroupId="g")
    head = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=1)["Messages"][0]

    poll, bodies = in_background(lambda: receive(sqs, url, WaitTimeSeconds=20))
    waits_on(server)
    sqs.delete_message(QueueUrl=url, ReceiptHandle=head["ReceiptHandle"])
    poll.join(10)

    assert bodies == [["second"]]


def test_fifo_messages_whose_visibility_ended_together_come_back_in_order(connect: Connect) -> None:
    sqs = connect("sqs")
    url = sqs.create_queue(QueueName="q.fifo", Attributes={"FifoQueue": "true", "ContentBasedDeduplication": "true"})[
        "QueueUrl"
    ]
    for body in ("first", "second", "third"):
        sqs.send_message(QueueUrl=url, MessageBody=body, MessageGroupId="g")
    assert receive(sqs, url, VisibilityTimeout=1) == ["first", "second", "third"]
    until(lambda: visible(sqs, url) == 3)

    assert receive(sqs, url) == ["first", "second", "third"]


def visible(sqs: Any, url: str) -> int:
    name = "ApproximateNumberOfMessages"
    return int(sqs.get_queue_attributes(QueueUrl=url, AttributeNames=[name])["Attributes"][name])


def test_a_poll_that_finds_nothing_answers_empty_when_its_wait_ends(connect: Connect) -> None:
    sqs = connect("sqs")
    url = sqs.create_queue(QueueName="q")["QueueUrl"]

    assert receive(sqs, url, WaitTimeSeconds=1) == []


def test_a_poll_without_a_wait_of_its_own_waits_as_its_queue_says(server: MotoServer, connect: Connect) -> None:
    sqs = connect("sqs")
    url = sqs.create_queue(QueueName="q", Attributes={"ReceiveMessageWaitTimeSeconds": "20"})["QueueUrl"]

    poll, bodies = in_background(lambda: receive(sqs, url))
    waits_on(server)
    sqs.send_message(QueueUrl=url, MessageBody="hello")
    poll.join(10)

    assert bodies == [["hello"]]


def test_a_wait_of_zero_wins_over_the_queues_own(connect: Connect) -> None:
    sqs = connect("sqs")
    url = sqs.create_queue(QueueName="q", Attributes={"ReceiveMessageWaitTimeSeconds": "20"})["QueueUrl"]

    assert receive(sqs, url, WaitTimeSeconds=0) == []


@pytest.mark.parametrize("wait", [-1, 21])
def test_a_wait_that_sqs_refuses_is_refused(connect: Connect, wait: int) -> None:
    sqs = connect("sqs")
    url = sqs.create_queue(QueueName="q")["QueueUrl"]

    with pytest.raises(sqs.exceptions.ClientError, match="WaitTimeSeconds"):
        receive(sqs, url, WaitTimeSeconds=wait)


@pytest.mark.parametrize("method", ["POST", "GET"])
def test_the_query_protocol_polls_and_waits_outside_the_lock_too(
    server: MotoServer, connect: Connect, method: str
) -> None:
    sqs = connect("sqs")
    url = sqs.create_queue(QueueName="q")["QueueUrl"]
    fields = "Action=ReceiveMessage&Version=2012-11-05&WaitTimeSeconds=20"

    poll, answers = in_background(lambda: query(url, fields, method))
    waits_on(server)
    sqs.send_message(QueueUrl=url, MessageBody="old style")
    poll.join(10)

    assert "old style" in answers[0]


def query(url: str, fields: str, method: str) -> str:
    headers = {"Authorization": "AWS4-HMAC-SHA256 Credential=local/20260101/us-east-1/sqs/aws4_request, Signature=0"}
    if method == "GET":
        request = urllib.request.Request(f"{url}?{fields}", headers=headers)
    else:
        headers["Content-Type"] = "application/x-www-form-urlencoded"
        request = urllib.request.Request(url, fields.encode(), headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return str(answer.read().decode())


def test_a_client_that_left_during_its_wait_takes_no_message(server: MotoServer, connect: Connect) -> None:
    sqs = connect("sqs")
    url = sqs.create_queue(QueueName="q")["QueueUrl"]
    with socket.create_connection((HOST, int(server.endpoint.rpartition(":")[2]))) as client:
        client.sendall(raw_receive(url))
        waits_on(server)

    sqs.send_message(QueueUrl=url, MessageBody="for somebody who listens")

    until(lambda: not running_requests())
    assert receive(sqs, url) == ["for somebody who listens"]


def raw_receive(url: str) -> bytes:
    body = json.dumps({"QueueUrl": url, "WaitTimeSeconds": 20}).encode()
    head = (
        "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-amz-json-1.0\r\n"
        "X-Amz-Target: AmazonSQS.ReceiveMessage\r\n"
        "Authorization: AWS4-HMAC-SHA256 Credential=local/20260101/us-east-1/sqs/aws4_request, Signature=0\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def running_requests() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("taskq-moto-request")]


def test_an_upload_that_has_not_arrived_holds_up_nobody(server: MotoServer, connect: Connect) -> None:
    sqs = connect("sqs")
    with socket.create_connection((HOST, int(server.endpoint.rpartition(":")[2]))) as client:
        client.sendall(b"PUT /bucket/key HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nfirst part")
        until(running_requests)

        assert sqs.create_queue(QueueName="q")["QueueUrl"].endswith("/q")


def test_stopping_ends_open_polls_with_an_empty_answer_and_leaves_no_thread() -> None:
    server = MotoServer()
    server.start()
    endpoint = server.endpoint
    sqs = client_of(server, "sqs")
    url = sqs.create_queue(QueueName="q")["QueueUrl"]
    poll, bodies = in_background(lambda: receive(sqs, url, WaitTimeSeconds=20))
    waits_on(server)
    # One that is connected and says nothing.
    with socket.create_connection((HOST, int(endpoint.rpartition(":")[2]))):
        until(lambda: len(running_requests()) == 2)

        server.stop()

        assert [thread.name for thread in threading.enumerate() if thread.name.startswith("taskq-moto")] == []
    poll.join(10)
    assert bodies == [[]]
    sqs.close()
    with MotoServer(int(endpoint.rpartition(":")[2])) as again:
        assert again.endpoint == endpoint
    server.stop()


def test_sqs_dynamodb_s3_and_scheduler_work_over_the_server(connect: Connect) -> None:
    sqs, dynamodb, s3, scheduler = (connect(service) for service in ("sqs", "dynamodb", "s3", "scheduler"))

    url = sqs.create_queue(QueueName="q")["QueueUrl"]
    make_table(dynamodb)
    dynamodb.put_item(TableName="race", Item={"pk": {"S": "x"}})
    s3.create_bucket(Bucket="bucket")
    s3.put_object(Bucket="bucket", Key="key", Body=b"z" * 300_000)
    scheduler.create_schedule(
        Name="s",
        ScheduleExpression="rate(5 minutes)",
        FlexibleTimeWindow={"Mode": "OFF"},
        Target={"Arn": "arn:aws:sqs:us-east-1:123456789012:q", "RoleArn": "arn:aws:iam::123456789012:role/r"},
    )

    assert sqs.get_queue_url(QueueName="q")["QueueUrl"] == url
    assert dynamodb.scan(TableName="race")["Count"] == 1
    assert s3.get_object(Bucket="bucket", Key="key")["Body"].read() == b"z" * 300_000
    assert scheduler.get_schedule(Name="s")["State"] == "ENABLED"


async def test_aiobotocore_works_over_the_server(server: MotoServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)

    async with aiobotocore.session.get_session().create_client("sqs") as sqs:
        url = (await sqs.create_queue(QueueName="q"))["QueueUrl"]
        await sqs.send_message(QueueUrl=url, MessageBody="hello")
        answer = await sqs.receive_message(QueueUrl=url, WaitTimeSeconds=5)

    assert [message["Body"] for message in answer["Messages"]] == ["hello"]


def test_each_start_begins_empty() -> None:
    server = MotoServer()
    for _ in range(2):
        server.start()
        sqs = client_of(server, "sqs")
        assert "QueueUrls" not in sqs.list_queues()
        sqs.create_queue(QueueName="q")
        sqs.close()
        server.stop()


def test_a_second_server_in_this_process_is_refused_and_the_first_keeps_its_state(connect: Connect) -> None:
    sqs = connect("sqs")
    sqs.create_queue(QueueName="q")

    with pytest.raises(ConfigError, match="already running"):
        MotoServer().start()

    assert len(sqs.list_queues()["QueueUrls"]) == 1


def test_a_taken_port_is_named_with_the_fix_and_the_server_can_start_elsewhere() -> None:
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]

        with pytest.raises(ConfigError, match=rf"{HOST}:{port}.*\n?.*another one"):
            MotoServer(port).start()

    with MotoServer(port) as server:
        assert server.endpoint == f"http://{HOST}:{port}"


@pytest.mark.parametrize("port", [-1, 65_536, "5000", True])
def test_a_port_that_is_none_is_refused(port: Any) -> None:
    with pytest.raises(ConfigError, match="port="):
        MotoServer(port)


def test_a_missing_extra_is_named_with_the_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "flask_cors", None)

    with pytest.raises(ConfigError, match=r"5\.2\.5 or newer.*: pip install --upgrade 'taskq-sls\[local\]'"):
        MotoServer().start()


@pytest.mark.parametrize("version", ["5.1.22", "5.2.4", "5.2.4.dev1", "4.9"])
def test_a_moto_that_is_too_old_is_named_with_the_version_it_takes(
    monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    monkeypatch.setattr(metadata, "version", lambda name: version)
    message = (
        rf"moto {version} is too old\); it needs moto 5\.2\.5 or newer.*pip install --upgrade 'taskq-sls\[local\]'"
    )
    with pytest.raises(ConfigError, match=message):
        MotoServer().start()


def test_the_endpoint_of_a_server_that_does_not_run_is_refused() -> None:
    with pytest.raises(ConfigError, match="not running"):
        _ = MotoServer().endpoint


def test_importing_the_server_loads_neither_moto_nor_botocore() -> None:
    code = "import sys, taskq_sls.local_aws.server, taskq_sls.local_aws.event_source_mapping, taskq_sls.local_aws.container; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()

    assert not {"moto", "botocore", "boto3", "flask"} & set(loaded)


def test_messages_of_a_group_whose_time_ends_almost_at_once_come_back_in_order(connect: Connect) -> None:
    from moto.backends import get_backend
    from moto.core.utils import unix_time_millis

    sqs = connect("sqs")
    attributes = {"FifoQueue": "true", "ContentBasedDeduplication": "true"}
    url = sqs.create_queue(QueueName="near.fifo", Attributes=attributes)["QueueUrl"]
    for body in "abc":
        sqs.send_message(QueueUrl=url, MessageBody=body, MessageGroupId="g")
    assert receive(sqs, url, VisibilityTimeout=600) == ["a", "b", "c"]
    (queue,) = (
        backend.queues["near.fifo"]
        for regions in get_backend("sqs").values()
        for backend in regions.values()
        if "near.fifo" in backend.queues
    )
    ends = unix_time_millis() + 500
    for place, message in enumerate(queue._messages):
        message.visible_at = ends + place * 5
    while unix_time_millis() <= ends:
        time.sleep(0.0005)

    came = receive(sqs, url)

    assert came == list("abc")[: len(came)]
    assert came
