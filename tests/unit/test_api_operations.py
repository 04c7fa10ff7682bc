"""What operators do over HTTP: schedules, queues, workers, dead letters."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any, cast

import pytest

from taskq_sls import TaskQ
from taskq_sls.client.schedule_sync import sync
from taskq_sls.core.flow import call_sync
from taskq_sls.core.redaction import MASK
from taskq_sls.core.schedule_spec import ScheduleSpec
from taskq_sls.errors import AwsError, MissingResource
from taskq_sls.results.workers import WorkerReport
from tests.support.api import Served, served


@pytest.fixture
def api() -> Iterator[Served]:
    with served() as one:
        yield one


def kind(answer: Any) -> str:
    assert answer.headers["content-type"] == "application/problem+json"
    return str(answer.json()["type"]).removeprefix("urn:taskq:problem:")


# -- schedules --------------------------------------------------------------------------------------------------

DAILY = {"task": "shop:resize", "args": ["b.png"], "expression": "cron(0 9 * * ? *)", "timezone": "Europe/Berlin"}


def test_a_schedule_is_made_fires_and_tells_what_became_of_its_last_run(api: Served) -> None:
    created = api.client.post("/v1/schedules", json={**DAILY, "expression": "rate(5 minutes)", "id": "nightly"})
    name = created.json()["name"]
    api.memory.travel(301)
    api.memory.run_until_idle()

    schedule = api.client.get(f"/v1/schedules/{name}").json()

    assert created.status_code == 201
    assert (schedule["kind"], schedule["state"], schedule["task"]) == ("runtime", "on", "shop:resize")
    assert (schedule["expression"], schedule["queue"]) == ("rate(5 minutes)", "default")
    assert (schedule["last_run"], schedule["last_status"]) == ("2027-01-15T08:05:00Z", "SUCCEEDED")
    assert schedule["next_run"] == "2027-01-15T08:10:00Z"
    assert api.client.get(f"/v1/tasks/{schedule['last_task_id']}").json()["result"]["path"] == "b.png"


def test_making_a_schedule_again_with_its_id_makes_no_second_one(api: Served) -> None:
    names = {api.client.post("/v1/schedules", json={**DAILY, "id": "nightly"}).json()["name"] for _ in range(2)}

    assert len(names) == 1
    assert len(api.client.get("/v1/schedules").json()["schedules"]) == 1


def test_a_schedule_is_paused_resumed_and_deleted(api: Served) -> None:
    name = api.client.post("/v1/schedules", json=DAILY).json()["name"]

    def state() -> str:
        return str(api.client.get(f"/v1/schedules/{name}").json()["state"])

    assert api.client.post(f"/v1/schedules/{name}/pause").json() == {"name": name, "action": "paused"}
    assert state() == "paused"
    assert api.client.post(f"/v1/schedules/{name}/resume").json()["action"] == "resumed"
    assert state() == "on"
    assert api.client.delete(f"/v1/schedules/{name}").json()["action"] == "deleted"
    assert kind(api.client.get(f"/v1/schedules/{name}")) == "not-found"
    assert kind(api.client.post(f"/v1/schedules/{name}/pause")) == "not-found"


def test_declared_schedules_come_first_and_many_come_in_pages(api: Served) -> None:
    call_sync("sync", sync(api.app, api.app.services.blocking()))
    for number in range(105):
        assert api.client.post("/v1/schedules", json={**DAILY, "id": str(number)}).status_code == 201

    kinds: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        page = api.client.get("/v1/schedules", params={"cursor": cursor} if cursor else {}).json()
        kinds += [one["kind"] for one in page["schedules"]]
        cursor = page["cursor"]

    assert kinds == ["declared", *["runtime"] * 105]
    assert len(api.client.get("/v1/schedules?kind=declared").json()["schedules"]) == 1


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"expression": "every day"}, "is not an expression"),
        ({"expression": "rate(0 minutes)"}, "rate"),
        ({"timezone": "Europe/Nowhere"}, "Europe/Nowhere"),
        ({"args": []}, "missing a required argument"),
        ({"args": [5]}, "the parameter 'path'"),
        ({"delay": 5}, "body.delay"),
    ],
)
def test_what_is_wrong_with_a_schedule_is_named(api: Served, change: dict[str, Any], says: str) -> None:
    answer = api.client.post("/v1/schedules", json={**DAILY, **change})

    assert kind(answer) == "invalid"
    assert says in answer.json()["detail"]


def test_schedules_of_others_in_the_same_group_are_not_touched(api: Served) -> None:
    names = ["d-other.daily-12345678", "r-shop2.daily-12345678", "t-0123456789abcdef"]
    for name in names:
        spec = ScheduleSpec(name, "rate(1 day)", "UTC", "default", '{"task": "other:daily"}')
        assert call_sync("create", api.memory.schedules.create(spec))

    for name in names:
        for method, path in (("POST", "/pause"), ("DELETE", ""), ("GET", "")):
            assert kind(api.client.request(method, f"/v1/schedules/{name}{path}")) == "not-found"
    assert api.client.get("/v1/schedules").json()["schedules"] == []
    assert [call_sync("get", api.memory.schedules.get(name)) is None for name in names] == [False] * 3


def test_without_a_scheduler_the_answer_says_what_to_configure(api: Served) -> None:
    api.memory.scheduler = False
    api.app.services = cast(Any, type(api.app.services))(api.memory)

    answer = api.client.get("/v1/schedules")

    assert (answer.status_code, kind(answer)) == (501, "no-scheduler")
    assert "TASKQ_SCHEDULE_ROLE_ARN" in answer.json()["detail"]


@pytest.mark.parametrize("cursor", ["x", "runtime", "delays:", "runtime:x"])
def test_a_cursor_is_one_of_a_page_before(api: Served, cursor: str) -> None:
    answer = api.client.get("/v1/schedules", params={"cursor": cursor})

    assert answer.status_code in (200, 422), answer.text


# -- queues and workers -----------------------------------------------------------------------------------------


def test_queues_tell_how_full_they_are(api: Served) -> None:
    for number in range(3):
        api.client.post("/v1/tasks", json={"task": "shop:resize", "args": [str(number)]})
    api.client.post("/v1/tasks", json={"task": "shop:resize", "args": ["late"], "delay": 60})
    call_sync("receive", api.memory.broker.receive("default", max_messages=1, wait=0, visibility=60))

    queues = {one["name"]: one for one in api.client.get("/v1/queues").json()["queues"]}

    assert set(queues) >= {"default", "slow", "ledger.fifo"}
    default = queues["default"]
    assert (default["visible"], default["in_flight"], default["delayed"]) == (2, 1, 1)
    assert (default["oldest_age"], default["dead_letters"]) == (None, 0)


def test_workers_that_report_are_listed(api: Served) -> None:
    now = api.memory.clock.time()
    report = WorkerReport("shop", "w1", "host", 7, now - 100, now, 2, 10, 8, "0.1.0", ("default",))
    reports = api.memory.results.workers
    assert reports is not None
    asyncio.run(reports.beat(report))

    [worker] = api.client.get("/v1/workers").json()["workers"]
    metrics = api.client.get("/v1/metrics").json()

    assert (worker["id"], worker["running"], worker["queues"]) == ("w1", 2, ["default"])
    assert metrics["running"] == 2
    assert metrics["at"] == "2027-01-15T08:00:00Z"


def test_metrics_tell_what_failed_last(api: Served) -> None:
    api.client.post("/v1/tasks", json={"task": "shop:login", "args": ["mallory", "x"]})
    api.memory.run_until_idle()

    [failed] = api.client.get("/v1/metrics").json()["failed"]

    assert failed["task"] == "shop:login"


def test_the_history_of_metrics_counts_by_task_and_minute(api: Served) -> None:
    api.client.post("/v1/tasks", json={"task": "shop:login", "args": ["mallory", "x"]})
    api.client.post("/v1/tasks", json={"task": "shop:resize", "args": ["a.png"]})
    api.memory.run_until_idle()
    api.memory.travel(61)
    api.client.post("/v1/tasks", json={"task": "shop:resize", "args": ["a.png"]})
    api.memory.run_until_idle()

    found = api.client.get("/v1/metrics/history").json()
    one = api.client.get("/v1/metrics/history", params={"task": "shop:login"}).json()

    assert found["totals"]["succeeded"] >= 1
    assert one["totals"]["failed"] == 1
    assert [point["counters"]["failed"] for point in one["points"]].count(1) == 1
    assert {named["task"] for named in found["tasks"]} == {"shop:login", "shop:resize"}
    assert found["step"] == 60


def test_a_history_that_makes_no_sense_is_refused(api: Served) -> None:
    answer = api.client.get("/v1/metrics/history", params={"since": "2020-01-01T00:00:00Z", "step": 60})

    assert answer.status_code == 422
    assert "1,500" in answer.json()["detail"]


def test_readiness_names_what_does_not_work(api: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    async def missing(queue: str) -> Any:
        raise MissingResource(f"queue {queue}")

    assert api.client.get("/v1/ready").json()["ok"] is True
    monkeypatch.setattr(api.memory.broker, "depth", missing)
    answer = api.client.get("/v1/ready")

    assert (answer.status_code, kind(answer), answer.headers["retry-after"]) == (503, "not-ready", "5")
    assert {one["name"]: one["ok"] for one in answer.json()["checks"]} == {
        "table": True,
        "queue default": False,
        "queue slow": False,
        "queue ledger.fifo": False,
    }
    assert "queue slow: MissingResource" in answer.json()["detail"]


def test_readiness_does_not_wait_for_a_service_that_says_nothing(api: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    async def say_nothing(*arguments: Any, **options: Any) -> Any:
        await asyncio.Event().wait()

    monkeypatch.setattr("taskq_sls.web.routes.health.MAX_CHECK_SECONDS", 0.01)
    monkeypatch.setattr(api.memory.broker, "depth", say_nothing)
    monkeypatch.setattr(api.memory.results, "get", say_nothing)
    answer = api.client.get("/v1/ready")

    assert (answer.status_code, kind(answer)) == (503, "not-ready")
    assert {one["detail"] for one in answer.json()["checks"]} == {"no answer within 0 s"}


# -- faults -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "status", "name"),
    [
        (AwsError("get_item", "ThrottlingException", "arn:aws:secret", transient=True), 503, "unavailable"),
        (AwsError("get_item", "AccessDeniedException", "arn:aws:secret"), 502, "aws"),
        (MissingResource("table arn:aws:secret"), 503, "not-configured"),
        (RuntimeError("arn:aws:secret"), 500, "internal"),
    ],
)
def test_a_fault_is_told_apart_and_keeps_names_of_accounts_for_the_log(
    api: Served,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    fault: Exception,
    status: int,
    name: str,
) -> None:
    async def fail(*arguments: Any, **options: Any) -> Any:
        raise fault

    monkeypatch.setattr(api.memory.results, "get", fail)
    answer = api.client.get("/v1/tasks/some")

    assert (answer.status_code, kind(answer)) == (status, name)
    assert "secret" not in answer.text
    assert "secret" in caplog.text


@pytest.mark.parametrize("action", ["cancel", "retry"])
def test_a_table_that_is_missing_is_no_conflict_of_the_task(
    api: Served, monkeypatch: pytest.MonkeyPatch, action: str
) -> None:
    async def missing(*arguments: Any, **options: Any) -> Any:
        raise MissingResource("table arn:aws:secret")

    id = api.client.post("/v1/tasks", json={"task": "shop:resize", "args": ["a.png"]}).json()["id"]
    monkeypatch.setattr(f"taskq_sls.operations.tasks.{action}", missing)
    answer = api.client.post(f"/v1/tasks/{id}/{action}")

    assert (answer.status_code, kind(answer)) == (503, "not-configured")
    assert "secret" not in answer.text


# -- dead letters -----------------------------------------------------------------------------------------------


def bury(api: Served, count: int = 1) -> list[str]:
    body = {"task": "shop:login", "args": ["mallory", "hunter2"], "labels": {"tenant": "7"}}
    ids = [api.client.post("/v1/tasks", json=body).json()["id"] for _ in range(count)]
    api.memory.run_until_idle()
    return ids


def letters(api: Served, query: str = "") -> Any:
    return api.client.get(f"/v1/dead-letters{query}").json()


def test_dead_letters_are_listed_with_their_groups_and_stay(api: Served) -> None:
    ids = bury(api, 2)
    api.app.ref("shop:internal").enqueue("x")
    api.memory.run_until_idle()

    for _ in range(2):
        found = letters(api)
        assert {one["id"] for one in found["dead_letters"]} > set(ids)
    assert [(one["task"], one["error_type"], one["total"]) for one in found["groups"]] == [
        ("shop:login", "PermissionError", 2),
        ("shop:internal", "ValueError", 1),
    ]
    for query in ("?task=shop:login", "?label=tenant=7", f"?id={ids[0]}&id={ids[1]}"):
        assert {one["id"] for one in letters(api, query)["dead_letters"]} == set(ids)
    assert letters(api, "?reason=crashed")["dead_letters"] == []
    assert letters(api, "?older_than=60")["dead_letters"] == []
    assert len(letters(api, "?limit=1")["dead_letters"]) == 1
    assert kind(api.client.get("/v1/dead-letters?queue=none")) == "invalid"


def test_a_dead_letter_is_shown_with_what_may_be_seen_of_its_arguments(api: Served) -> None:
    [id] = bury(api)
    [row] = letters(api)["dead_letters"]

    letter = api.client.get(f"/v1/dead-letters/{row['queue']}/{row['message_id']}").json()

    assert (letter["id"], letter["args"], letter["labels"]) == (id, ["mallory", MASK], {"tenant": "7"})
    assert "PermissionError" in letter["traceback"]
    assert "hunter2" not in str(letter)
    assert kind(api.client.get("/v1/dead-letters/default/none")) == "not-found"


def test_dead_letters_are_sent_back_with_other_arguments(api: Served) -> None:
    ids = bury(api, 2)
    body = {"ids": ids[:1], "args": ["ann", "x"]}

    trial = api.client.post("/v1/dead-letters/redrive", json={**body, "dry_run": True}).json()
    done = api.client.post("/v1/dead-letters/redrive", json=body).json()
    api.memory.run_until_idle()

    assert [one["id"] for one in trial["redriven"]] == [one["id"] for one in done["redriven"]] == ids[:1]
    assert api.client.get(f"/v1/tasks/{ids[0]}").json()["status"] == "SUCCEEDED"
    assert [one["id"] for one in letters(api)["dead_letters"]] == ids[1:]


def test_a_redrive_at_a_rate_does_what_one_request_has_time_for(api: Served) -> None:
    bury(api, 30)
    body = {"everything": True, "rate": 1}

    first = api.client.post("/v1/dead-letters/redrive", json=body).json()

    assert 1 <= len(first["redriven"]) <= 15
    assert first["more"] is True


def test_what_is_chosen_is_deleted_and_nothing_else(api: Served) -> None:
    ids = bury(api, 3)
    rows = {one["id"]: one for one in letters(api)["dead_letters"]}
    path = f"/v1/dead-letters/default/{rows[ids[0]]['message_id']}"

    assert api.client.delete(path).json()["purged"][0]["id"] == ids[0]
    assert kind(api.client.delete(path)) == "not-found"
    assert {one["id"] for one in letters(api)["dead_letters"]} == set(ids[1:])
    done = api.client.post("/v1/dead-letters/purge", json={"tasks": ["shop:login"], "limit": 1}).json()
    assert (len(done["purged"]), done["more"]) == (1, True)
    assert len(letters(api)["dead_letters"]) == 1


@pytest.mark.parametrize("operation", ["redrive", "purge"])
def test_a_forgotten_filter_does_not_mean_everything(api: Served, operation: str) -> None:
    bury(api)

    assert kind(api.client.post(f"/v1/dead-letters/{operation}", json={})) == "invalid"
    assert kind(api.client.post(f"/v1/dead-letters/{operation}", json={"id": "x"})) == "invalid"
    assert len(letters(api)["dead_letters"]) == 1


def test_a_hidden_value_is_not_sent_back_in_place_of_the_real_one(api: Served) -> None:
    bury(api)

    answer = api.client.post("/v1/dead-letters/redrive", json={"everything": True, "args": ["ann", MASK]})

    assert kind(answer) == "invalid"


@pytest.mark.parametrize("redact", [[], ["password"]])
def test_a_body_that_nobody_can_read_is_shown_where_nothing_is_hidden(redact: list[str]) -> None:
    app = TaskQ("shop", redact=redact)
    with served(app) as api:
        from taskq_sls.brokers.base import Outgoing

        call_sync("send", api.memory.broker.send([Outgoing("default-dlq", "not json: hunter2", "m")]))
        [row] = letters(api)["dead_letters"]
        letter = api.client.get(f"/v1/dead-letters/default/{row['message_id']}").json()

    assert row["undecodable"]
    assert letter["body"] == (None if redact else "not json: hunter2")


def test_an_app_without_any_dead_letter_queue_gets_an_error_and_not_an_empty_list(api: Served) -> None:
    for name in [name for name in api.memory.broker._queues if name.endswith(("-dlq", "-dlq.fifo"))]:
        del api.memory.broker._queues[name]

    answers = [
        api.client.get("/v1/dead-letters"),
        api.client.post("/v1/dead-letters/redrive", json={"everything": True}),
        api.client.post("/v1/dead-letters/purge", json={"everything": True}),
    ]

    assert [(answer.status_code, kind(answer)) for answer in answers] == [(503, "not-configured")] * 3


def test_a_dead_letter_queue_that_does_not_exist_is_named(api: Served) -> None:
    api.memory.broker.add_queues(["schedules-dlq"], dead_letter=False)
    assert api.client.get("/v1/dead-letters").json()["missing"] == []

    del api.memory.broker._queues["schedules-dlq"]

    assert api.client.get("/v1/dead-letters").json()["missing"] == ["schedules-dlq"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/dead-letters/purge", {"older_than": False}),
        ("/v1/dead-letters/purge", {"everything": 1}),
        ("/v1/dead-letters/purge", {"everything": True, "dry_run": 0}),
        ("/v1/dead-letters/redrive", {"everything": True, "dry_run": "false"}),
        ("/v1/dead-letters/redrive", {"everything": True, "limit": "7"}),
        ("/v1/tasks", {"task": "shop:resize", "args": ["a.png"], "delay": True}),
        ("/v1/tasks", {"task": "shop:resize", "args": ["a.png"], "delay": "60"}),
    ],
)
def test_a_value_of_another_type_than_the_schema_s_is_refused(api: Served, path: str, body: dict[str, Any]) -> None:
    answer = api.client.post(path, json=body)

    assert (answer.status_code, kind(answer)) == (422, "invalid")


def test_a_whole_number_is_a_number_of_seconds_and_a_time_is_text(api: Served) -> None:
    body = {"older_than": 60, "before": "2027-01-15T08:00:00Z", "dry_run": True}

    assert api.client.post("/v1/dead-letters/purge", json=body).status_code == 200
