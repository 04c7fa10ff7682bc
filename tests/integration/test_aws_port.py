"""The three ports: against moto, and against a server that misbehaves on purpose."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import importlib.metadata
import os
import socket
import subprocess
import sys
import textwrap
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import botocore
import pytest
from moto import mock_aws
from moto.server import ThreadedMotoServer

from taskq_sls.aws.aio import AsyncAws, _LoopClients
from taskq_sls.aws.blocking import BlockingAws, ThreadedAws
from taskq_sls.aws.config import LIBRARY_VERSION
from taskq_sls.aws.port import QUEUE_DOES_NOT_EXIST, plain_code
from taskq_sls.core.clock import ManualClock
from taskq_sls.core.flow import AsyncFlow, BlockingFlow, drive
from taskq_sls.errors import AwsError, ConfigError

PORTS: dict[str, Callable[..., Any]] = {"blocking": BlockingAws, "threaded": ThreadedAws, "async": AsyncAws}

MakePort = Callable[..., Any]


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing from the machine: no profile, no configuration file, no instance metadata."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")


@pytest.fixture(scope="module")
def moto_url() -> Iterator[str]:
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(params=PORTS)
async def make_port(request: pytest.FixtureRequest) -> AsyncIterator[MakePort]:
    made = []

    def make(**options: Any) -> Any:
        made.append(PORTS[request.param](ManualClock(), **options))
        return made[-1]

    yield make
    for port in made:
        await port.close()


class WireServer:
    """Answers each request with the next of `answers`: bytes, or an action on the connection."""

    def __init__(self, *answers: bytes | Callable[[socket.socket], None]) -> None:
        self.answers = list(answers)
        self.requests: list[bytes] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._released = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> WireServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._released.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(30)

    def stay_silent(self, _: socket.socket) -> None:
        self._released.wait(30)

    def _serve(self) -> None:
        while self.answers:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection, contextlib.suppress(OSError):
                self.requests.append(read_request(connection))
                answer = self.answers.pop(0)
                if callable(answer):
                    answer(connection)
                else:
                    connection.sendall(answer)


def read_request(connection: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        data += connection.recv(65_536)
    head, _, body = data.partition(b"\r\n\r\n")
    lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    length = int(lengths[0].partition(b":")[2]) if lengths else 0
    while len(body) < length:
        body += connection.recv(65_536)
    return head + b"\r\n\r\n" + body


def http(status: int, body: bytes, *headers: str, length: int | None = None) -> bytes:
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body) if length is None else length}", "Connection: close"]
    return "\r\n".join([*lines, *headers]).encode() + b"\r\n\r\n" + body


def reset(connection: socket.socket) -> None:
    """Close without the goodbye: the client sees a reset."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")


async def failure(call: Any) -> AwsError:
    with pytest.raises(AwsError) as caught:
        await call
    return caught.value


