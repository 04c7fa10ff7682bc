"""Routes from EventBridge events to tasks, and the Lambda handler that follows them."""

from __future__ import annotations

import json
import logging
import re
import subprocess
import sys
import types
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from taskq_sls import ArgumentsError, ConfigError, Middleware, Queue, TaskContext, TaskQ
from taskq_sls.aws.blocking import Clients
from taskq_sls.core.message import Message, decode
from taskq_sls.errors import EventError, UnmatchedEvent
from taskq_sls.testing import in_memory

ROOT = Path(__file__).resolve().parents[2]

EVENT: dict[str, Any] = {
    "version": "0",
    "id": "17793124-05d4-b198-2fde-7ededc63b103",
    "detail-type": "Object Created",
    "source": "aws.s3",
    "account": "111122223333",
    "time": "2026-11-12T00:00:00Z",
    "region": "ca-central-1",
    "resources": ["arn:aws:s3:::photos"],
    "detail": {
        "version": "0",
        "bucket": {"name": "photos"},
        "object": {"key": "cats/a b.png", "size": 5, "version-id": "v1"},
        "reason": "PutObject",
        "time": "yesterday",
    },
}

S3: dict[str, Any] = {"source": "aws.s3", "detail_type": "Object Created"}


def event(**changes: Any) -> dict[str, Any]:
    """The event above, with other fields; ``None`` takes one out."""
    changed = {**EVENT, **{name.replace("_", "-"): value for name, value in changes.items()}}
    return {name: value for name, value in changed.items() if value is not None}


class EventHarness:
    """An app in memory, and the arguments of its tasks."""

    def __init__(self, *queues: Queue) -> None:
        self.app = TaskQ("shop", queues=queues or (Queue("default"),))
        self.memory = in_memory(self.app)
        self.seen: list[Any] = []

    def handle(self, given: object = EVENT, **options: Any) -> list[str]:
        answer = self.app.event_handler(**options)(given)  # type: ignore[arg-type]  # some are no events
        assert list(answer) == ["tasks"]
        json.dumps(answer)
        return answer["tasks"]

    def run(self, given: object = EVENT) -> list[Any]:
        """Handle an event and run its tasks. Returns their arguments."""
        self.handle(given)
        self.memory.run_until_idle()
        return self.seen

    def messages(self, queue: str = "default") -> list[Message]:
        return [decode(queued.body) for queued in self.memory.broker.messages(queue)]


@pytest.fixture
def bench() -> Iterator[EventHarness]:
    made = EventHarness(Queue("default"), Queue("slow"), Queue("ledger.fifo"))
    with made.memory:
        yield made


# -- declaring ----------------------------------------------------------------------------------------------------


def test_a_task_stays_what_it_is(bench: EventHarness) -> None:
    @bench.app.task(name="resize")
    def resize(key: str) -> str:
        return f"small {key}"

    assert bench.app.on_event(**S3)(resize) is resize
    assert resize("a.png") == "small a.png"


def test_a_plain_function_becomes_a_task_that_may_name_local_types(bench: EventHarness) -> None:
    @dataclass
    class Bucket:
        name: str

    @bench.app.on_event(**S3)
    def store(bucket: Bucket) -> None:
        bench.seen.append(bucket)

    assert bench.app.registry.get(store.name) is store
    assert bench.run() == [Bucket("photos")]


@pytest.mark.parametrize("options", [{}, {"name": "shop:store"}], ids=["unnamed", "named"])
def test_the_order_of_the_decorators_does_not_matter(bench: EventHarness, options: dict[str, Any]) -> None:
    for _ in range(2):  # and a module may be imported again

        @bench.app.task(queue="slow", **options)
        @bench.app.on_event(**S3)
        def store(bucket: dict[str, str]) -> None: ...

    bench.handle()

    assert [message.task for message in bench.messages("slow")] == [store.name]
    assert list(bench.app.registry) == [store]
    assert len(bench.app.routes) == 1


