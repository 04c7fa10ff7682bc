"""Tasks over HTTP: sent, once per idempotency key, looked at, waited for, cancelled, run again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from taskq_sls import Queue, Retry, TaskQ
from taskq_sls.core.redaction import MASK
from taskq_sls.errors import AwsError
from taskq_sls.payloads.memory import MemoryPayloads
from taskq_sls.web.limits import (
    MAX_ANSWER_BYTES,
    MAX_BATCH_TASKS,
    MAX_PAGE_RECORDS,
    MAX_REQUEST_BYTES,
    MAX_WAIT_SECONDS,
)
from tests.support.api import Served, served

RESIZE = {"task": "shop:resize", "args": ["a.png"], "kwargs": {"width": 200}}

KEY = {"Idempotency-Key": "order-4711"}


@pytest.fixture
def api() -> Iterator[Served]:
    with served() as one:
        yield one


def waiting(api: Served, queue: str = "default") -> list[dict[str, Any]]:
    return [json.loads(one.body) for one in api.memory.broker.messages(queue)]


def kind(answer: Any) -> str:
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == answer.status_code
    return str(problem["type"]).removeprefix("urn:taskq:problem:")


# -- sending ----------------------------------------------------------------------------------------------------


def test_a_task_is_in_the_queue_when_the_answer_comes(api: Served) -> None:
    answer = api.client.post("/v1/tasks", json={**RESIZE, "labels": {"tenant": "7"}})

    [message] = waiting(api)
    assert answer.status_code == 202
    assert answer.json() == {"id": message["id"], "task": "shop:resize", "queue": "default", "existing": False}
    assert answer.headers["location"] == f"/v1/tasks/{message['id']}"
    assert (message["args"], message["kwargs"], message["labels"]) == (["a.png"], {"width": 200}, {"tenant": "7"})


def test_only_tasks_declared_for_http_can_be_sent(api: Served) -> None:
    answer = api.client.post("/v1/tasks", json={"task": "shop:internal"})
    batch = api.client.post("/v1/tasks/batch", json={"tasks": [RESIZE, {"task": "shop:internal"}]})
    schedule = api.client.post("/v1/schedules", json={"task": "shop:internal", "expression": "rate(1 day)"})

    assert [kind(one) for one in (answer, batch, schedule)] == ["not-over-http"] * 3
    assert waiting(api) == []


def test_a_task_that_there_is_not_is_not_found(api: Served) -> None:
    assert kind(api.client.post("/v1/tasks", json={"task": "shop:none"})) == "not-found"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"args": ["a.png", "wide"], "kwargs": {}}, "the parameter 'width' got 'wide'"),
        ({"args": []}, "missing a required argument: 'path'"),
        ({"queue": "none"}, "'none' is not declared"),
        ({"delay": -1}, "delay=-1.0 must be 0"),
        ({"group": "a b"}, "group='a b'"),
        ({"priority": 1}, "body.priority: Extra inputs are not permitted"),
        ({"id": "a b"}, "body.id: String should match pattern"),
        ({"unique": "maybe"}, "body.unique"),
    ],
)
def test_what_is_wrong_is_named_and_nothing_is_sent(api: Served, change: dict[str, Any], says: str) -> None:
    answer = api.client.post("/v1/tasks", json={**RESIZE, **change})

    assert kind(answer) == "invalid"
    assert says in answer.json()["detail"]
    assert waiting(api) == []


def test_a_body_that_is_not_valid_is_not_repeated(api: Served) -> None:
    answer = api.client.post("/v1/tasks", json={"task": "shop:login", "kwargs": "hunter2"})

    assert kind(answer) == "invalid"
    assert "hunter2" not in answer.text


@pytest.mark.parametrize("body", ["{", '{"task": "shop:resize", "args": ["\\ud800"]}', '{"task": "shop:resize", "args": [NaN]}', "[" * 5_000, "\xff"])  # fmt: skip
def test_a_body_that_no_message_can_carry_is_refused(api: Served, body: str) -> None:
    headers = {"Content-Type": "application/json"}
    answer = api.client.post("/v1/tasks", content=body.encode("latin-1"), headers=headers)

    assert answer.status_code in (400, 422)
    assert kind(answer) in ("bad-request", "invalid")


def test_a_taken_unique_key_is_answered_as_it_was_asked_for(api: Served) -> None:
    first = api.client.post("/v1/tasks", json={**RESIZE, "unique_key": "a"}).json()
    second = api.client.post("/v1/tasks", json={**RESIZE, "unique_key": "a"}).json()
    third = api.client.post("/v1/tasks", json={**RESIZE, "unique_key": "a", "unique": "raise"})

    assert second == {**first, "existing": True}
    assert kind(third) == "duplicate-task"
    assert len(waiting(api)) == 1


def test_a_task_of_a_fifo_queue_goes_there_with_its_group(api: Served) -> None:
    api.client.post("/v1/tasks", json={"task": "shop:book", "args": ["7"]})

    assert [one.group for one in api.memory.broker.messages("ledger.fifo")] == ["books"]


# -- batches ----------------------------------------------------------------------------------------------------


def test_a_batch_is_sent_in_the_order_given(api: Served) -> None:
    tasks = [{"task": "shop:resize", "args": [f"{number}.png"]} for number in range(25)]

    answer = api.client.post("/v1/tasks/batch", json={"tasks": tasks})

    assert answer.status_code == 202
    by_id = {one["id"]: one["args"] for one in waiting(api)}
    assert [by_id[one["id"]] for one in answer.json()["tasks"]] == [one["args"] for one in tasks]


def test_a_batch_with_a_fault_is_not_sent_at_all(api: Served) -> None:
    answer = api.client.post("/v1/tasks/batch", json={"tasks": [RESIZE, {"task": "shop:resize"}]})

    assert kind(answer) == "invalid"
    assert "entry 1:" in answer.json()["detail"]
    assert waiting(api) == []


@pytest.mark.parametrize("tasks", [[], [RESIZE] * (MAX_BATCH_TASKS + 1), [{**RESIZE, "id": "same"}] * 2])
def test_a_batch_has_its_bounds(api: Served, tasks: list[Any]) -> None:
    assert kind(api.client.post("/v1/tasks/batch", json={"tasks": tasks})) == "invalid"
    assert waiting(api) == []


def test_what_no_queue_accepts_is_named(api: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(messages: Any) -> Any:
        raise AwsError("send_message_batch", "ServiceUnavailable", "account 123456789012", status=503, transient=True)

    monkeypatch.setattr(api.memory.broker, "send", refuse)
    answer = api.client.post("/v1/tasks", json=RESIZE)

    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"


# -- idempotency ------------------------------------------------------------------------------------------------


def test_a_request_that_comes_again_makes_no_second_task(api: Served) -> None:
    answers = [api.client.post("/v1/tasks", json=RESIZE, headers=KEY) for _ in range(3)]

    assert len({answer.json()["id"] for answer in answers}) == 1
    assert [answer.headers.get("idempotency-replayed") for answer in answers] == [None, "true", "true"]
    assert len(waiting(api)) == 1


def test_a_key_belongs_to_one_content(api: Served) -> None:
    api.client.post("/v1/tasks", json=RESIZE, headers=KEY)

    answer = api.client.post("/v1/tasks", json={**RESIZE, "args": ["b.png"]}, headers=KEY)

    assert kind(answer) == "key-reused"
    assert len(waiting(api)) == 1


def test_a_key_belongs_to_one_caller(api: Served) -> None:
    ids = [one.post("/v1/tasks", json=RESIZE, headers=KEY).json()["id"] for one in (api.client, api.sender)]

    assert len(set(ids)) == 2


def test_a_key_is_remembered_for_a_day_also_when_the_task_is_over(api: Served) -> None:
    first = api.client.post("/v1/tasks", json=RESIZE, headers=KEY).json()
    api.memory.run_until_idle()
    api.memory.travel(86_000)
    assert api.client.post("/v1/tasks", json=RESIZE, headers=KEY).json() == first
    assert waiting(api) == []

    api.memory.travel(500)
    api.client.post("/v1/tasks", json=RESIZE, headers=KEY)
    assert len(waiting(api)) == 1


def test_a_batch_that_comes_again_has_the_same_ids(api: Served) -> None:
    batch = {"tasks": [RESIZE, RESIZE]}
    answers = [api.client.post("/v1/tasks/batch", json=batch, headers=KEY).json() for _ in range(2)]

    assert answers[0] == answers[1]
    assert len({one["id"] for one in answers[0]["tasks"]}) == len(waiting(api)) == 2


def test_the_key_of_a_request_that_was_not_sent_is_free_again(api: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as broken:

        async def refuse(messages: Any) -> Any:
            raise AwsError("send_message_batch", "AccessDenied", "no", status=403)

        broken.setattr(api.memory.broker, "send", refuse)
        assert api.client.post("/v1/tasks", json=RESIZE, headers=KEY).status_code >= 500

    api.memory.travel(1)
    assert api.client.post("/v1/tasks", json=RESIZE, headers=KEY).status_code == 202
    assert len(waiting(api)) == 1


def test_a_request_that_broke_off_can_be_repeated_after_a_minute(api: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as broken:

        async def lost(*arguments: Any, **options: Any) -> bool:
            raise RuntimeError("the container was frozen")

        broken.setattr(api.memory.results, "confirm_key", lost)
        assert kind(api.client.post("/v1/tasks", json=RESIZE, headers=KEY)) == "internal"

    api.memory.travel(10)
    early = api.client.post("/v1/tasks", json=RESIZE, headers=KEY)
    assert kind(early) == "request-in-progress"
    assert early.headers["retry-after"] == "50"
    api.memory.travel(50)
    late = api.client.post("/v1/tasks", json=RESIZE, headers=KEY)

    assert late.status_code == 202
    assert {one["id"] for one in waiting(api)} == {late.json()["id"]}, "the claim makes the two one"
    assert api.client.post("/v1/tasks", json=RESIZE, headers=KEY).headers["idempotency-replayed"] == "true"


@pytest.mark.parametrize("more", [{"id": "mine"}, {"unique_key": "mine"}])
def test_a_key_and_another_name_for_the_task_do_not_go_together(api: Served, more: dict[str, str]) -> None:
    assert kind(api.client.post("/v1/tasks", json={**RESIZE, **more}, headers=KEY)) == "invalid"


@pytest.mark.parametrize("key", ["", "a b", "x" * 201])
def test_a_key_is_printable_text_of_bounded_length(api: Served, key: str) -> None:
    answer = api.client.post("/v1/tasks", json=RESIZE, headers={"Idempotency-Key": key})

    assert kind(answer) == "invalid"


def test_a_wrong_request_does_not_take_its_key(api: Served) -> None:
    api.client.post("/v1/tasks", json={**RESIZE, "args": []}, headers=KEY)

    assert api.client.post("/v1/tasks", json=RESIZE, headers=KEY).status_code == 202


def test_a_task_that_was_sent_is_answered_so_even_where_its_key_could_not_be_confirmed(
    api: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*arguments: Any) -> bool:
        raise AwsError("update_item", "ThrottlingException", "slow down", status=400, transient=True)

    monkeypatch.setattr(api.memory.results, "confirm_key", fail)

    assert api.client.post("/v1/tasks", json=RESIZE, headers=KEY).status_code == 202


# -- looking ----------------------------------------------------------------------------------------------------


def sent(api: Served, **more: Any) -> str:
    id: str = api.client.post("/v1/tasks", json={**RESIZE, **more}).json()["id"]
    return id


def test_a_task_is_shown_with_its_result(api: Served) -> None:
    id = sent(api, labels={"tenant": "7"})
    api.memory.run_until_idle()

    task = api.client.get(f"/v1/tasks/{id}").json()

    assert (task["status"], task["done"], task["attempt"]) == ("SUCCEEDED", True, 1)
    assert (task["result"], task["result_state"]) == ({"path": "a.png", "width": 200}, "present")
    assert task["labels"] == {"tenant": "7"}
    assert task["enqueued_at"] == "2027-01-15T08:00:00Z"


@pytest.mark.parametrize("id", ["order/4711", "a/cancel", "a:b@c.d=e+f", "retry"])
def test_ids_with_any_character_can_be_asked_for(api: Served, id: str) -> None:
    location = api.client.post("/v1/tasks", json={**RESIZE, "id": id}).headers["location"]

    assert api.client.get(location).json()["id"].endswith(f"-{id}")
    assert api.client.post(f"{location}/cancel").json() == {"answer": "cancelled", "status": "CANCELLED"}
    assert api.client.get(location).json()["status"] == "CANCELLED"


def test_a_task_without_a_record_is_told_as_such(api: Served) -> None:
    answer = api.client.get("/v1/tasks/unknown")

    assert kind(answer) == "no-record"
    assert "has not started yet" in answer.json()["detail"]


def test_a_wait_ends_with_the_task(api: Served) -> None:
    id = sent(api)

    assert api.client.get(f"/v1/tasks/{id}?wait=10").json()["done"] is True


def test_a_wait_ends_when_its_time_is_over(api: Served) -> None:
    id = sent(api, delay=600)
    before = api.memory.clock.time()

    answer = api.client.get(f"/v1/tasks/{id}?wait={MAX_WAIT_SECONDS}")

    assert (answer.status_code, answer.json()["done"], answer.json()["status"]) == (200, False, "QUEUED")
    assert api.memory.clock.time() - before < 600, "it did not wait for the task"


def test_nobody_waits_longer_than_the_front_does(api: Served) -> None:
    assert kind(api.client.get(f"/v1/tasks/x?wait={MAX_WAIT_SECONDS + 1}")) == "invalid"


def test_failures_are_shown_whole_alone_and_short_in_a_listing() -> None:
    app = TaskQ("shop")

    @app.task(name="shop:fail", http=True, retry=Retry(max_attempts=1))
    def fail() -> None:
        raise ValueError("x" * 10_000)

    with served(app) as api:
        id = api.client.post("/v1/tasks", json={"task": "shop:fail"}).json()["id"]
        api.memory.run_until_idle()
        [row] = api.client.get("/v1/tasks?status=FAILED").json()["tasks"]
        task = api.client.get(f"/v1/tasks/{id}").json()

    assert (len(row["error"]["message"]), row["error"]["traceback"]) == (2_000, None)
    assert len(task["error"]["message"]) == 10_000
    assert "Traceback" in task["error"]["traceback"]


def test_a_listing_has_filters_and_pages(api: Served) -> None:
    for number in range(7):
        sent(api, id=f"task-{number}", labels={"parity": str(number % 2)})
        api.memory.travel(1)
    api.memory.run_until_idle()

    def ids(query: str) -> list[str]:
        found: list[str] = []
        cursor: str | None = ""
        while cursor is not None:
            page = api.client.get(f"/v1/tasks?{query}{cursor and '&cursor='}{cursor}").json()
            found += [one["id"].split("-", 2)[2] for one in page["tasks"]]
            cursor = page["cursor"] and page["cursor"].replace("#", "%23")
        return found

    everything = [f"task-{number}" for number in reversed(range(7))]
    assert ids("limit=2&task=shop:resize") == everything
    assert sorted(ids("limit=3&status=SUCCEEDED"), reverse=True) == everything
    assert ids("limit=2&label=parity=1&task=shop:resize") == ["task-5", "task-3", "task-1"]
    assert ids("status=FAILED") == []
    assert ids("task=shop:login") == []
    assert ids("since=2027-01-15T08:00:05Z") == ["task-6", "task-5"]
    assert ids("until=2027-01-15T08:00:01Z") == ["task-0"]


@pytest.mark.parametrize(
    "query",
    ["status=DONE", "limit=0", f"limit={MAX_PAGE_RECORDS + 1}", "cursor=x", "since=yesterday", "since=0001-01-01T00:00:00Z", "label=x"],
)  # fmt: skip
def test_a_filter_that_is_none_is_refused(api: Served, query: str) -> None:
    assert kind(api.client.get(f"/v1/tasks?{query}")) == "invalid"


# -- answers that fit -------------------------------------------------------------------------------------------


def large_app() -> TaskQ:
    app = TaskQ("shop", queues=[Queue("default")])

    @app.task(name="shop:large", http=True)
    def large(size: int) -> str:
        return '"' * size

    return app


@pytest.mark.parametrize(("size", "state"), [(500_000, "present"), (MAX_ANSWER_BYTES, "too_large")])
def test_an_answer_fits_through_lambda_s_front(size: int, state: str) -> None:
    app = large_app()
    with served(app) as api:
        api.memory._bucket = True
        id = api.client.post("/v1/tasks", json={"task": "shop:large", "args": [size]}).json()["id"]
        api.memory.run_until_idle()
        answer = api.client.get(f"/v1/tasks/{id}")

    assert answer.json()["result_state"] == state
    assert answer.json()["result_key"] is not None
    assert len(json.dumps({"body": answer.text})) < 6_000_000, "Lambda escapes the body once more"


def test_a_result_that_is_gone_from_the_bucket_is_told_as_such() -> None:
    with served(large_app()) as api:
        api.memory._bucket = True
        id = api.client.post("/v1/tasks", json={"task": "shop:large", "args": [500_000]}).json()["id"]
        api.memory.run_until_idle()
        assert api.client.get(f"/v1/tasks/{id}?result=false").json()["result_state"] == "too_large"
        assert isinstance(api.memory.payloads, MemoryPayloads)
        api.memory.payloads._objects.clear()

        assert api.client.get(f"/v1/tasks/{id}").json()["result_state"] == "missing"


@pytest.mark.parametrize("declared", [True, False])
def test_a_request_has_the_size_that_lambda_takes(api: Served, declared: bool) -> None:
    body = json.dumps({**RESIZE, "args": ["x" * MAX_REQUEST_BYTES]}).encode()
    headers = {"Content-Type": "application/json"}
    content: Any = body if declared else (body[start : start + 1_000_000] for start in range(0, len(body), 1_000_000))

    answer = api.client.post("/v1/tasks", content=content, headers=headers)

    assert kind(answer) == "too-large"
    assert f"the body is above {MAX_REQUEST_BYTES:,} bytes" in answer.json()["detail"]


def test_a_message_has_the_size_that_sqs_takes(api: Served) -> None:
    assert kind(api.client.post("/v1/tasks", json={**RESIZE, "args": ["x" * 1_100_000]})) == "too-large"


# -- cancelling and retrying ------------------------------------------------------------------------------------


def test_a_task_is_cancelled_before_it_starts(api: Served) -> None:
    id = sent(api)

    assert api.client.post(f"/v1/tasks/{id}/cancel").json() == {"answer": "cancelled", "status": "CANCELLED"}
    api.memory.run_until_idle()
    assert api.client.get(f"/v1/tasks/{id}").json()["status"] == "CANCELLED"
    assert api.client.post(f"/v1/tasks/{id}/retry", json={}).status_code == 202


def test_a_task_without_a_record_is_cancelled_by_its_name(api: Served) -> None:
    assert kind(api.client.post("/v1/tasks/early/cancel")) == "no-record"
    answer = api.client.post("/v1/tasks/early/cancel", json={"task": "shop:resize"})
    assert answer.json()["answer"] == "cancelled"


def test_a_failed_task_is_run_again_with_its_own_arguments(api: Served) -> None:
    id = api.client.post("/v1/tasks", json={"task": "shop:login", "args": ["mallory", "x"]}).json()["id"]
    api.memory.run_until_idle()
    assert api.client.get(f"/v1/tasks/{id}").json()["status"] == "FAILED"

    answer = api.client.post(f"/v1/tasks/{id}/retry", json={"args": ["ann", "x"]})

    assert (answer.status_code, answer.json()["id"], answer.json()["run"]) == (202, id, 1)
    api.memory.run_until_idle()
    assert api.client.get(f"/v1/tasks/{id}").json()["status"] == "SUCCEEDED"


def test_a_task_that_succeeded_is_sent_anew_with_its_arguments_or_others(api: Served) -> None:
    id = sent(api)
    api.memory.run_until_idle()

    again = api.client.post(f"/v1/tasks/{id}/retry").json()["id"]
    api.memory.run_until_idle()
    shown = [api.client.get(f"/v1/tasks/{one}").json() for one in (id, again)]
    assert again != id
    assert shown[0]["arguments"] == shown[1]["arguments"] is not None
    answer = api.client.post(f"/v1/tasks/{id}/retry", json={"args": ["b.png"]}).json()
    assert answer["parent"] == id != answer["id"]


@pytest.mark.parametrize("body", [{"args": [2]}, {}], ids=["given", "recorded"])
def test_a_task_that_is_not_for_http_is_not_sent_anew_whoever_gives_its_arguments(body: dict[str, Any]) -> None:
    app = TaskQ("shop")

    @app.task(name="shop:internal")
    def internal(number: int) -> None: ...

    with served(app) as api:
        id = internal.enqueue(1).id
        api.memory.run_until_idle()
        assert api.client.get(f"/v1/tasks/{id}").json()["arguments"] == {"args": [1], "kwargs": {}}

        assert kind(api.client.post(f"/v1/tasks/{id}/retry", json=body)) == "not-over-http"
        assert waiting(api) == []


def test_a_hidden_value_is_not_sent_in_place_of_the_real_one(api: Served) -> None:
    id = api.client.post("/v1/tasks", json={"task": "shop:login", "args": ["mallory", "x"]}).json()["id"]
    api.memory.run_until_idle()

    answer = api.client.post(f"/v1/tasks/{id}/retry", json={"args": ["ann", MASK]})

    assert kind(answer) == "invalid"


# -- hidden values ----------------------------------------------------------------------------------------------


def test_hidden_values_are_shown_nowhere() -> None:
    app = TaskQ("shop", redact=["card"])

    @app.task(name="shop:pay", http=True, retry=Retry(max_attempts=1))
    def pay(amount: int, card: str) -> dict[str, Any]:
        if not amount:
            raise ValueError("nothing to pay")
        return {"amount": amount, "Card": card}

    body = {"task": "shop:pay", "args": [5, "4111"], "labels": {"card": "4111", "tenant": "7"}}
    with served(app) as api:
        good = api.client.post("/v1/tasks", json=body).json()["id"]
        api.client.post("/v1/tasks", json={**body, "args": [0, "4111"]})
        api.memory.run_until_idle()
        task = api.client.get(f"/v1/tasks/{good}").json()
        listing = api.client.get("/v1/tasks")
        letters = api.client.get("/v1/dead-letters")
        [letter] = letters.json()["dead_letters"]
        whole = api.client.get(f"/v1/dead-letters/default/{letter['message_id']}")

    assert task["result"] == {"amount": 5, "Card": MASK}
    assert task["labels"] == {"card": MASK, "tenant": "7"}
    assert whole.json()["args"] == [0, MASK]
    assert "4111" not in json.dumps(task) + listing.text + letters.text + whole.text
