"""The API as Lambda calls it, with the events of every front, over AWS emulated by moto."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

import pytest
from moto import mock_aws

from taskq_sls import ConfigError, TaskQ
from taskq_sls.core.states import State
from taskq_sls.results.records import TaskRecord
from taskq_sls.web import ApiHandler
from taskq_sls.web.auth.tokens import SCOPES, new_token
from tests.support.http_events import ARN, FRONTS
from tests.unit.test_api_guard import Context

Front = Callable[..., dict[str, Any]]

Ask = Callable[..., tuple[int, Any, dict[str, Any]]]


@pytest.fixture(params=FRONTS)
def front(request: pytest.FixtureRequest) -> Front:
    return FRONTS[request.param]


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> Iterator[TaskQ]:
    for name, value in (("AWS_ACCESS_KEY_ID", "x"), ("AWS_SECRET_ACCESS_KEY", "x"), ("AWS_DEFAULT_REGION", "eu-central-1")):  # fmt: skip
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with mock_aws():
        app = TaskQ("shop", record="queued")

        @app.task(name="shop:resize", http=True)
        def resize(path: str, width: int = 100) -> str:
            return f"{path}@{width}"

        from taskq_sls.cli.deploy import provision_app

        provision_app(app)
        yield app


@pytest.fixture
def token() -> tuple[str, dict[str, Any]]:
    token, digest = new_token()
    return token, {"ci": {"hash": digest, "scopes": list(SCOPES)}}


@pytest.fixture
def ask(app: TaskQ, front: Front, token: tuple[str, dict[str, Any]]) -> Iterator[Ask]:
    with app.api_handler(auth="tokens", tokens=token[1]) as handler:
        yield asking(handler, front, {"Authorization": f"Bearer {token[0]}"})


def asking(handler: ApiHandler, front: Front, headers: dict[str, str], **options: Any) -> Ask:
    def ask(method: str, path: str, body: Any = None, /, **query: str) -> tuple[int, Any, dict[str, Any]]:
        text = None if body is None else json.dumps(body)
        typed = headers if text is None else {**headers, "content-type": "application/json"}
        answer = handler(front(method, path, query, typed, text, **options), Context(30.0))
        json.dumps(answer)
        content = answer["body"]
        if answer["isBase64Encoded"]:
            content = base64.b64decode(content).decode()
        return answer["statusCode"], json.loads(content), answer.get("headers") or {}

    return ask


def test_a_task_goes_its_whole_way_behind_every_front(app: TaskQ, front: Front, ask: Ask) -> None:
    status, sent, headers = ask("POST", "/v1/tasks", {"task": "shop:resize", "args": ["ä.png"], "id": "order/4711"})
    id = sent["id"]
    assert (status, id.endswith("-order/4711")) == (202, True)
    stage = "/prod" if front is FRONTS["REST API"] else ""
    assert headers["location"] == f"{stage}/v1/tasks/{quote(id, safe='')}"
    assert headers["content-type"] == "application/json"

    assert ask("GET", f"/v1/tasks/{id}")[1]["status"] == "QUEUED"
    app.worker(burst=True, poll_wait=1).run()

    status, task, _ = ask("GET", f"/v1/tasks/{id}", wait="2")
    assert (status, task["status"], task["result"]) == (200, "SUCCEEDED", "ä.png@100")


def test_filters_arrive_as_they_were_given_behind_every_front(ask: Ask) -> None:
    labels = {"tenant": "a b&c=d+e"}
    _, sent, _ = ask("POST", "/v1/tasks", {"task": "shop:resize", "args": ["a.png"], "id": "one", "labels": labels})

    _, page, _ = ask(
        "GET", "/v1/tasks", label="tenant=a b&c=d+e", since="2020-01-01T00:00:00+01:00", task="shop:resize"
    )

    assert [one["id"] for one in page["tasks"]] == [sent["id"]]


def test_problems_arrive_as_such_behind_every_front(app: TaskQ, front: Front, ask: Ask) -> None:
    status, problem, headers = ask("GET", "/v1/tasks/unknown")
    assert (status, problem["type"]) == (404, "urn:taskq:problem:no-record")
    assert headers["content-type"] == "application/problem+json"

    with app.api_handler(auth="tokens", tokens={"ci": {"hash": "sha256:" + "0" * 64, "scopes": ["read"]}}) as closed:
        assert asking(closed, front, {"Authorization": "Bearer tq_wrong"})("GET", "/v1/tasks")[0] == 401


def test_several_requests_share_the_clients_of_their_container(ask: Ask) -> None:
    statuses = [ask("GET", "/v1/queues")[0] for _ in range(3)]

    assert statuses == [200, 200, 200]


@pytest.mark.parametrize("name", [name for name in FRONTS if name != "load balancer"])
def test_a_front_with_iam_tells_who_calls(app: TaskQ, name: str) -> None:
    with app.api_handler(auth="iam", iam_scopes=["read"]) as handler:
        signed = asking(handler, FRONTS[name], {"Authorization": "AWS4-HMAC-SHA256 Credential=x"}, iam=True)
        unsigned = asking(handler, FRONTS[name], {})

        assert signed("GET", "/v1/tasks")[0] == 200
        status, problem, _ = signed("POST", "/v1/tasks", {"task": "shop:resize", "args": ["a"]})
        assert (status, problem["type"]) == (403, "urn:taskq:problem:missing-scope")
        assert ARN in problem["detail"]
        assert unsigned("GET", "/v1/tasks")[0] == 401, "the front was left open, and the API is not"
        assert unsigned("GET", "/v1/health")[0] == 200


def test_a_path_that_the_front_puts_before_all_others_is_left_out(app: TaskQ) -> None:
    with app.api_handler(auth="iam", base_path="/tasks-api") as handler:
        ask = asking(handler, FRONTS["HTTP API"], {}, iam=True)

        assert ask("GET", "/tasks-api/v1/tasks")[0] == 200


@pytest.mark.parametrize(
    ("domain", "start"), [("a1b2c3.execute-api.eu-central-1.amazonaws.com", "/prod"), ("api.example.com", "")]
)
def test_the_stage_of_an_http_api_is_left_out(app: TaskQ, domain: str, start: str) -> None:
    def staged(method: str, path: str, *arguments: Any, **options: Any) -> dict[str, Any]:
        event = FRONTS["HTTP API"](method, path, *arguments, **options)
        event["requestContext"] |= {"stage": "prod", "domainName": domain}
        return event

    with app.api_handler(auth="iam") as handler:
        ask = asking(handler, staged, {}, iam=True)
        status, sent, headers = ask("POST", "/prod/v1/tasks", {"task": "shop:resize", "args": ["a.png"]})

        assert (status, headers["location"]) == (202, f"{start}/v1/tasks/{sent['id']}")
        assert ask("GET", "/v1/tasks")[0] == 200
        assert ask("GET", "/product/v1/tasks")[0] == 404


def test_the_location_behind_a_rest_api_has_its_stage(app: TaskQ) -> None:
    with app.api_handler(auth="iam", base_path="tasks-api/") as handler:
        ask = asking(handler, FRONTS["REST API"], {}, iam=True)
        sent, headers = ask("POST", "/tasks-api/v1/tasks", {"task": "shop:resize", "args": ["a.png"]})[1:]

        assert headers["location"] == f"/prod/tasks-api/v1/tasks/{sent['id']}"


@pytest.mark.parametrize(
    "change",
    [{"host": "shop:door"}, {"host": "[::1]:80"}, {"x-forwarded-port": "many"}, {"body": "abcde"}],
    ids=["host", "address", "port", "body"],
)
def test_a_request_that_cannot_be_read_is_the_caller_s_fault(app: TaskQ, front: Front, change: dict[str, str]) -> None:
    event = front("POST", "/v1/tasks", {}, {}, "{}")
    for name, value in change.items():
        if name == "body":
            event |= {"body": value, "isBase64Encoded": True}
            continue
        event["headers"][name] = value
        if "multiValueHeaders" in event:
            event["multiValueHeaders"][name] = [value]
    with app.api_handler(auth="iam") as handler:
        answer = handler(event, Context(30.0))

    assert (answer["statusCode"], json.loads(answer["body"])["type"]) == (400, "urn:taskq:problem:bad-request")
    assert answer["headers"]["content-type"] == "application/problem+json"
    assert answer["headers"]["x-content-type-options"] == "nosniff"


def test_headers_of_a_load_balancer_that_gives_them_all_are_answered_likewise(app: TaskQ) -> None:
    event = FRONTS["load balancer"]("GET", "/v1/tasks", {}, {"host": "shop:door"}, None)
    event["multiValueHeaders"] = {name: [value] for name, value in event.pop("headers").items()}
    with app.api_handler(auth="iam") as handler:
        answer = handler(event, Context(30.0))

    assert answer["multiValueHeaders"]["content-type"] == ["application/problem+json"]


@pytest.mark.parametrize(("name", "length"), [("function URL", 1_400_000), ("load balancer", 900_000)])
def test_what_a_front_would_not_carry_is_answered_by_a_problem(
    app: TaskQ, token: tuple[str, dict[str, Any]], monkeypatch: pytest.MonkeyPatch, name: str, length: int
) -> None:
    # A quote is two bytes in the body, and four in what Lambda gives back.
    record = TaskRecord(
        "a", "shop:resize", "default", State.SUCCEEDED, result_json=json.dumps({"x": '"' * (length // 2)})
    )
    headers = {"Authorization": f"Bearer {token[0]}"}
    with app.api_handler(auth="tokens", tokens=token[1]) as handler:

        async def get(*arguments: Any, **options: Any) -> TaskRecord:
            return record

        monkeypatch.setattr("taskq_sls.results.dynamodb.backend.DynamoResults.get", get)
        ask = asking(handler, FRONTS[name], headers)
        most = "MAX_LOAD_BALANCER_ANSWER_BYTES" if name == "load balancer" else "MAX_LAMBDA_ANSWER_BYTES"
        assert ask("GET", "/v1/tasks/a")[0] == (422 if name == "load balancer" else 200)
        monkeypatch.setattr(f"taskq_sls.web.serverless.{most}", 500_000)
        status, problem, _ = ask("GET", "/v1/tasks/a")

    assert (status, problem["type"]) == (422, "urn:taskq:problem:answer-too-large")


@pytest.mark.parametrize("event", [{"Records": []}, {}, None, {"requestContext": None}])
def test_an_event_that_is_no_request_says_what_this_handler_takes(app: TaskQ, event: Any) -> None:
    with app.api_handler(auth="iam") as handler, pytest.raises(ConfigError, match="takes events of a Function URL"):
        handler(event, None)


def test_clients_are_made_at_import_in_a_container(app: TaskQ, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "api")

    with app.api_handler(auth="iam") as handler:
        [services] = [made for by_waiting in app.services._by_loop.values() for made in by_waiting.values()]
        assert {"results", "broker"} <= set(vars(services))
        assert asking(handler, FRONTS["function URL"], {}, iam=True)("GET", "/v1/tasks")[0] == 200


def test_the_reference_app_has_a_handler(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib
    import sys

    monkeypatch.setenv("TASKQ_API_AUTH", "iam")
    sys.modules.pop("handlers.api", None)
    try:
        with importlib.import_module("handlers.api").handler as handler:
            status, answer, _ = asking(handler, FRONTS["function URL"], {})("GET", "/v1/health")
    finally:
        sys.modules.pop("handlers.api", None)

    assert (status, answer) == (200, {"status": "ok"})
