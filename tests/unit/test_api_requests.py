"""Requests that are not as they should be: what of them is refused, and in which words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from taskq_sls.brokers.base import EntryError
from tests.support.api import Served, served
from tests.unit.test_api_tasks import RESIZE, kind, waiting

JSON = b'{"task": "shop:resize", "args": ["a.png"]}'


@pytest.fixture
def api() -> Iterator[Served]:
    with served() as one:
        yield one


# -- bodies -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "application/xml", None])
def test_a_body_that_is_not_said_to_be_json_is_told_what_to_say(api: Served, content_type: str | None) -> None:
    headers = {} if content_type is None else {"Content-Type": content_type}
    answer = api.client.post("/v1/tasks", content=JSON, headers=headers)

    assert (answer.status_code, kind(answer)) == (415, "unsupported-media-type")
    assert "Content-Type: application/json" in answer.json()["detail"]
    assert waiting(api) == []


@pytest.mark.parametrize("content_type", ["application/json; charset=utf-8", "application/vnd.shop+json"])
def test_json_by_another_name_is_json(api: Served, content_type: str) -> None:
    assert api.client.post("/v1/tasks", content=JSON, headers={"Content-Type": content_type}).status_code == 202


def test_a_compressed_body_is_not_read(api: Served) -> None:
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    answer = api.client.post("/v1/tasks", content=b"\x1f\x8b\x08\x00", headers=headers)

    assert (answer.status_code, kind(answer)) == (415, "unsupported-media-type")
    assert "gzip" in answer.json()["detail"]


@pytest.mark.parametrize("body", [b'{"task": "\xff"}', b"[" * 100_000])
def test_a_body_that_cannot_be_read_is_told_why(api: Served, body: bytes) -> None:
    answer = api.client.post("/v1/tasks", content=body, headers={"Content-Type": "application/json"})

    assert (answer.status_code, kind(answer)) == (400, "bad-request")
    assert answer.json()["detail"] == "the body is not JSON in UTF-8, or is nested too deeply"


@pytest.mark.parametrize("action", ["cancel", "retry"])
def test_what_needs_no_body_has_one_schema_for_it_so_that_generated_clients_may_leave_it_out(
    api: Served, action: str
) -> None:
    body = api.client.get("/v1/openapi.json").json()["paths"][f"/v1/tasks/{{id}}/{action}"]["post"]["requestBody"]

    assert not body.get("required")
    assert body["content"]["application/json"]["schema"]["$ref"].endswith("Task")
    assert kind(api.client.post(f"/v1/tasks/some/{action}")) == "no-record"


@pytest.mark.parametrize(
    ("entry", "name"),
    [({"task": "shop:internal"}, "not-over-http"), ({"task": "shop:none"}, "not-found"), ({**RESIZE, "delay": -1}, "invalid")],
)  # fmt: skip
def test_of_a_batch_the_entry_that_is_wrong_is_named(api: Served, entry: dict[str, Any], name: str) -> None:
    answer = api.client.post("/v1/tasks/batch", json={"tasks": [RESIZE, entry, RESIZE]})

    assert kind(answer) == name
    assert answer.json()["detail"].startswith("entry 1: ")
    assert answer.json()["detail"].endswith("; nothing was sent")
    assert waiting(api) == []


def test_what_aws_said_of_a_task_that_was_not_sent_is_in_the_log_alone(
    api: Served, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def refuse(messages: Any) -> Any:
        return [EntryError("AccessDenied", "arn:aws:secret") for _ in messages]

    monkeypatch.setattr(api.memory.broker, "send", refuse)
    answer = api.client.post("/v1/tasks", json=RESIZE)

    assert (answer.status_code, kind(answer)) == (503, "not-sent")
    assert answer.json()["failed"][0]["code"] == "AccessDenied"
    assert "secret" not in answer.text
    assert "secret" in caplog.text


# -- addresses --------------------------------------------------------------------------------------------------


def test_a_method_that_is_not_allowed_is_told_all_that_are(api: Served) -> None:
    answer = api.client.put("/v1/tasks")

    assert (answer.status_code, kind(answer)) == (405, "method-not-allowed")
    assert answer.headers["allow"] == "GET, HEAD, POST"


@pytest.mark.parametrize("path", ["/v1/health", "/v1/tasks"])
def test_the_headers_alone_can_be_asked_for(api: Served, path: str) -> None:
    whole, headers = api.client.get(path), api.client.head(path)

    assert (headers.status_code, headers.content) == (200, b"")
    assert headers.headers == whole.headers


def test_a_path_that_there_is_not_says_where_to_look(api: Served) -> None:
    answer = api.client.get("/v1/taks")

    assert (answer.status_code, kind(answer)) == (404, "not-found")
    assert "/v1/openapi.json" in answer.json()["detail"]


@pytest.mark.parametrize("path", ["/v1/tasks?stauts=FAILED", "/v1/dead-letters?reson=exhausted", "/v1/queues?name=x"])
def test_a_filter_that_is_misspelt_does_not_show_everything(api: Served, path: str) -> None:
    answer = api.client.get(path)

    assert kind(answer) == "invalid"
    assert path.partition("?")[2].partition("=")[0] in answer.json()["detail"]


def test_a_signature_in_the_address_is_no_filter(api: Served) -> None:
    assert api.client.get("/v1/tasks?X-Amz-Signature=abc").status_code == 200


@pytest.mark.parametrize("since", ["2026", "1795331159", "1795331159.5", "2026-11-22T00:00:00"])
def test_a_time_is_written_whole(api: Served, since: str) -> None:
    for path in ("/v1/tasks", "/v1/metrics/history"):
        assert kind(api.client.get(path, params={"since": since})) == "invalid"


def test_the_times_of_a_schedule_are_written_whole(api: Served) -> None:
    body = {"task": "shop:resize", "args": ["a.png"], "expression": "rate(1 day)", "start": 2027}

    assert "ISO 8601" in api.client.post("/v1/schedules", json=body).json()["detail"]


@pytest.mark.parametrize("path", ["/v1/tasks", "/v1/dead-letters"])
def test_who_may_not_see_a_label_may_not_guess_it(api: Served, path: str) -> None:
    answer = api.client.get(path, params={"label": "Password=hunter2"})

    assert kind(answer) == "invalid"
    assert "hunter2" not in answer.text


@pytest.mark.parametrize("path", ["/v1/dead-letters/redrive", "/v1/dead-letters/purge"])
def test_nor_may_who_chooses_dead_letters_by_it(api: Served, path: str) -> None:
    answer = api.client.post(path, json={"labels": {"Password": "hunter2"}, "dry_run": True})

    assert kind(answer) == "invalid"
    assert "hunter2" not in answer.text