def test_an_event_below_a_task_is_checked_against_the_queue_of_that_task(bench: EventHarness) -> None:
    with pytest.raises(ConfigError, match="group"):

        @bench.app.task(queue="ledger.fifo", name="shop:store")
        @bench.app.on_event(**S3)
        def store(bucket: dict[str, str]) -> None: ...


def test_a_task_that_was_called_one_keeps_its_events_under_a_second_name(bench: EventHarness) -> None:
    @bench.app.task(name="shop:second")
    @bench.app.on_event(**S3)
    @bench.app.task(name="shop:first")
    def store(bucket: dict[str, str]) -> None: ...

    assert [route.task for route in bench.app.routes] == ["shop:first"]
    assert bench.app.registry.names == ("shop:first", "shop:second")


def test_a_route_has_the_pattern_and_the_bus_of_its_rule(bench: EventHarness) -> None:
    @bench.app.on_event(
        source=["aws.s3", {"prefix": "shop."}],
        detail_type={"prefix": "Object"},
        bus="orders",
        detail={"bucket": {"name": ("photos",)}},
    )
    @bench.app.task(name="store")
    def store(event: dict[str, Any]) -> None: ...

    [route] = bench.app.routes
    assert (route.task, route.bus) == ("store", "orders")
    pattern = route.pattern()
    assert json.loads(json.dumps(pattern)) == {
        "source": ["aws.s3", {"prefix": "shop."}],
        "detail-type": [{"prefix": "Object"}],
        "detail": {"bucket": {"name": ["photos"]}},
    }
    pattern["detail"].clear()
    assert route.pattern()["detail"]


def test_without_detail_type_bus_and_detail_a_route_takes_all_of_a_source_from_the_default_bus(
    bench: EventHarness,
) -> None:
    @bench.app.on_event(source="aws.s3", bus="default")
    def store(event: dict[str, Any]) -> None: ...

    [route] = bench.app.routes
    assert (route.pattern(), route.bus) == ({"source": ["aws.s3"]}, None)
    assert bench.handle(event(detail_type="Object Deleted"))


def test_a_module_that_is_imported_again_does_not_double_its_routes(bench: EventHarness) -> None:
    for _ in range(2):

        @bench.app.on_event(**S3)
        @bench.app.task(name="store")
        def store(event: dict[str, Any]) -> None: ...

    assert len(bench.app.routes) == 1
    assert len(bench.handle()) == 1


def noop(key: str, size: int = 0) -> None: ...


def only_by_position(key: str, /) -> None: ...


@pytest.mark.parametrize(
    ("declaration", "says"),
    [
        ({"source": ""}, "source='' must be text"),
        ({"source": []}, r"source=\[\] must be text"),
        ({"source": None}, "source=None must be text"),
        ({"source": {"suffix": "s3"}}, "source={'suffix': 's3'} must be text, {\"prefix\": text}"),
        ({"source": {"prefix": ""}}, r"\.source: prefix: '' must be text that is not empty"),
        ({"detail_type": ["a", 1]}, r"detail_type=\['a', 1\] must be text"),
        ({"detail": {"key": "a"}}, r"\.detail\.key: 'a' must be a list"),
        ({"detail": {"key": [{"cidr": "10.0.0.0/8"}]}}, r"\.detail\.key: operator 'cidr' is not supported"),
        ({"bus": "my bus"}, "bus='my bus' must be a name of 1 to 256"),
        ({"bus": 1}, "bus=1 must be a name"),
        ({"arguments": ["key"]}, r"arguments=\['key'\] must map"),
        ({"arguments": {"kye": "detail.key"}}, "arguments names 'kye'; the parameters are 'key', 'size'"),
        (
            {"arguments": {"key": "object.key"}},
            r"arguments\['key'\]='object.key' must be a path .* begins with 'version'",
        ),
        ({"arguments": {"key": "detail..key"}}, "'detail..key' must be a path in the event"),
        ({"arguments": {"key": ""}}, "='' must be a path"),
        ({"arguments": {"key": 1}}, "=1 must be a path"),
        ({"arguments": {"key": "time.hour"}}, "'time.hour': 'time' is plain text"),
        ({"qeue": "slow"}, "unknown option 'qeue'; did you mean 'queue'"),
        ({"queue": "nowhere"}, "queue 'nowhere' is not declared"),
        ({"queue": "ledger.fifo"}, "FIFO queue 'ledger.fifo' needs a message group"),
        ({"id": "mine"}, "id='mine': each event makes the id of its task"),
        ({"timeout": 5}, "unknown option 'timeout'"),
    ],
)
def test_what_is_wrong_is_refused_where_it_is_declared(
    bench: EventHarness, declaration: dict[str, Any], says: str
) -> None:
    with pytest.raises(ConfigError, match=f"(?s)on_event.*{says}"):
        bench.app.on_event(**{**S3, **declaration})(bench.app.task(name="noop")(noop))
    assert bench.app.routes == []