class TestCalls:
    async def test_the_endpoint_is_taken_from_the_environment(
        self, make_port: MakePort, moto_url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AWS_ENDPOINT_URL", moto_url)
        port = make_port()
        sqs = port.client("sqs")
        created = await sqs.call("create_queue", QueueName="jobs")
        assert created["QueueUrl"].startswith(moto_url)
        assert (await sqs.call("get_queue_url", QueueName="jobs"))["QueueUrl"] == created["QueueUrl"]
        assert port.describe() == f"endpoint {moto_url} region eu-west-1"

    async def test_a_missing_queue_has_one_code(
        self, make_port: MakePort, moto_url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AWS_ENDPOINT_URL", moto_url)
        error = await failure(make_port().client("sqs").call("get_queue_url", QueueName="nowhere"))
        assert error.operation == "get_queue_url"
        assert error.code == QUEUE_DOES_NOT_EXIST
        assert error.status == 400
        assert not error.transient
        assert not error.ambiguous

    async def test_a_refused_condition_carries_the_item(
        self, make_port: MakePort, moto_url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AWS_ENDPOINT_URL", moto_url)
        dynamodb = make_port().client("dynamodb")
        table = f"tasks-{id(dynamodb)}"
        await dynamodb.call(
            "create_table",
            TableName=table,
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )
        item = {"id": {"S": "1"}, "owner": {"S": "me"}}
        await dynamodb.call("put_item", TableName=table, Item=item)
        error = await failure(
            dynamodb.call(
                "put_item",
                TableName=table,
                Item={"id": {"S": "1"}},
                ConditionExpression="attribute_not_exists(id)",
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
            )
        )
        assert error.code == "ConditionalCheckFailedException"
        assert not error.transient
        assert error.body["Item"] == item

    async def test_a_body_above_a_mebibyte_is_sent(
        self, make_port: MakePort, moto_url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AWS_ENDPOINT_URL", moto_url)
        sqs = make_port().client("sqs")
        url = (await sqs.call("create_queue", QueueName=f"large-{id(sqs)}"))["QueueUrl"]
        await sqs.call("send_message", QueueUrl=url, MessageBody="x" * 1_048_576)
        [message] = (await sqs.call("receive_message", QueueUrl=url))["Messages"]
        assert len(message["Body"]) == 1_048_576

    async def test_after_close_a_call_opens_new_connections(
        self, make_port: MakePort, moto_url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AWS_ENDPOINT_URL", moto_url)
        port = make_port()
        await port.client("sqs").call("list_queues")
        await port.close()
        await port.close()
        assert await port.client("sqs").call("list_queues")

    async def test_an_unknown_operation_is_a_mistake_in_the_program(self, make_port: MakePort) -> None:
        with pytest.raises(AttributeError, match="send_massage"):
            await make_port().client("sqs").call("send_massage")

    async def test_the_user_agent_names_library_and_botocore(
        self, make_port: MakePort, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with WireServer(http(200, b"{}")) as server:
            monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
            await make_port().client("sqs").call("list_queues")
        [agent] = [line for line in server.requests[0].split(b"\r\n") if line.lower().startswith(b"user-agent:")]
        assert f"taskq-sls/{LIBRARY_VERSION} ".encode() in agent
        assert f"botocore/{botocore.__version__}".encode() in agent

    def test_the_version_in_the_user_agent_is_the_installed_one(self) -> None:
        assert importlib.metadata.version("taskq-sls") == LIBRARY_VERSION


class TestMock:
    @pytest.mark.parametrize("port_type", [BlockingAws, ThreadedAws])
    async def test_ports_over_botocore_work_under_moto_s_mock(self, port_type: type) -> None:
        with mock_aws():
            port = port_type(ManualClock())
            url = (await port.client("sqs").call("create_queue", QueueName="mocked"))["QueueUrl"]
            assert url.endswith("/mocked")
            await port.close()

    def test_the_blocking_port_never_suspends(self) -> None:
        with mock_aws():
            port = BlockingAws(ManualClock())
            assert drive(port.client("sqs").call("list_queues"))["ResponseMetadata"]["HTTPStatusCode"] == 200
            drive(port.close())

    @pytest.mark.parametrize("port_type", [BlockingAws, ThreadedAws])
    async def test_answers_without_content_are_whole(self, port_type: type) -> None:
        with mock_aws():
            port = port_type(ManualClock())
            s3 = port.client("s3")
            await s3.call(
                "create_bucket", Bucket="results", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"}
            )
            await s3.call("put_object", Bucket="results", Key="k", Body=b"hello")
            assert (await s3.call("head_object", Bucket="results", Key="k"))["ContentLength"] == 5
            assert (await s3.call("get_object", Bucket="results", Key="k"))["Body"] == b"hello"
            await s3.call("delete_object", Bucket="results", Key="k")
            await port.close()


class TestFlows:
    def test_each_port_waits_in_its_own_way(self) -> None:
        assert isinstance(BlockingAws(ManualClock()).flow, BlockingFlow)
        assert isinstance(ThreadedAws(ManualClock()).flow, AsyncFlow)
        assert isinstance(AsyncAws(ManualClock()).flow, AsyncFlow)


class TestContextVariables:
    span: contextvars.ContextVar[str] = contextvars.ContextVar("span", default="nobody's")

    async def test_those_of_the_caller_reach_every_call(
        self, make_port: MakePort, moto_url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AWS_ENDPOINT_URL", moto_url)
        port = make_port()
        client = await port.get("sqs") if isinstance(port, AsyncAws) else port._clients.get("sqs")
        seen: list[str] = []
        client.meta.events.register("before-send.sqs", lambda **_: seen.append(self.span.get()))
        url = (await port.client("sqs").call("create_queue", QueueName="traced"))["QueueUrl"]
        for name in ("first", "second", "third"):
            self.span.set(name)
            await port.client("sqs").call("receive_message", QueueUrl=url)
        assert seen == ["nobody's", "first", "second", "third"]


class TestConfiguration:
    async def test_without_a_region_the_fix_is_named(
        self, make_port: MakePort, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("AWS_DEFAULT_REGION")
        with pytest.raises(ConfigError, match="set AWS_DEFAULT_REGION"):
            await make_port().client("sqs").call("list_queues")

    async def test_without_credentials_the_fix_is_named(
        self, make_port: MakePort, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
        with pytest.raises(ConfigError, match="give credentials: AWS_ACCESS_KEY_ID"):
            await make_port().client("sqs").call("list_queues")

    async def test_half_of_the_credentials_is_not_enough(
        self, make_port: MakePort, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
        with pytest.raises(ConfigError, match="give credentials"):
            await make_port().client("sqs").call("list_queues")

    async def test_an_endpoint_without_scheme_is_named(
        self, make_port: MakePort, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AWS_ENDPOINT_URL", "localhost:4566")
        with pytest.raises(ConfigError, match=r"localhost:4566.*AWS_ENDPOINT_URL"):
            await make_port().client("sqs").call("list_queues")

    async def test_an_unknown_profile_is_named(self, make_port: MakePort, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_PROFILE", "nobody")
        with pytest.raises(ConfigError, match=r"nobody.*AWS_PROFILE"):
            await make_port().client("sqs").call("list_queues")

    async def test_an_unknown_service_is_named(self, make_port: MakePort) -> None:
        with pytest.raises(ConfigError, match="'sqqs'"):
            await make_port().client("sqqs").call("list_queues")

    async def test_before_the_first_call_the_environment_is_described(
        self, make_port: MakePort, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
        assert make_port().describe() == "endpoint http://127.0.0.1:1 region eu-west-1"

    async def test_the_read_timeout_exceeds_a_long_poll(self, make_port: MakePort) -> None:
        port = make_port(max_pool_connections=7)
        assert (await botocore_client(port, "sqs")).meta.config.read_timeout == 30
        assert (await botocore_client(port, "dynamodb")).meta.config.read_timeout == 10
        config = (await botocore_client(port, "sqs")).meta.config
        assert config.connect_timeout == 5
        assert config.max_pool_connections == 7
        assert config.retries["mode"] == "standard"
        assert config.retries["total_max_attempts"] == 3

    async def test_botocore_does_not_check_the_parameters_again(
        self, make_port: MakePort, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with WireServer(http(200, b'{"QueueUrl": "u"}')) as server:
            monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
            assert (await make_port().client("sqs").call("get_queue_url"))["QueueUrl"] == "u"

    async def test_a_read_timeout_can_be_given(self, make_port: MakePort) -> None:
        port = make_port(read_timeout=2.5)
        assert (await botocore_client(port, "sqs")).meta.config.read_timeout == 2.5

    @pytest.mark.parametrize(
        ("option", "value"),
        [
            ("timeout", 3),
            ("read_timeout", 0),
            ("connect_timeout", None),
            ("connect_timeout", "5"),
            ("max_attempts", 0),
            ("max_pool_connections", True),
            ("retry_mode", "legacy"),
        ],
    )
    def test_a_wrong_option_is_named(self, option: str, value: object) -> None:
        for port_type in PORTS.values():
            with pytest.raises(ConfigError, match=option):
                port_type(ManualClock(), **{option: value})

    def test_a_pool_without_threads_is_refused(self) -> None:
        with pytest.raises(ConfigError, match="threads=0"):
            ThreadedAws(ManualClock(), threads=0)


class TestFaults:
    """What the errors say. One try each: botocore's own retries would hide them."""

    async def test_a_refused_connection_is_transient_and_had_no_effect(
        self, make_port: MakePort, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        error = await failure(make_port(max_attempts=1).client("sqs").call("list_queues"))
        assert error.transient
        assert not error.ambiguous
        assert error.status == 0

    @pytest.mark.parametrize(
        "answer",
        [
            pytest.param(reset, id="reset"),
            pytest.param(lambda connection: None, id="closed"),
            pytest.param(b"HTTP/1.1 200 OK\r\nContent-", id="half a head"),
            pytest.param(http(200, b'{"QueueUr', length=200), id="half a body"),
            pytest.param(http(200, b'{"QueueUr'), id="half a body, its length corrected"),
            pytest.param(http(200, b'{"QueueUrls": {}'), id="half a body that ends like a whole one"),
            pytest.param(http(200, b""), id="nothing where something is due"),
            pytest.param(http(200, b"[]"), id="JSON that is no object"),
            pytest.param(b"SSH-2.0-OpenSSH_9.6\r\n", id="another protocol"),
        ],
    )
    async def test_a_lost_answer_is_transient_and_ambiguous(
        self, make_port: MakePort, monkeypatch: pytest.MonkeyPatch, answer: Any
    ) -> None:
        with WireServer(answer) as server:
            monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
            error = await failure(make_port(max_attempts=1).client("sqs").call("list_queues"))
        assert error.transient
        assert error.ambiguous

    async def test_a_streamed_body_is_read_to_its_end_before_the_call_returns(
        self, make_port: MakePort, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with WireServer(http(200, b"hello")) as server:
            monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
            answer = await make_port(max_attempts=1).client("s3").call("get_object", Bucket="bucket", Key="k")
        assert answer["Body"] == b"hello"

    async def test_a_streamed_body_that_breaks_off_is_transient(
        self, make_port: MakePort, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with WireServer(http(200, b"hel", length=5)) as server:
            monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
            error = await failure(make_port(max_attempts=1).client("s3").call("get_object", Bucket="bucket", Key="k"))
        assert error.transient

    async def test_a_streamed_body_that_stops_coming_is_transient(
        self, make_port: MakePort, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with WireServer() as server:

            def half(connection: socket.socket) -> None:
                connection.sendall(http(200, b"hel", length=5))
                server.stay_silent(connection)

            server.answers.append(half)
            monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
            client = make_port(max_attempts=1, read_timeout=0.1).client("s3")
            error = await failure(client.call("get_object", Bucket="bucket", Key="k"))
        assert error.transient

    async def test_silence_is_transient_and_ambiguous(
        self, make_port: MakePort, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with WireServer() as server:
            server.answers.append(server.stay_silent)
            monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
            error = await failure(make_port(max_attempts=1, read_timeout=0.1).client("sqs").call("list_queues"))
        assert error.code == "ReadTimeoutError"
        assert error.transient
        assert error.ambiguous

    @pytest.mark.parametrize(
        ("status", "code", "transient", "ambiguous"),
        [
            (500, "InternalError", True, True),
            (503, "ServiceUnavailable", True, True),
            (400, "RequestThrottled", True, False),
            (400, "ThrottlingException", True, False),
            (503, "SlowDown", True, False),
            (403, "ExpiredToken", True, False),
            (400, "ExpiredTokenException", True, False),
            (403, "RequestExpired", True, False),
            (408, "RequestTimeout", True, False),
            (429, "Unheard", True, False),
            (408, "Unheard", True, False),
            (403, "AccessDenied", False, False),
            (400, "InvalidParameterValue", False, False),
        ],
    )
    async def test_an_error_answer_says_whether_to_try_again(
        self,
        make_port: MakePort,
        monkeypatch: pytest.MonkeyPatch,
        status: int,
        code: str,
        transient: bool,
        ambiguous: bool,
    ) -> None:
        body = f'{{"__type": "com.amazonaws.sqs#{code}", "message": "because"}}'.encode()
        with WireServer(http(status, body)) as server:
            monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
            error = await failure(make_port(max_attempts=1).client("sqs").call("list_queues"))
        assert (error.status, error.code, error.message) == (status, code, "because")
        assert (error.transient, error.ambiguous) == (transient, ambiguous)

    @pytest.mark.parametrize(
        ("message", "transient"),
        [
            ("Signature expired: 20261122T101500Z is now earlier than 20261122T102000Z", True),
            ("Signature not yet current: 20261122T101500Z is still later than 20261122T100900Z", True),
            ("The request signature we calculated does not match the signature you provided.", False),
        ],
    )
    async def test_a_clock_that_is_off_may_be_set_and_a_wrong_key_not(
        self, make_port: MakePort, monkeypatch: pytest.MonkeyPatch, message: str, transient: bool
    ) -> None:
        body = f'{{"__type": "com.amazon.coral.service#InvalidSignatureException", "message": "{message}"}}'.encode()
        with WireServer(http(403, body)) as server:
            monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
            error = await failure(make_port(max_attempts=1).client("dynamodb").call("list_tables"))
        assert (error.transient, error.ambiguous) == (transient, False)

    async def test_an_operation_that_answers_nothing_is_done(
        self, make_port: MakePort, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with WireServer(http(200, b"")) as server:
            monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
            await make_port(max_attempts=1).client("sqs").call("purge_queue", QueueUrl=server.url)

    async def test_a_proxy_s_error_page_is_an_error_answer(
        self, make_port: MakePort, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with WireServer(http(502, b"<html>Bad gateway</html>")) as server:
            monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
            error = await failure(make_port(max_attempts=1).client("sqs").call("list_queues"))
        assert error.status == 502
        assert error.transient
        assert error.ambiguous

    async def test_botocore_tries_again_by_itself(self, make_port: MakePort, monkeypatch: pytest.MonkeyPatch) -> None:
        with WireServer(http(500, b"{}"), http(200, b'{"QueueUrls": ["u"]}')) as server:
            monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
            assert (await make_port().client("sqs").call("list_queues"))["QueueUrls"] == ["u"]

    @pytest.mark.parametrize(
        ("code", "plain"),
        [
            ("AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist"),
            ("com.amazonaws.sqs#QueueDoesNotExist", "QueueDoesNotExist"),
            ("QueueDoesNotExist", "QueueDoesNotExist"),
            ("AWS.SimpleQueueService.PurgeQueueInProgress", "PurgeQueueInProgress"),
            ("ConditionalCheckFailedException", "ConditionalCheckFailedException"),
        ],
    )
    def test_codes_have_one_spelling(self, code: str, plain: str) -> None:
        assert plain_code(code) == plain


class TestSharing:
    @pytest.mark.parametrize("port_type", [BlockingAws, ThreadedAws])
    def test_threads_that_start_together_share_one_client(self, port_type: Any) -> None:
        port = port_type(ManualClock())
        start = threading.Barrier(8, timeout=30)

        def get(_: int) -> Any:
            start.wait()
            return port._clients.get("sqs")

        with ThreadPoolExecutor(8) as pool:
            assert len(set(pool.map(get, range(8)))) == 1
        asyncio.run(port.close())

    @pytest.fixture
    def slow_creation(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """As with credentials that come over the network."""
        create = _LoopClients._create

        async def slowly(self: _LoopClients, service: str) -> Any:
            await asyncio.sleep(0)
            return await create(self, service)

        monkeypatch.setattr(_LoopClients, "_create", slowly)

    @pytest.mark.usefixtures("slow_creation")
    async def test_coroutines_that_start_together_share_one_client(self) -> None:
        port = AsyncAws(ManualClock())
        clients = await asyncio.gather(*(port.get("sqs") for _ in range(8)))
        assert len({id(client) for client in clients}) == 1
        await port.close()

    @pytest.mark.usefixtures("slow_creation")
    async def test_a_first_caller_that_is_cancelled_does_not_spoil_the_client(self) -> None:
        port = AsyncAws(ManualClock())
        first, second = (asyncio.create_task(port.get("sqs")) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        assert (await second).meta.region_name == "eu-west-1"
        await port.close()

    def test_each_event_loop_has_its_own_client(self, moto_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_ENDPOINT_URL", moto_url)
        port = AsyncAws(ManualClock())

        async def use(*, last: bool) -> Any:
            await port.client("sqs").call("list_queues")
            client = await port.get("sqs")
            if last:
                await port.close()
            return client

        assert asyncio.run(use(last=False)) is not asyncio.run(use(last=True))
        assert port._loops == {}

    def test_a_pool_of_threads_serves_one_event_loop_after_the_other(self) -> None:
        with mock_aws():
            port = ThreadedAws(ManualClock())
            for _ in range(2):
                assert asyncio.run(port.client("sqs").call("list_queues"))
            asyncio.run(port.close())

    @pytest.mark.parametrize("module", ["blocking.BlockingAws", "blocking.ThreadedAws", "aio.AsyncAws"])
    def test_a_forked_process_makes_its_own_clients(self, moto_url: str, module: str, tmp_path: Path) -> None:
        module, name = module.split(".")
        script = f"""
            import asyncio, os, sys
            from taskq_sls.aws.{module} import {name}
            from taskq_sls.core.clock import SystemClock

            port = {name}(SystemClock())

            async def use():
                await port.client("sqs").call("list_queues")
                clients = port._clients if hasattr(port, "_clients") else port
                client = clients.get("sqs")
                return await client if asyncio.iscoroutine(client) else client

            parents = asyncio.run(use())
            child = os.fork()
            if child == 0:
                same = asyncio.run(use()) is parents
                os._exit(17 if same else 0)
            status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            asyncio.run(use())
            asyncio.run(port.close())
            sys.exit(status)
        """
        environment = os.environ | {"AWS_ENDPOINT_URL": moto_url}
        done = subprocess.run(
            # Newer Pythons warn of threads at a fork; that it works all the same is what is tested.
            [sys.executable, "-W", "ignore::DeprecationWarning", "-c", textwrap.dedent(script)],
            env=environment,
            cwd=tmp_path,
            timeout=60,
            capture_output=True,
            text=True,
        )
        assert (done.returncode, done.stderr) == (0, "")


async def botocore_client(port: Any, service: str) -> Any:
    return await port.get(service) if isinstance(port, AsyncAws) else port._clients.get(service)
