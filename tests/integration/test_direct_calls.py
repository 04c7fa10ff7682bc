"""Hot calls of the async port: the same requests and the same answers as botocore's, refusals and faults included."""

from __future__ import annotations

import asyncio
import datetime
import json
import socket
import zlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from botocore import auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from taskq_sls.aws.aio import AsyncAws
from taskq_sls.aws.direct import DIRECT_OPERATIONS, MAX_BODY_BYTES
from taskq_sls.core.clock import ManualClock
from taskq_sls.errors import AwsError, ConfigError
from tests.integration.test_aws_port import WireServer, environment, http, reset

__all__ = ["environment"]

CALLS: dict[str, tuple[str, dict[str, Any]]] = {
    "update_item": (
        "dynamodb",
        {
            "TableName": "t",
            "Key": {"pk": {"S": "schlüssel 🔑"}},
            "UpdateExpression": "SET #s = :s",
            "ExpressionAttributeNames": {"#s": "status"},
            "ExpressionAttributeValues": {":s": {"M": {"a": {"L": [{"NULL": True}, {"BOOL": False}, {"N": "1.50"}]}}}},
        },
    ),
    "put_item": ("dynamodb", {"TableName": "t", "Item": {"pk": {"S": "a"}, "empty": {"S": ""}}}),
    "get_item": ("dynamodb", {"TableName": "t", "Key": {"pk": {"S": "a"}}, "ConsistentRead": True}),
    "query": ("dynamodb", {"TableName": "t", "KeyConditionExpression": "pk = :p", "Limit": 5}),
    "batch_get_item": ("dynamodb", {"RequestItems": {"t": {"Keys": [{"pk": {"S": "a"}}, {"pk": {"S": "b"}}]}}}),
    "batch_write_item": ("dynamodb", {"RequestItems": {"t": [{"PutRequest": {"Item": {"pk": {"S": "a"}}}}]}}),
    "receive_message": (
        "sqs",
        {"QueueUrl": "http://q/1/a", "MaxNumberOfMessages": 10, "MessageSystemAttributeNames": ["All"]},
    ),
    "send_message_batch": (
        "sqs",
        {
            "QueueUrl": "http://q/1/a",
            "Entries": [
                {
                    "Id": "0",
                    "MessageBody": '{"args": ["\u2028", "\\u0000", "\x7f"]}',
                    "DelaySeconds": 3,
                    "MessageAttributes": {"task": {"DataType": "String", "StringValue": "a.b"}},
                }
            ],
        },
    ),
    "delete_message_batch": ("sqs", {"QueueUrl": "http://q/1/a", "Entries": [{"Id": "0", "ReceiptHandle": "r/+="}]}),
    "change_message_visibility_batch": (
        "sqs",
        {"QueueUrl": "http://q/1/a", "Entries": [{"Id": "0", "ReceiptHandle": "r", "VisibilityTimeout": 0}]},
    ),
}

OF_ONE_REQUEST = {"authorization", "x-amz-date", "amz-sdk-invocation-id", "amz-sdk-request"}

MakePort = Callable[..., AsyncAws]


@pytest.fixture(autouse=True)
def switched_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASKQ_DIRECT_CALLS", "on")


@pytest.fixture
async def make_port() -> AsyncIterator[MakePort]:
    made: list[AsyncAws] = []

    def make(**options: Any) -> AsyncAws:
        made.append(AsyncAws(ManualClock(), **options))
        return made[-1]

    yield make
    for port in made:
        await port.close()


async def call(port: AsyncAws, operation: str) -> dict[str, Any]:
    service, params = CALLS[operation]
    return await port.client(service).call(operation, **params)


async def warmed(make: MakePort, operation: str, **options: Any) -> AsyncAws:
    """A port that has made the call once, so that its next one is direct. The server's first answer is taken."""
    port = make(**options)
    await call(port, operation)
    return port