def test_a_positional_only_parameter_is_refused(bench: EventHarness) -> None:
    with pytest.raises(ConfigError, match="'key' is positional-only"):
        bench.app.on_event(**S3)(only_by_position)


def test_a_task_of_another_app_is_refused(bench: EventHarness) -> None:
    task = TaskQ("other").task(noop)

    with pytest.raises(ConfigError, match=r"of TaskQ\('other'\), not of TaskQ\('shop'\)"):
        bench.app.on_event(**S3)(task)


# -- arguments ----------------------------------------------------------------------------------------------------


def test_parameters_get_the_fields_of_their_names_by_their_annotations(bench: EventHarness) -> None:
    @bench.app.on_event(**S3)
    def store(
        ctx: TaskContext,
        event: dict[str, Any],
        id: str,
        source: str,
        detail_type: str,
        time: datetime,
        account: str,
        region: str,
        resources: list[str],
        detail: dict[str, Any],
        reason: str,
        bucket: dict[str, str],
    ) -> None:
        bench.seen += [event, id, source, detail_type, time, account, region, resources, detail, reason, bucket]

    assert bench.run() == [
        EVENT,
        EVENT["id"],
        "aws.s3",
        "Object Created",
        datetime(2026, 11, 12, tzinfo=UTC),
        "111122223333",
        "ca-central-1",
        ["arn:aws:s3:::photos"],
        EVENT["detail"],
        "PutObject",
        {"name": "photos"},
    ]


def test_arguments_name_other_places(bench: EventHarness) -> None:
    places = {
        "key": "detail.object.key",
        "version": "detail.object.version-id",
        "arn": "resources.0",
        "time": "detail.time",
        "kind": "detail_type",
        "whole": "event",
    }

    @bench.app.on_event(**S3, arguments=places)
    def store(key: str, version: str, arn: str, time: str, kind: str, whole: dict[str, Any]) -> None:
        bench.seen += [key, version, arn, time, kind, whole]

    assert bench.run() == ["cats/a b.png", "v1", "arn:aws:s3:::photos", "yesterday", "Object Created", EVENT]


def test_what_an_event_lacks_takes_the_default(bench: EventHarness) -> None:
    @bench.app.on_event(**S3, arguments={"second": "resources.1", "deeper": "detail.reason.why"})
    def store(owner: str = "nobody", second: str = "none", deeper: str = "no", **rest: str) -> None:
        bench.seen += [owner, second, deeper, rest]

    assert bench.run() == ["nobody", "none", "no", {}]


def test_a_function_that_takes_anything_may_be_given_what_it_does_not_name(bench: EventHarness) -> None:
    @bench.app.on_event(**S3, arguments={"size": "detail.object.size"})
    def store(*names: str, **rest: int) -> None:
        bench.seen += [names, rest]

    assert bench.run() == [(), {"size": 5}]


