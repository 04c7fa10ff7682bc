"""Tests that need EventBridge Scheduler's API: its parameters and refusals, and the items of the last firings."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import moto.scheduler.models
import pytest
from moto import mock_aws
from moto.core.utils import utcfromtimestamp
from moto.server import ThreadedMotoServer

from taskq_sls.aws.blocking import BlockingAws
from taskq_sls.aws.port import AwsClient
from taskq_sls.brokers.sqs import SqsBroker
from taskq_sls.core.clock import ManualClock
from taskq_sls.core.flow import drive
from taskq_sls.core.queues import Queue
from taskq_sls.core.schedule_spec import ScheduleSpec
from taskq_sls.core.settings import Settings
from taskq_sls.deploy.provision import provision
from taskq_sls.errors import AwsError, ConfigError, MissingResource
from taskq_sls.scheduler.eventbridge import RETRY_DELAYS, EventBridgeStore
from taskq_sls.scheduler.last_firings_table import TableLastFirings

NOW = 1_800_000_000.0
ROLE = "arn:aws:iam::123456789012:role/shop-scheduler"
SETTINGS = Settings("shop", "shop-tasks", schedule_group="shop-timed", schedule_role_arn=ROLE)
ARN = "arn:aws:sqs:eu-central-1:123456789012:"
NAME = "d-shop.report-1a2b3c4d"

Hook = Callable[[str, dict[str, Any]], Awaitable[dict[str, Any] | None]]


class Interposed:
    """Notes calls, and lets `hook` go first; an answer of the hook takes the place of the real one."""

    def __init__(self, client: AwsClient) -> None:
        self.client = client
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.hook: Hook | None = None

    async def call(self, operation: str, /, **params: Any) -> dict[str, Any]:
        self.calls.append((operation, params))
        if self.hook is not None and (answer := await self.hook(operation, params)) is not None:
            return answer
        return await self.client.call(operation, **params)

    @property
    def operations(self) -> list[str]:
        return [operation for operation, _ in self.calls]


class StoreHarness:
    """A store over moto, and the client between."""

    def __init__(self, clock: ManualClock, settings: Settings = SETTINGS) -> None:
        self.clock = clock
        self.aws = BlockingAws(clock)
        self.scheduler = Interposed(self.aws.client("scheduler"))
        self.sqs = Interposed(self.aws.client("sqs"))
        self.store = self.new_store(settings)

    def new_store(self, settings: Settings = SETTINGS) -> EventBridgeStore:
        broker = SqsBroker(self.sqs, self.aws.flow, settings, self.clock, self.aws.describe)
        return EventBridgeStore(
            self.scheduler,
            broker.queue_arn,
            settings,
            self.aws.flow,
            self.clock,
            self.aws.describe,
        )

    def raw(self, name: str = NAME) -> dict[str, Any]:
        return drive(self.aws.client("scheduler").call("get_schedule", Name=name, GroupName="shop-timed"))

    def refuse(self, code: str, message: str, *, status: int = 400, times: int = 1, ambiguous: bool = False) -> None:
        left = [times]

        async def refuse(operation: str, params: dict[str, Any]) -> None:
            if left[0]:
                left[0] -= 1
                raise AwsError(operation, code, message, status=status, ambiguous=ambiguous)

        self.scheduler.hook = refuse


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> ManualClock:
    """A clock that moto's schedules follow, too."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    clock = ManualClock(NOW)
    monkeypatch.setattr(moto.scheduler.models, "unix_time", clock.time)
    monkeypatch.setattr(moto.scheduler.models, "utcnow", lambda: utcfromtimestamp(clock.time()))
    return clock


@pytest.fixture
def empty(clock: ManualClock) -> Iterator[StoreHarness]:
    """With queues, but without a schedule group."""
    with mock_aws():
        bench = StoreHarness(clock)
        drive(provision(bench.aws, SETTINGS._replace(schedule_group=None), [Queue("default"), Queue("ledger.fifo")]))
        yield bench


@pytest.fixture
def bench(empty: StoreHarness) -> StoreHarness:
    drive(empty.aws.client("scheduler").call("create_schedule_group", Name="shop-timed"))
    return empty


def a_spec(name: str = NAME, **fields: Any) -> ScheduleSpec:
    return ScheduleSpec(
        **{
            "name": name,
            "expression": "cron(0 12 ? * MON-FRI *)",
            "timezone": "Europe/Berlin",
            "queue": "default",
            "body": "{}",
            **fields,
        }
    )


# -- what is sent -----------------------------------------------------------------------------------------------