async def complaint(port: AsyncAws, operation: str) -> dict[str, Any]:
    """All that an error says."""
    with pytest.raises(AwsError) as caught:
        await call(port, operation)
    error = caught.value
    body = {key: value for key, value in (error.body or {}).items() if key != "ResponseMetadata"}
    names = ("operation", "code", "message", "status", "transient", "ambiguous")
    # The address of the server is another one each time.
    return {**{name: getattr(error, name) for name in names if name != "message"}, "body": body}


def take_credentials_from_a_script(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Others at each call of it, and it is called for each request."""
    script = tmp_path / "credentials"
    counter = tmp_path / "count"
    script.write_text(
        "#!/bin/sh\n"
        f"echo x >> {counter}; n=$(wc -l < {counter})\n"
        'echo "{\\"Version\\": 1, \\"AccessKeyId\\": \\"key$n\\", \\"SecretAccessKey\\": \\"s\\", '
        # Below botocore's advisory time of refreshing, 15 minutes, each call asks for new ones.
        '\\"SessionToken\\": \\"t\\", \\"Expiration\\": \\"$(date -u -d +60seconds +%Y-%m-%dT%H:%M:%SZ)\\"}"\n'
    )
    script.chmod(0o755)
    configuration = tmp_path / "config"
    configuration.write_text(f"[default]\ncredential_process = {script}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(configuration))
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")


def parts(request: bytes) -> tuple[str, dict[str, str], bytes]:
    head, _, body = request.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    return first, {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}, body


async def sent_twice(
    make: MakePort, monkeypatch: pytest.MonkeyPatch, operation: str
) -> list[tuple[str, dict[str, str], bytes]]:
    """The requests of a call made through botocore and of the same one made directly."""
    monkeypatch.setenv("AWS_SESSION_TOKEN", "a token")
    with WireServer(http(200, b"{}"), http(200, b"{}")) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        assert await call(await warmed(make, operation), operation) == {}
        return [parts(request) for request in server.requests]


def test_each_hot_operation_is_tried_here() -> None:
    assert CALLS.keys() == DIRECT_OPERATIONS


class TestRequests:
    @pytest.mark.parametrize("operation", CALLS)
    async def test_a_direct_request_is_the_one_that_botocore_would_send(
        self, make_port: MakePort, monkeypatch: pytest.MonkeyPatch, operation: str
    ) -> None:
        first, second = await sent_twice(make_port, monkeypatch, operation)
        assert second[0] == first[0] == "POST / HTTP/1.1"
        assert json.loads(second[2]) == json.loads(first[2])
        same = first[1].keys() - {"content-length"} - OF_ONE_REQUEST
        assert {name: second[1][name] for name in same} == {name: first[1][name] for name in same}
        assert "x-amz-security-token" in same
        assert second[1].keys() == first[1].keys() - {"amz-sdk-invocation-id", "amz-sdk-request"}

    @pytest.mark.parametrize("operation", ["update_item", "send_message_batch"])
    async def test_the_signature_is_that_of_the_body_that_is_sent(
        self, make_port: MakePort, monkeypatch: pytest.MonkeyPatch, operation: str
    ) -> None:
        [_, (_, headers, body)] = await sent_twice(make_port, monkeypatch, operation)
        moment = datetime.datetime.strptime(headers["x-amz-date"], "%Y%m%dT%H%M%SZ")
        monkeypatch.setattr(auth, "get_current_datetime", lambda *_: moment)
        signed = headers["authorization"].partition("SignedHeaders=")[2].partition(",")[0].split(";")
        again = AWSRequest(
            "POST",
            f"http://{headers['host']}/",
            headers={name: headers[name] for name in signed if name not in ("host", "x-amz-date")},
            data=body,
        )
        auth.SigV4Auth(Credentials("testing", "testing", "a token"), CALLS[operation][0], "eu-west-1").add_auth(again)
        assert again.headers["Authorization"] == headers["authorization"]

    async def test_credentials_that_change_sign_the_next_call(
        self, make_port: MakePort, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        take_credentials_from_a_script(monkeypatch, tmp_path)
        with WireServer(*[http(200, b"{}")] * 3) as server:
            monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
            port = await warmed(make_port, "get_item")
            await call(port, "get_item")
            await call(port, "get_item")
            used = [parts(request)[1]["authorization"].partition("Credential=")[2][:4] for request in server.requests]
        assert len(set(used)) == 3

    @pytest.mark.parametrize(
        ("params", "why"),
        [
            ({"Item": {"pk": {"B": b"\x00\xff"}}}, "bytes"),
            ({"Item": {"pk": {"S": "x" * (MAX_BODY_BYTES + 1)}}}, "size"),
        ],
        ids=["bytes", "size"],
    )
    async def test_what_is_not_plain_goes_botocore_s_way(
        self, make_port: MakePort, monkeypatch: pytest.MonkeyPatch, params: dict[str, Any], why: str
    ) -> None:
        with WireServer(http(200, b"{}"), http(200, b"{}")) as server:
            monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
            # One attempt: a direct one that fails would be made good by botocore's.
            port = await warmed(make_port, "put_item", max_attempts=1)
            await port.client("dynamodb").call("put_item", TableName="t", **params)
            _, headers, body = parts(server.requests[1])
        assert "amz-sdk-invocation-id" in headers
        if why == "bytes":
            assert json.loads(body)["Item"] == {"pk": {"B": "AP8="}}

    async def test_adaptive_retries_see_every_call(self, make_port: MakePort, monkeypatch: pytest.MonkeyPatch) -> None:
        with WireServer(http(200, b"{}"), http(200, b"{}")) as server:
            monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
            port = await warmed(make_port, "get_item", retry_mode="adaptive")
            await call(port, "get_item")
            assert all("amz-sdk-request" in parts(request)[1] for request in server.requests)

    @pytest.mark.parametrize("switch", [None, "", "off"])
    async def test_it_is_off_by_default(
        self, make_port: MakePort, monkeypatch: pytest.MonkeyPatch, switch: str | None
    ) -> None:
        if switch is None:
            monkeypatch.delenv("TASKQ_DIRECT_CALLS")
        else:
            monkeypatch.setenv("TASKQ_DIRECT_CALLS", switch)
        with WireServer(http(200, b"{}"), http(200, b"{}")) as server:
            monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
            port = await warmed(make_port, "get_item")
            await call(port, "get_item")
            assert all("amz-sdk-request" in parts(request)[1] for request in server.requests)

    async def test_a_switch_that_is_neither_on_nor_off_is_named(
        self, make_port: MakePort, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("TASKQ_DIRECT_CALLS", "no")
        with pytest.raises(ConfigError, match="TASKQ_DIRECT_CALLS='no' must be on or off"):
            await call(make_port(), "get_item")

    async def test_a_proxy_is_a_direct_call_s_too(self, make_port: MakePort, monkeypatch: pytest.MonkeyPatch) -> None:
        with WireServer(http(200, b"{}"), http(200, b"{}")) as proxy:
            monkeypatch.setenv("http_proxy", proxy.url)
            monkeypatch.setenv("no_proxy", "")
            monkeypatch.setenv("AWS_ENDPOINT_URL", "http://queues.invalid")
            port = await warmed(make_port, "get_item")
            await call(port, "get_item")
            assert [parts(request)[0] for request in proxy.requests] == ["POST http://queues.invalid/ HTTP/1.1"] * 2

    async def test_in_lambda_a_direct_call_belongs_to_the_trace_of_its_invocation(
        self, make_port: MakePort, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Lambda stops functions that call themselves without end; it knows them by this header."""
        monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "f")
        with WireServer(http(200, b"{}"), http(200, b"{}")) as server:
            monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
            port = make_port()
            for trace in ("Root=1-first;Sampled=1", "Root=1-second;Sampled=1"):
                monkeypatch.setenv("_X_AMZN_TRACE_ID", trace)
                await call(port, "send_message_batch")
                assert parts(server.requests[-1])[1]["x-amzn-trace-id"] == trace
        assert len(server.requests) == 2

    async def test_a_port_that_is_closed_while_its_client_is_made_names_no_fault_of_its_own(
        self, make_port: MakePort, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        take_credentials_from_a_script(monkeypatch, tmp_path)  # which takes its time
        with WireServer(http(200, b"{}")) as server:
            monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
            port = make_port()
            making = asyncio.create_task(port.get("dynamodb"))
            await asyncio.sleep(0)
            calling = asyncio.create_task(call(port, "get_item"))
            await asyncio.sleep(0)
            await port.close()
            client = await making
            assert (await calling)["ResponseMetadata"]["HTTPStatusCode"] == 200
            await client.close()


class TestAnswers:
    @pytest.mark.parametrize(
        "answer",
        [
            pytest.param(b"{}", id="nothing to tell"),
            pytest.param(b'{"Item": {"a": {"NULL": true}, "b": {"S": "null"}}}', id="a null of DynamoDB"),
            pytest.param(b'{"Item": null}', id="a member that is null"),
            pytest.param(b'{"Item": {"a": {"S": "\\ud83d\\ude00 \xc3\xbc"}}}', id="beyond ASCII"),
            pytest.param(b' \n{"Item": {"a": {"N": "1e400"}}}', id="white space"),
            pytest.param(b'{"Item": {"a": {"B": "AP8="}, "b": {"L": [{"BS" : ["AP8="]}]}}}', id="bytes"),
            pytest.param(b'{"Item": {"a": null, "b": {"L": [null]}}}', id="nulls where anything may be"),
            pytest.param(
                b'{"Item": {"a": {"S": "{\\"a\\": null, \\"B\\": 1}"}, "B": {"S": "b"}}}', id="a text of JSON"
            ),
        ],
    )
    async def test_an_answer_is_read_as_botocore_reads_it(
        self, make_port: MakePort, monkeypatch: pytest.MonkeyPatch, answer: bytes
    ) -> None:
        with WireServer(http(200, answer), http(200, answer)) as server:
            monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
            port = make_port()
            theirs, ours = await call(port, "get_item"), await call(port, "get_item")
        assert {**ours, "ResponseMetadata": theirs["ResponseMetadata"]} == theirs

    async def test_messages_with_null_members_are_read_as_botocore_reads_them(
        self, make_port: MakePort, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        answer = b'{"Messages": [{"MessageId": "1", "Body": "null", "Attributes": null, "MD5OfBody": null}]}'
        with WireServer(http(200, answer), http(200, answer)) as server:
            monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
            port = make_port()
            theirs, ours = await call(port, "receive_message"), await call(port, "receive_message")
        assert ours["Messages"] == theirs["Messages"] == [{"MessageId": "1", "Body": "null"}]

    async def test_bytes_of_a_message_are_bytes(self, make_port: MakePort, monkeypatch: pytest.MonkeyPatch) -> None:
        answer = b'{"Messages": [{"MessageAttributes": {"a": {"DataType": "Binary", "BinaryValue": "AP8="}}}]}'
        with WireServer(http(200, answer), http(200, answer)) as server:
            monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
            port = make_port()
            theirs, ours = await call(port, "receive_message"), await call(port, "receive_message")
        assert ours["Messages"] == theirs["Messages"]
        assert ours["Messages"][0]["MessageAttributes"]["a"]["BinaryValue"] == b"\x00\xff"

    @pytest.mark.parametrize("operation", ["update_item", "receive_message"])
    @pytest.mark.parametrize(
        "answer",
        [
            pytest.param(reset, id="reset"),
            pytest.param(lambda connection: None, id="closed"),
            pytest.param(b"HTTP/1.1 200 OK\r\nContent-", id="half a head"),
            pytest.param(http(200, b'{"Mess', length=200), id="half a body"),
            pytest.param(http(200, b'{"Mess'), id="half a body, its length corrected"),
            pytest.param(http(200, b""), id="nothing where something is due"),
            pytest.param(http(200, b"[]"), id="JSON that is no object"),
            pytest.param(b"SSH-2.0-OpenSSH_9.6\r\n", id="another protocol"),
            pytest.param(http(502, b"<html>Bad gateway</html>"), id="a proxy's page"),
            pytest.param(http(307, b"", "Location: http://127.0.0.1:9/"), id="elsewhere"),
            pytest.param(http(503, b""), id="503"),
            pytest.param(http(503, b'"Service Unavailable"'), id="a refusal that is a text"),
            pytest.param(http(503, b"null"), id="a refusal that is nothing"),
            pytest.param(http(502, b"G\xe4teway"), id="a refusal in Latin-1"),
            pytest.param(http(403, b'{"__type": 403, "message": {"a": 1}}'), id="a refusal without texts"),
            pytest.param(http(403, b"[" * 100_000), id="a refusal of great depth"),
            pytest.param(http(200, b'{"Item": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"), id="great depth"),
            pytest.param(http(300, b"{}"), id="300"),
            pytest.param(http(429, b"{}"), id="429"),
            *[
                pytest.param(http(status, json.dumps({"__type": f"x#{code}", "message": "because"}).encode()), id=code)
                for status, code in [
                    (400, "ThrottlingException"),
                    (400, "ProvisionedThroughputExceededException"),
                    (400, "ConditionalCheckFailedException"),
                    (400, "ResourceNotFoundException"),
                    (400, "QueueDoesNotExist"),
                    (400, "ExpiredTokenException"),
                    (403, "InvalidSignatureException"),
                    (400, "AccessDeniedException"),
                    (400, "ValidationException"),
                    (500, "InternalServerError"),
                    (403, "RequestThrottled"),
                ]
            ],
            pytest.param(
                http(
                    400,
                    b'{"__type": "x#ConditionalCheckFailedException", "Message": "m", "Item": {"a": {"S": "b"}}}',
                ),
                id="a refused condition with its item",
            ),
            pytest.param(
                http(
                    400,
                    b'{"__type": "com.amazonaws.sqs#QueueDoesNotExist", "message": "gone"}',
                    "x-amzn-query-error: AWS.SimpleQueueService.NonExistentQueue;Sender",
                ),
                id="a code of old",
            ),
        ],
    )
    async def test_a_fault_is_told_as_after_botocore_s_own_call(
        self, make_port: MakePort, monkeypatch: pytest.MonkeyPatch, operation: str, answer: Any
    ) -> None:
        with WireServer(answer, http(200, b"{}"), answer) as server:
            monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
            theirs = await complaint(make_port(max_attempts=1), operation)
            ours = await complaint(await warmed(make_port, operation, max_attempts=1), operation)
        assert len(server.requests) == 3
        assert ours == theirs

    async def test_silence_is_told_alike(self, make_port: MakePort, monkeypatch: pytest.MonkeyPatch) -> None:
        told = []
        for before in ([], [http(200, b"{}")]):
            server = WireServer(*before)
            server.answers.append(server.stay_silent)
            with server:
                monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
                port = make_port(max_attempts=1, read_timeout=0.5)
                for _ in before:
                    await call(port, "get_item")
                told.append(await complaint(port, "get_item"))
        assert told[0] == told[1]
        assert told[0]["code"] == "ReadTimeoutError"

    async def test_an_endpoint_that_went_away_had_no_effect(
        self, make_port: MakePort, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with WireServer(http(200, b"{}")) as server:
            monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
            port = await warmed(make_port, "update_item", max_attempts=1)
        told = await complaint(port, "update_item")
        assert (told["transient"], told["ambiguous"]) == (True, False)

    async def test_credentials_that_are_gone_are_a_matter_of_configuration(
        self, make_port: MakePort, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
        with WireServer() as server:
            monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
            port = make_port()
            for _ in range(2):
                with pytest.raises(ConfigError, match="credentials"):
                    await call(port, "get_item")


class TestRetries:
    @pytest.mark.parametrize(
        "fault",
        [
            pytest.param(http(500, b"{}"), id="500"),
            pytest.param(http(400, b'{"__type": "x#ThrottlingException"}'), id="throttled"),
            pytest.param(reset, id="reset"),
            pytest.param(lambda connection: None, id="closed"),
            pytest.param(http(200, b'{"Item": {"a": {"S": "c"}}}', "x-amz-crc32: 1"), id="changed on the way"),
            pytest.param(http(400, b'{"__type": "x#Foo"}', "x-amz-crc32: 1"), id="a refusal changed on the way"),
        ],
    )
    async def test_what_failed_in_passing_is_tried_again_by_botocore(
        self, make_port: MakePort, monkeypatch: pytest.MonkeyPatch, fault: Any
    ) -> None:
        with WireServer(http(200, b"{}"), fault, http(200, b'{"Item": {"a": {"S": "b"}}}')) as server:
            monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
            port = await warmed(make_port, "get_item")
            assert (await call(port, "get_item"))["Item"] == {"a": {"S": "b"}}
            assert "amz-sdk-request" in parts(server.requests[2])[1]

    async def test_an_answer_that_is_what_was_sent_is_taken(
        self, make_port: MakePort, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        answer = http(200, b"{}", f"x-amz-crc32: {zlib.crc32(b'{}')}")
        with WireServer(answer, answer) as server:
            monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
            await call(await warmed(make_port, "get_item"), "get_item")
            assert "amz-sdk-request" not in parts(server.requests[1])[1]

    @pytest.mark.parametrize("fault", [http(500, b'{"message": "m"}'), reset], ids=["500", "reset"])
    @pytest.mark.parametrize("attempts", [1, 2, 3])
    async def test_the_direct_attempt_counts(
        self, make_port: MakePort, monkeypatch: pytest.MonkeyPatch, attempts: int, fault: Any
    ) -> None:
        with WireServer(fault, http(200, b"{}"), *[fault] * 5) as server:
            monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
            theirs = await complaint(make_port(max_attempts=1), "get_item")
            port = await warmed(make_port, "get_item", max_attempts=attempts)
            assert await complaint(port, "get_item") == theirs
            assert len(server.requests) == 2 + attempts

    async def test_only_what_was_tried_directly_counts(
        self, make_port: MakePort, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        fault = http(500, b"{}")
        with WireServer(http(200, b"{}"), fault, http(200, b"{}"), fault, http(200, b"{}")) as server:
            monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
            port = await warmed(make_port, "get_item", max_attempts=2)
            await call(port, "get_item")
            await call(port, "query")
            assert len(server.requests) == 5

    async def test_a_refusal_is_not_tried_again(self, make_port: MakePort, monkeypatch: pytest.MonkeyPatch) -> None:
        refusal = http(400, b'{"__type": "x#ConditionalCheckFailedException", "message": "no"}')
        with WireServer(http(200, b"{}"), refusal, http(200, b"{}")) as server:
            monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
            port = await warmed(make_port, "update_item")
            assert (await complaint(port, "update_item"))["code"] == "ConditionalCheckFailedException"
            assert len(server.requests) == 2

    @pytest.mark.parametrize("header", ["x-amz-id: 1", "x-amz-crc32: 1"])
    async def test_a_cut_answer_is_not_asked_for_again(
        self, make_port: MakePort, monkeypatch: pytest.MonkeyPatch, header: str
    ) -> None:
        with WireServer(http(200, b"{}"), http(200, b'{"It', header), http(200, b"{}")) as server:
            monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
            port = await warmed(make_port, "update_item")
            told = await complaint(port, "update_item")
            assert (told["transient"], told["ambiguous"], len(server.requests)) == (True, True, 2)


def test_connections_are_the_client_s(monkeypatch: pytest.MonkeyPatch) -> None:
    """One connection carries what botocore sends and what is sent directly."""
    accepted = []
    listener = socket.create_server(("127.0.0.1", 0))

    async def main() -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            accepted.append(writer)
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))
                await reader.readexactly(int(length.split(b":")[1]))
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

        server = await asyncio.start_server(serve, sock=listener)
        port = AsyncAws(ManualClock())
        for _ in range(4):
            await call(port, "get_item")
        await port.close()
        server.close()
        for writer in accepted:
            writer.close()

    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{listener.getsockname()[1]}")
    asyncio.run(main())
    assert len(accepted) == 1