def test_what_an_event_lacks_without_a_default_is_an_error_that_names_parameter_and_place(bench: EventHarness) -> None:
    @bench.app.on_event(**S3, arguments={"owner": "detail.object.owner"})
    @bench.app.task(name="store")
    def store(owner: str) -> None: ...

    with pytest.raises(EventError, match=r"parameter 'owner' takes 'detail\.object\.owner' .*17793124") as raised:
        bench.handle()
    assert isinstance(raised.value.__cause__, ArgumentsError)
    assert bench.messages() == []


def test_a_value_that_does_not_fit_its_annotation_is_an_error_that_names_the_parameter(bench: EventHarness) -> None:
    @bench.app.on_event(**S3, arguments={"taken": "detail.time"})
    @bench.app.task(name="store")
    def store(taken: datetime) -> None: ...

    with pytest.raises(EventError, match=r"store: ArgumentsError: .*the parameter 'taken' got 'yesterday'"):
        bench.handle()


# -- handling -----------------------------------------------------------------------------------------------------


def two_tasks(bench: EventHarness) -> None:
    @bench.app.on_event(**S3)
    @bench.app.task(name="first", record="none")
    def first(reason: str) -> None:
        bench.seen.append("first")

    @bench.app.on_event(**S3, queue="slow", labels={"by": "event"}, expires_in=60)
    @bench.app.task(name="second")
    def second(reason: str) -> None:
        bench.seen.append("second")

    @bench.app.on_event(source="aws.ec2")
    @bench.app.task(name="third")
    def third(event: dict[str, Any]) -> None: ...


def test_every_route_that_matches_makes_a_task_with_its_options(bench: EventHarness) -> None:
    two_tasks(bench)

    ids = bench.handle()

    [first], [second] = bench.messages(), bench.messages("slow")
    assert ids == [first.id, second.id]
    assert (first.task, first.kwargs) == ("first", {"reason": "PutObject"})
    assert (second.task, second.labels) == ("second", {"by": "event"})
    assert second.expires_at == bench.memory.clock.time() + 60


def test_an_event_that_comes_again_makes_the_same_task(bench: EventHarness) -> None:
    @bench.app.on_event(**S3)
    def store(reason: str) -> None:
        bench.seen.append(reason)

    first, again = bench.handle(), bench.handle(json.loads(json.dumps(EVENT)))
    bench.memory.run_until_idle()

    assert first == again
    assert bench.seen == ["PutObject"]


def test_ids_differ_by_event_task_and_replay_and_sort_by_the_time_of_the_event(bench: EventHarness) -> None:
    two_tasks(bench)

    early = bench.handle(event(time="2026-11-11T23:59:59Z"))
    now = bench.handle()
    other = bench.handle(event(id="another"))
    replayed = bench.handle(event(replay_name="after the fix"))

    assert len({*early, *now, *other, *replayed}) == 8
    assert sorted([*now, *early]) == [*sorted(early), *sorted(now)]
    assert bench.handle(event(replay_name="after the fix")) == replayed


def test_of_two_routes_of_one_task_the_first_declared_counts(bench: EventHarness) -> None:
    @bench.app.on_event(source="aws.s3", arguments={"what": "detail.reason"})
    @bench.app.on_event(**S3, arguments={"what": "detail.object.key"})
    @bench.app.task(name="store")
    def store(what: str) -> None: ...

    assert len(bench.handle()) == 1
    assert [message.kwargs for message in bench.messages()] == [{"what": "cats/a b.png"}]


def test_an_event_without_a_route_is_logged_and_kept_by_an_error(
    bench: EventHarness, caplog: pytest.LogCaptureFixture
) -> None:
    two_tasks(bench)

    with pytest.raises(UnmatchedEvent, match=r"event 17793124.* \(source 'shop', detail-type 'Object Created'\)"):
        bench.handle(event(source="shop"))

    [record] = caplog.records
    assert record.levelno == logging.ERROR
    assert (record.action, record.source) == ("event_unmatched", "shop")  # type: ignore[attr-defined]  # by extra
    assert record.event_id == EVENT["id"]  # type: ignore[attr-defined]  # by extra