def test_the_target_is_the_queue_with_role_and_dead_letters(bench: StoreHarness) -> None:
    drive(bench.store.create(a_spec()))
    [(_, sent)] = bench.scheduler.calls
    assert sent["Target"] == {
        "Arn": f"{ARN}shop-default",
        "RoleArn": ROLE,
        "Input": "{}",
        "DeadLetterConfig": {"Arn": f"{ARN}shop-schedules-dlq"},
    }
    assert bench.raw()["FlexibleTimeWindow"] == {"Mode": "OFF"}


def test_a_fifo_target_gets_its_group(bench: StoreHarness) -> None:
    drive(bench.store.create(a_spec(queue="ledger.fifo", group="tenant-7")))
    target = bench.raw()["Target"]
    assert (target["Arn"], target["SqsParameters"]) == (f"{ARN}shop-ledger.fifo", {"MessageGroupId": "tenant-7"})


def test_the_dead_letters_can_have_a_name_of_their_own(bench: StoreHarness) -> None:
    url = "https://sqs.eu-central-1.amazonaws.com/123456789012/lost-firings"
    store = bench.new_store(SETTINGS._replace(queue_urls={"schedules-dlq": url}))
    drive(store.create(a_spec()))
    assert bench.raw()["Target"]["DeadLetterConfig"] == {"Arn": f"{ARN}lost-firings"}


@pytest.mark.parametrize(("removed", "action"), [(True, "DELETE"), (False, "NONE")])
def test_who_removes_itself_says_so_to_the_service(bench: StoreHarness, removed: bool, action: str) -> None:
    drive(bench.store.create(a_spec(expression="at(2027-06-01T09:00:00)", delete_after=removed)))
    assert bench.raw()["ActionAfterCompletion"] == action


def test_every_call_has_a_client_token_of_its_own(bench: StoreHarness) -> None:
    drive(bench.store.create(a_spec()))
    drive(bench.store.delete(NAME))
    drive(bench.store.create(a_spec()))
    tokens = {params["ClientToken"] for operation, params in bench.scheduler.calls if operation == "create_schedule"}
    assert len(tokens) == 2


def test_a_queue_is_asked_for_its_arn_once(bench: StoreHarness) -> None:
    for number in range(3):
        drive(bench.store.create(a_spec(f"d-{number}")))
    assert bench.sqs.operations == ["get_queue_url", "get_queue_attributes"]


# -- what is read -----------------------------------------------------------------------------------------------


def test_a_queue_of_another_name_reads_back_by_its_logical_one(bench: StoreHarness) -> None:
    url = drive(bench.aws.client("sqs").call("create_queue", QueueName="orders"))["QueueUrl"]
    store = bench.new_store(SETTINGS._replace(queue_urls={"slow": url}))
    drive(store.create(a_spec(queue="slow")))
    stored = drive(bench.new_store(SETTINGS._replace(queue_urls={"slow": url})).get(NAME))
    assert stored is not None
    assert (stored.spec.queue, stored.target) == ("slow", f"{ARN}orders")
    stored = drive(bench.store.get(NAME))
    assert stored is not None
    assert stored.spec.queue == "orders"


def test_the_schedule_of_somebody_else_can_be_read(bench: StoreHarness) -> None:
    target = {"Arn": "arn:aws:lambda:eu-central-1:123456789012:function:other", "RoleArn": ROLE}
    parameters = {"ScheduleExpression": "rate(1 hour)", "FlexibleTimeWindow": {"Mode": "OFF"}, "Target": target}
    call = bench.aws.client("scheduler").call
    drive(call("create_schedule", Name="other", GroupName="shop-timed", ActionAfterCompletion="DELETE", **parameters))
    stored = drive(bench.store.get("other"))
    assert stored is not None
    assert stored.spec == ScheduleSpec("other", "rate(1 hour)", "UTC", "other", "", delete_after=True)


@pytest.mark.parametrize("removed", [True, False])
def test_whether_it_removes_itself_survives_an_endpoint_that_updates_only_half(
    bench: StoreHarness, removed: bool
) -> None:
    drive(bench.store.create(a_spec(delete_after=not removed)))
    drive(bench.store.update(a_spec(delete_after=removed)))
    assert bench.raw()["ActionAfterCompletion"] == ("NONE" if removed else "DELETE"), "moto has mended its update"
    stored = drive(bench.store.get(NAME))
    assert stored is not None
    assert stored.spec.delete_after == removed


def test_a_page_that_begins_with_a_deleted_schedule_asks_for_a_new_listing(bench: StoreHarness) -> None:
    for number in range(102):
        drive(bench.store.create(a_spec(f"d-{number}")))
        bench.clock.travel(1)
    _, cursor = drive(bench.store.page())
    drive(bench.store.delete("d-1"))
    with pytest.raises(AwsError) as caught:
        drive(bench.store.page(cursor=cursor))
    assert caught.value.transient


@pytest.mark.parametrize(
    "use",
    [
        lambda store: store.create(a_spec()),
        lambda store: store.update(a_spec()),
        lambda store: store.get(NAME),
        lambda store: store.page(),
    ],
    ids=["create", "update", "get", "page"],
)
def test_an_answer_of_something_else_is_a_fault_and_not_an_empty_group(bench: StoreHarness, use: Any) -> None:
    async def page_of_a_proxy(operation: str, params: dict[str, Any]) -> dict[str, Any]:
        return {"ResponseMetadata": {"HTTPStatusCode": 200}}

    bench.scheduler.hook = page_of_a_proxy
    with pytest.raises(AwsError, match="not EventBridge Scheduler's") as caught:
        drive(use(bench.store))
    assert (caught.value.transient, caught.value.ambiguous) == (True, True)
    assert bench.scheduler.operations.count(caught.value.operation) == 1 + len(RETRY_DELAYS)


# -- what is refused --------------------------------------------------------------------------------------------

MISSING_GROUP = r"schedule group 'shop-timed' does not exist at endpoint .*taskq provision.*TASKQ_SCHEDULE_GROUP"


@pytest.mark.parametrize(
    "use",
    [
        lambda store: store.create(a_spec()),
        lambda store: store.update(a_spec()),
        lambda store: store.delete(NAME),
        lambda store: store.get(NAME),
        lambda store: store.page(),
    ],
    ids=["create", "update", "delete", "get", "page"],
)
def test_a_missing_group_is_named_with_variable_and_fix(empty: StoreHarness, use: Any) -> None:
    with pytest.raises(MissingResource, match=MISSING_GROUP):
        drive(use(empty.store))


@pytest.mark.parametrize(
    ("use", "message"),
    [
        (lambda store: store.create(a_spec()), "No such group."),
        (lambda store: store.page(), "No such group."),
        (lambda store: store.delete(NAME), "Schedule group shop-timed does not exist."),
    ],
    ids=["create", "page", "delete"],
)
def test_a_group_that_the_service_does_not_find_is_named_too(bench: StoreHarness, use: Any, message: str) -> None:
    bench.refuse("ResourceNotFoundException", message, status=404)
    with pytest.raises(MissingResource, match=MISSING_GROUP):
        drive(use(bench.store))


def test_a_missing_group_of_the_local_stack_is_named(clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> None:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        bench = StoreHarness(clock)
        bench.aws = BlockingAws(clock, max_attempts=1)
        bench.scheduler.client = bench.aws.client("scheduler")
        drive(provision(bench.aws, SETTINGS._replace(schedule_group=None), [Queue("default")]))
        with pytest.raises(MissingResource, match=MISSING_GROUP):
            drive(bench.store.create(a_spec()))
    finally:
        server.stop()


def test_a_fault_of_our_own_is_not_taken_for_a_missing_group(bench: StoreHarness) -> None:
    async def fail(operation: str, params: dict[str, Any]) -> None:
        raise KeyError("something else")

    bench.scheduler.hook = fail
    with pytest.raises(KeyError, match="something else"):
        drive(bench.store.create(a_spec()))


def test_a_fault_of_the_service_is_not_taken_for_a_missing_group(bench: StoreHarness) -> None:
    bench.refuse("InternalServerException", "try again", status=500)
    with pytest.raises(AwsError, match="InternalServerException"):
        drive(bench.store.create(a_spec()))


def test_an_empty_group_is_looked_at_once(bench: StoreHarness) -> None:
    for _ in range(3):
        assert drive(bench.store.page()) == ([], None)
    assert bench.scheduler.operations.count("get_schedule_group") == 1


def test_who_may_not_look_at_the_group_can_list_it(bench: StoreHarness) -> None:
    async def deny(operation: str, params: dict[str, Any]) -> None:
        if operation == "get_schedule_group":
            raise AwsError(operation, "AccessDeniedException", "not authorized", status=403)

    bench.scheduler.hook = deny
    assert drive(bench.store.page()) == ([], None)


def test_a_group_without_a_role_is_an_error_at_first_use(bench: StoreHarness) -> None:
    store = bench.new_store(SETTINGS._replace(schedule_role_arn=None))
    assert drive(store.page()) == ([], None)
    assert (store.creates, bench.store.creates) == (False, True)
    with pytest.raises(ConfigError, match="'shop-timed' is configured, but no role: set TASKQ_SCHEDULE_ROLE_ARN"):
        drive(store.create(a_spec()))


def test_a_store_needs_a_group(bench: StoreHarness) -> None:
    with pytest.raises(ConfigError, match="TASKQ_SCHEDULE_GROUP"):
        bench.new_store(SETTINGS._replace(schedule_group=None))


def test_what_the_service_does_not_accept_is_told_in_its_words(
    bench: StoreHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The service's clock is ahead of ours.
    monkeypatch.setattr(moto.scheduler.models, "utcnow", lambda: utcfromtimestamp(NOW + 7_200))
    with pytest.raises(ConfigError, match=rf"{NAME}.*StartDate you specify cannot be earlier than 5 minutes ago"):
        drive(bench.store.create(a_spec(start=NOW + 3_600)))


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (
            "ValidationException",
            "The execution role you provide must allow AWS EventBridge Scheduler to assume the role.",
        ),
        ("AccessDeniedException", f"User: me is not authorized to perform: iam:PassRole on resource: {ROLE}"),
    ],
)
def test_a_role_that_is_not_accepted_is_told_with_its_variable(bench: StoreHarness, code: str, message: str) -> None:
    bench.refuse(code, message)
    with pytest.raises(ConfigError, match=f"{ROLE} .TASKQ_SCHEDULE_ROLE_ARN.*iam:PassRole"):
        drive(bench.store.create(a_spec()))