def test_an_event_without_a_route_is_dropped_only_where_that_is_said(
    bench: EventHarness, caplog: pytest.LogCaptureFixture
) -> None:
    assert bench.handle(unmatched="drop") == []

    [record] = caplog.records
    assert (record.levelno, record.action) == (logging.WARNING, "event_unmatched")  # type: ignore[attr-defined]  # by extra
    assert "17793124" in record.getMessage()


def test_another_word_for_what_is_unmatched_is_refused(bench: EventHarness) -> None:
    with pytest.raises(ConfigError, match=r"unmatched='ignore'.*'raise'.*'drop'"):
        bench.app.event_handler(unmatched="ignore")  # type: ignore[arg-type]  # the point of the test


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (None, "got NoneType"),
        ([EVENT], "got list"),
        ({"password": "hunter2"}, "got dict with 'password', which lacks id"),
        ({}, "which lacks id, source, detail-type, time or detail"),
        ({"Records": [{"eventSource": "aws:sqs"}]}, r"messages of a queue: these are for app\.lambda_handler\(\)"),
        ({"Records": [{"eventSource": "aws:s3"}]}, "sent by S3 itself: turn on EventBridge for the bucket"),
        ({"Records": [{"EventSource": "aws:sns"}]}, "records of aws:sns"),
        ({"Records": []}, "records of None"),
        ({"Service": "Amazon S3", "Event": "s3:TestEvent"}, "without an input transformer"),
        (event(detail=None), "which lacks id, source, detail-type, time or detail"),
        (event(detail="text"), "which lacks id"),
        (event(id=""), "which lacks id"),
        (event(time="12:00"), "the time of event 17793124.* is '12:00'"),
    ],
)
def test_what_is_no_event_is_refused_with_the_handler_it_is_for(bench: EventHarness, given: object, says: str) -> None:
    two_tasks(bench)

    with pytest.raises(ConfigError, match=f"takes one event of EventBridge, and .*{says}"):
        bench.handle(given, unmatched="drop")


def test_a_time_without_a_zone_is_utc(bench: EventHarness) -> None:
    two_tasks(bench)

    assert bench.handle(event(time="2026-11-12T00:00:00")) == bench.handle()


# -- failing ------------------------------------------------------------------------------------------------------


def test_a_task_whose_arguments_do_not_fit_does_not_keep_the_others_back(bench: EventHarness) -> None:
    @bench.app.on_event(**S3)
    @bench.app.task(name="bad")
    def bad(reason: int) -> None: ...

    two_tasks(bench)

    with pytest.raises(EventError, match="1 of 3 tasks were not enqueued: bad: ArgumentsError") as raised:
        bench.handle()
    assert raised.value.sent == [message.id for message in (*bench.messages(), *bench.messages("slow"))]
    assert list(raised.value.failed) == ["bad"]
    assert raised.value.event_id == EVENT["id"]


def test_a_queue_that_does_not_exist_does_not_keep_the_others_back(bench: EventHarness) -> None:
    two_tasks(bench)
    del bench.memory.broker._queues["slow"]

    with pytest.raises(EventError, match="1 of 2 tasks were not enqueued: second: MissingResource"):
        bench.handle()
    assert [message.task for message in bench.messages()] == ["first"]


def test_a_hook_that_refuses_one_task_does_not_keep_the_others_back(bench: EventHarness) -> None:
    class Refusing(Middleware):
        async def dispatch(self, message: Any, call_next: Any) -> Any:
            raise PermissionError("not today")

    @bench.app.on_event(**S3)
    @bench.app.task(name="refused", middleware=[Refusing()])
    def refused(reason: str) -> None: ...

    two_tasks(bench)

    with pytest.raises(EventError, match="refused: PermissionError: not today") as raised:
        bench.handle()
    assert len(raised.value.sent) == 2