def test_another_refusal_stays_what_it_is(bench: StoreHarness) -> None:
    bench.refuse("AccessDeniedException", "not authorized to perform: scheduler:CreateSchedule", status=403)
    with pytest.raises(AwsError, match="scheduler:CreateSchedule"):
        drive(bench.store.create(a_spec()))


@pytest.mark.parametrize("change", ["update", "delete"])
def test_a_change_that_meets_another_one_is_tried_again(bench: StoreHarness, change: str) -> None:
    drive(bench.store.create(a_spec()))
    bench.refuse("ConflictException", "Another operation is in progress", status=409, times=len(RETRY_DELAYS))
    assert drive(bench.store.update(a_spec()) if change == "update" else bench.store.delete(NAME))
    assert bench.clock.time() == pytest.approx(NOW + sum(RETRY_DELAYS))


def test_a_conflict_that_lasts_is_an_error(bench: StoreHarness) -> None:
    drive(bench.store.create(a_spec()))
    bench.refuse("ConflictException", "Another operation is in progress", status=409, times=99)
    with pytest.raises(AwsError, match="ConflictException"):
        drive(bench.store.delete(NAME))


# -- the items of the table -------------------------------------------------------------------------------------


def new_last_firings(
    bench: StoreHarness, group: str = "shop-timed", client: AwsClient | None = None
) -> TableLastFirings:
    return TableLastFirings(
        client or bench.aws.client("dynamodb"), bench.aws.flow, "shop-tasks", group, bench.aws.describe
    )


def test_the_items_of_the_table_are_the_documented_ones(bench: StoreHarness) -> None:
    last_firings = new_last_firings(bench)
    drive(last_firings.record("d-a", NOW + 60, NOW + 61))
    drive(last_firings.record("t-b", NOW + 60, NOW + 61))
    items = drive(bench.aws.client("dynamodb").call("scan", TableName="shop-tasks"))["Items"]
    day = 86_400
    assert sorted(items, key=lambda item: str(item["sk"])) == [
        {
            "pk": {"S": "C#shop-timed"},
            "sk": {"S": "F#d-a"},
            "at": {"N": "1800000060.0"},
            "ttl": {"N": str(1_800_000_061 + 400 * day)},
        },
        {
            "pk": {"S": "C#shop-timed"},
            "sk": {"S": "F#t-b"},
            "at": {"N": "1800000060.0"},
            "ttl": {"N": str(1_800_000_061 + 2 * day)},
        },
    ]


def test_items_that_the_version_before_kept_for_its_clocks_are_ignored(bench: StoreHarness) -> None:
    for key in ("BEAT", "N#1800000000500#d-a"):
        item = {"pk": {"S": "C#shop-timed"}, "sk": {"S": key}, "ttl": {"N": "1800003600"}}
        drive(bench.aws.client("dynamodb").call("put_item", TableName="shop-tasks", Item=item))
    drive(new_last_firings(bench).record("d-a", NOW, NOW))
    assert drive(new_last_firings(bench).read()) == {"d-a": NOW}


def test_groups_share_a_table_without_seeing_each_other(bench: StoreHarness) -> None:
    drive(new_last_firings(bench, "shop").record("d-a", NOW, NOW))
    assert drive(new_last_firings(bench, "shop-timed").read()) == {}


def test_long_answers_are_read_to_their_end(bench: StoreHarness) -> None:
    client = Interposed(bench.aws.client("dynamodb"))
    last_firings = new_last_firings(bench, client=client)
    for number in range(10):
        drive(last_firings.record(f"d-{number}", NOW, NOW))

    async def three_at_a_time(operation: str, params: dict[str, Any]) -> dict[str, Any] | None:
        return await client.client.call(operation, **{**params, "Limit": 3}) if operation == "query" else None

    client.hook = three_at_a_time
    assert len(drive(last_firings.read())) == 10
    assert client.operations.count("query") == 4