def test_a_unique_key_that_is_taken_gives_the_task_that_holds_it(bench: EventHarness) -> None:
    @bench.app.on_event(**S3, unique_key="all")
    @bench.app.task(name="rebuild")
    def rebuild(reason: str) -> None: ...

    first = bench.handle()

    assert bench.handle(event(id="another")) == first
    assert len(bench.messages()) == 1


# -- starting -----------------------------------------------------------------------------------------------------


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The services whose clients were made, in an environment like Lambda's."""
    services: list[str] = []
    real = Clients.get

    def get(self: Clients, service: str) -> object:
        client = real(self, service)
        services.append(service)
        return client

    monkeypatch.setattr(Clients, "get", get)
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "scheduler")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    return services


def test_the_client_of_the_queues_is_made_while_the_container_starts(made: list[str]) -> None:
    TaskQ("start").event_handler()

    assert made == ["sqs"]


def test_outside_of_lambda_nothing_is_made_before_the_first_event(
    made: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_LAMBDA_FUNCTION_NAME")

    TaskQ("start").event_handler()

    assert made == []


def test_a_start_without_a_region_leaves_the_fault_to_the_first_event(
    made: list[str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")

    TaskQ("start").event_handler()

    assert made == []
    assert "the client could not be made at start-up" in caplog.text


def modules_after(code: str) -> set[str]:
    """The modules in a new interpreter that has run `code`."""
    program = f"{code}\nimport sys, json; print(json.dumps(list(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


APP = """
from taskq_sls import TaskQ
app = TaskQ("shop")
@app.task(name="shop:ping")
def ping(event: dict) -> None: ...
"""


def test_the_handler_imports_nothing_that_the_worker_s_does_not() -> None:
    worker = modules_after(f"{APP}\nhandler = app.lambda_handler()")
    events = modules_after(f'{APP}\napp.on_event(source="aws.s3")(ping)\nhandler = app.event_handler()')

    assert {name for name in events - worker if not name.startswith("_")} <= {
        "copy",
        "hashlib",  # botocore loads it too
        "taskq_sls.client.events",
        "taskq_sls.client.event_patterns",
        "taskq_sls.core.schedule_spec",
        "taskq_sls.scheduler",  # for the ids of events, which those of firings share
        "taskq_sls.scheduler.firing",
        "taskq_sls.scheduler.spec",
        "taskq_sls.serverless.events",
        "platform",
        "uuid",  # of ids made from names; it imports platform
    }
    assert not worker & {
        "taskq_sls.client.events",
        "taskq_sls.core.schedule_spec",
        "taskq_sls.client.event_patterns",
        "taskq_sls.serverless.events",
    }


# -- views of users -----------------------------------------------------------------------------------------------


def test_the_page_s_example_runs() -> None:
    module = types.ModuleType("shop")
    sys.modules["shop"] = module
    try:
        code, call = re.findall(r"```python\n(.*?)```", (ROOT / "docs/events.md").read_text(), re.DOTALL)
        exec(compile(code, "docs/events.md", "exec"), module.__dict__)
        exec(compile(call, "docs/events.md", "exec"), module.__dict__)
    finally:
        del sys.modules["shop"]


def test_the_reference_app_confirms_the_orders_it_hears_of() -> None:
    from handlers.scheduler import handler
    from local.tasks import app

    placed = event(source="shop.orders", detail_type="Order Placed", detail={"order": "4711", "total": 12.5})
    with in_memory(app) as memory:
        [id] = handler(placed)["tasks"]
        memory.run_until_idle()

        record = app.results.get(id)
        assert record is not None
        assert record.result == "Order 4711 of 12 November 2026 is confirmed, 12.50 in all"
