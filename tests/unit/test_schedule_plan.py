"""The changes that bring a store to the declared schedules, and making them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from taskq_sls import ConfigError, MissingResource, Queue, Schedule, TaskQ, cron, rate
from taskq_sls.brokers.memory import MemoryBroker
from taskq_sls.client.schedule_sync import plan_declared, sync
from taskq_sls.core.clock import ManualClock
from taskq_sls.core.flow import BlockingFlow, drive
from taskq_sls.core.schedule_spec import ScheduleSpec
from taskq_sls.errors import AwsError
from taskq_sls.results.memory import MemoryResults
from taskq_sls.scheduler.memory import MemorySchedules
from taskq_sls.scheduler.rate_limit import CRUD_PER_SECOND, LISTS_PER_SECOND, RateLimiter
from taskq_sls.scheduler.store import STALE_CURSOR
from taskq_sls.scheduler.sync import MAX_FAILURES, Applied, SyncPlan, apply, plan

NOW = 1_800_000_000.0
MINE = "d-shop."


def spec(name: str, **fields: Any) -> ScheduleSpec:
    body = json.dumps({"v": 1, "task": "a:b", **fields.pop("message", {})})
    wanted = {"expression": "rate(1 hour)", "timezone": "UTC", "queue": "default", "body": body, **fields}
    return ScheduleSpec(f"{MINE}{name}", **wanted)


class PlanHarness:
    """A store in memory, and its clock."""

    def __init__(self) -> None:
        self.clock = ManualClock(NOW)
        self.flow = BlockingFlow(self.clock)
        self.store = MemorySchedules(self.clock, "shop")

    def put(self, *specs: ScheduleSpec) -> None:
        for spec in specs:
            assert drive(self.store.create(spec))

    def plan(self, *wanted: ScheduleSpec, **more: Any) -> SyncPlan:
        return drive(plan(wanted, self.store, MINE, self.flow, self.clock, **more))

    def apply(self, planned: SyncPlan, **more: Any) -> Applied:
        return drive(apply(planned, self.store, RateLimiter(self.flow, self.clock), **more))

    def names(self, prefix: str = "") -> list[str]:
        names: list[str] = []
        cursor: str | None = None
        while True:
            page, cursor = drive(self.store.page(prefix, cursor))
            names += [entry.name.removeprefix(MINE) for entry in page]
            if cursor is None:
                return names

    def stored(self, name: str) -> ScheduleSpec:
        found = drive(self.store.get(f"{MINE}{name}"))
        assert found is not None
        return found.spec


@pytest.fixture
def bench() -> PlanHarness:
    return PlanHarness()


def short(planned: SyncPlan) -> tuple[list[str], list[tuple[str, list[str]]], list[str], list[str]]:
    """A plan as names without their prefix."""

    def cut(names: Sequence[str]) -> list[str]:
        return [name.removeprefix(MINE) for name in names]

    updates = [(update.spec.name.removeprefix(MINE), update.fields) for update in planned.update]
    return cut([created.name for created in planned.create]), updates, cut(planned.remove), cut(planned.unchanged)


# -- planning -------------------------------------------------------------------------------------------------------


def test_what_is_missing_is_made_what_differs_is_changed_what_nobody_wants_is_removed(bench: PlanHarness) -> None:
    bench.put(spec("same"), spec("other"), spec("old"))

    planned = bench.plan(spec("same"), spec("other", expression="rate(2 hours)"), spec("new"))

    assert short(planned) == (["new"], [("other", ["expression"])], ["old"], ["same"])
    assert planned.size == 3


def test_planning_changes_nothing(bench: PlanHarness) -> None:
    bench.put(spec("old"))

    bench.plan(spec("new"))

    assert bench.names() == ["old"]


@pytest.mark.parametrize(
    ("fields", "changed"),
    [
        ({"timezone": "Europe/Berlin"}, ["timezone"]),
        ({"queue": "slow"}, ["queue"]),
        ({"window": 5}, ["window"]),
        ({"enabled": False}, ["enabled"]),
        ({"end": NOW + 86_400}, ["end"]),
        ({"start": NOW + 86_400}, ["start"]),
        ({"message": {"args": [1], "labels": {}}}, ["body.args", "body.labels"]),
    ],
)
def test_every_field_counts_and_is_named(bench: PlanHarness, fields: dict[str, Any], changed: list[str]) -> None:
    bench.put(spec("one", expression="cron(0 12 * * ? *)"))

    planned = bench.plan(spec("one", expression="cron(0 12 * * ? *)", **fields))

    assert short(planned)[1] == [("one", changed)]


def test_a_fifo_group_counts(bench: PlanHarness) -> None:
    bench.put(spec("one", queue="ledger.fifo", group="a"))

    assert short(bench.plan(spec("one", queue="ledger.fifo", group="b")))[1] == [("one", ["group"])]


def test_the_trace_of_its_making_and_the_order_of_fields_do_not_count(bench: PlanHarness) -> None:
    bench.put(spec("one", message={"args": [1], "trace": {"traceparent": "00-1"}, "kwargs": {"a": 1}}))

    planned = bench.plan(spec("one", message={"trace": {"traceparent": "00-2"}, "kwargs": {"a": 1}, "args": [1]}))

    assert short(planned) == ([], [], [], ["one"])


@pytest.mark.parametrize("expression", ["rate(7 hours)", "cron(0 12 * * ? *)"])
def test_a_start_that_has_passed_is_no_difference(bench: PlanHarness, expression: str) -> None:
    wanted = spec("one", expression=expression, start=NOW - 100_000)
    bench.put(wanted)
    bench.clock.travel(50 * 3_600)

    assert short(bench.plan(wanted)) == ([], [], [], ["one"])


def test_another_grid_of_a_rate_is_a_difference(bench: PlanHarness) -> None:
    bench.put(spec("one", start=NOW - 100_000))

    assert short(bench.plan(spec("one", start=NOW - 100_060)))[1] == [("one", ["start"])]


def test_only_names_with_ones_own_prefix_are_looked_at(bench: PlanHarness) -> None:
    foreign = ["d-shop2.a", "d-shopping.a", "r-shop.a", "t-0123", "d-other.a"]
    for name in foreign:
        drive(bench.store.create(spec("x")._replace(name=name)))

    planned = bench.plan()

    assert planned.remove == []
    with pytest.raises(ValueError, match="does not begin with"):
        bench.plan(spec("x")._replace(name="r-shop.x"))


def test_a_schedule_whose_last_run_is_over_is_neither_made_nor_changed(bench: PlanHarness) -> None:
    bench.put(spec("left", expression="at(2020-01-01T00:00:00)"))

    over = [
        spec("never", expression="at(2020-01-01T00:00:00)"),
        spec("left", expression="at(2020-01-02T00:00:00)"),
        spec("ended", end=NOW - 60),
    ]

    assert short(bench.plan(*over)) == ([], [], [], ["never", "left", "ended"])


def test_a_foreign_message_under_ones_own_name_is_replaced(bench: PlanHarness) -> None:
    for name, body in (("text", "hello"), ("number", "5")):
        bench.put(spec(name)._replace(body=body))

    planned = bench.plan(spec("text"), spec("number"))

    assert [name for name, _ in short(planned)[1]] == ["text", "number"]


def test_many_schedules_are_read_in_pages_and_within_the_quotas(bench: PlanHarness) -> None:
    wanted = [spec(f"{number:05}") for number in range(1_050)]
    bench.put(*wanted)
    seen: list[tuple[int, int]] = []

    planned = bench.plan(*wanted, progress=lambda done, total: seen.append((done, total)))

    assert len(planned.unchanged) == 1_050
    assert sorted(seen) == [(number, 1_050) for number in range(1, 1_051)]
    assert bench.clock.time() - NOW >= 10 / LISTS_PER_SECOND + 1_049 / CRUD_PER_SECOND - 0.01


# -- applying -------------------------------------------------------------------------------------------------------


def test_a_plan_is_carried_out_and_the_next_one_is_empty(bench: PlanHarness) -> None:
    bench.put(spec("same"), spec("other"), spec("old"))
    wanted = spec("same"), spec("other", expression="rate(2 hours)"), spec("new")

    applied = bench.apply(bench.plan(*wanted))

    assert sorted(applied.changed) == [f"{MINE}{name}" for name in ("new", "old", "other")]
    assert (applied.failed, applied.skipped) == ([], 0)
    assert bench.names() == ["new", "other", "same"]
    assert bench.stored("other").expression == "rate(2 hours)"
    assert bench.plan(*wanted).size == 0


def test_a_plan_may_be_carried_out_twice_and_at_the_same_time(bench: PlanHarness) -> None:
    bench.put(spec("other"), spec("old"))
    wanted = spec("other", expression="rate(2 hours)"), spec("new")
    first_plan, two = bench.plan(*wanted), bench.plan(*wanted)

    first, second = bench.apply(first_plan), bench.apply(two)

    assert sorted(first.changed) == sorted(second.changed)
    assert bench.plan(*wanted).size == 0


def test_what_vanished_since_the_plan_is_made_again(bench: PlanHarness) -> None:
    bench.put(spec("other"))
    planned = bench.plan(spec("other", expression="rate(2 hours)"))
    drive(bench.store.delete(f"{MINE}other"))

    bench.apply(planned)

    assert bench.stored("other").expression == "rate(2 hours)"


def test_a_run_that_broke_off_is_finished_by_the_next(bench: PlanHarness) -> None:
    wanted = [spec(str(number)) for number in range(30)]
    bench.put(spec("old"))
    create = bench.store.create
    left = iter(range(10))

    async def breaks(spec: ScheduleSpec) -> bool:
        if next(left, None) is None:
            raise ConnectionResetError
        return await create(spec)

    bench.store.create = breaks  # type: ignore[method-assign]  # where it breaks off
    with pytest.raises(ConnectionResetError):
        bench.apply(bench.plan(*wanted))
    bench.store.create = create  # type: ignore[method-assign]  # as it was
    assert "old" in bench.names(), "what is new is made before what is old is removed"

    bench.apply(bench.plan(*wanted))

    assert sorted(bench.names(), key=int) == [str(number) for number in range(30)]


def test_a_plan_and_its_changes_outlive_faults_that_pass(bench: PlanHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.put(spec("kept"), spec("old"))
    for operation in ("page", "get", "create", "delete"):
        monkeypatch.setattr(bench.store, operation, failing_first(getattr(bench.store, operation)))

    applied = bench.apply(bench.plan(spec("kept"), spec("new")))

    assert (applied.failed, bench.names()) == ([], ["kept", "new"])


def failing_first(real: Any) -> Any:
    left = [1]

    async def call(*args: Any) -> Any:
        if left[0]:
            left[0] -= 1
            raise AwsError("any", "ThrottlingException", "slow down", transient=True)
        return await real(*args)

    return call


def test_a_listing_begins_anew_where_its_next_page_is_gone(bench: PlanHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.put(*(spec(f"{number:03}") for number in range(150)))
    page = bench.store.page
    cursors = []

    async def stale_once(prefix: str = "", cursor: str | None = None) -> Any:
        cursors.append(cursor)
        if len(cursors) == 2:
            raise AwsError("list_schedules", STALE_CURSOR, "gone", transient=True)
        return await page(prefix, cursor)

    monkeypatch.setattr(bench.store, "page", stale_once)

    assert len(bench.plan().remove) == 150
    assert [cursor is None for cursor in cursors] == [True, False, True, False]


def test_one_schedule_that_fails_does_not_keep_the_others(bench: PlanHarness) -> None:
    create = bench.store.create

    async def create_but_one(spec: ScheduleSpec) -> bool:
        if spec.name.endswith("bad"):
            raise AwsError("create_schedule", "InternalServerException", "injected", status=500, transient=True)
        return await create(spec)

    bench.store.create = create_but_one  # type: ignore[method-assign]  # the fault
    seen: list[tuple[int, int]] = []

    applied = bench.apply(
        bench.plan(spec("a"), spec("bad"), spec("z")), progress=lambda done, total: seen.append((done, total))
    )

    assert bench.names() == ["a", "z"]
    assert [(name, error.code) for name, error in applied.failed] == [(f"{MINE}bad", "InternalServerException")]
    assert len(seen) == 3


def test_a_fault_of_all_ends_it_early(bench: PlanHarness) -> None:
    tried = []

    async def fails(spec: ScheduleSpec) -> bool:
        tried.append(spec.name)
        raise AwsError("create_schedule", "AccessDeniedException", "injected", status=403)

    bench.store.create = fails  # type: ignore[method-assign]  # the fault

    applied = bench.apply(bench.plan(*(spec(str(number)) for number in range(200))))

    assert MAX_FAILURES <= len(applied.failed) == len(tried) < 100
    assert applied.skipped == 200 - len(tried)


def test_a_missing_group_ends_it_at_once(bench: PlanHarness) -> None:
    async def missing(spec: ScheduleSpec) -> bool:
        raise MissingResource("schedule group 'shop' does not exist")

    planned = bench.plan(spec("a"))
    bench.store.create = missing  # type: ignore[method-assign]  # the fault

    with pytest.raises(MissingResource):
        bench.apply(planned)


# -- of an app ------------------------------------------------------------------------------------------------------


def job(number: int = 0) -> None: ...


def app_with(*schedules: Any, bench: PlanHarness | None = None) -> TaskQ:
    if bench is None:
        app = TaskQ("shop")
    else:
        broker, results = MemoryBroker(bench.clock, [Queue("default")]), MemoryResults()
        app = TaskQ("shop", clock=bench.clock, broker=broker, results=results, schedule_store=bench.store)
    app.task(name="shop:job", schedule=list(schedules))(job)
    return app


def test_an_app_is_synced_and_a_next_version_of_it_is_too(bench: PlanHarness) -> None:
    first = app_with(rate("1 hour"), Schedule(cron("0 3 * * ? *"), (1,), name="nightly"), bench=bench)
    second = app_with(rate("2 hours"), Schedule(cron("0 3 * * ? *"), (2,), name="weekly"), bench=bench)
    drive(bench.store.create(spec("x")._replace(name="r-shop.x")))

    made = drive(sync(first, first.services.blocking()))
    again = drive(plan_declared(first, first.services.blocking()))
    changed = drive(sync(second, second.services.blocking()))

    assert (len(made.applied.changed), again.size) == (2, 0)
    names = [*(created.name for created in changed.plan.create), *changed.plan.remove]
    assert [name.rpartition("-")[0] for name in names] == ["d-shop.weekly", "d-shop.nightly"]
    assert [update.fields for update in changed.plan.update] == [["expression"]]
    assert [name.rpartition("-")[0] for name in bench.names()] == ["job", "weekly", "r"]


def test_a_declared_schedule_that_was_paused_by_hand_is_resumed(bench: PlanHarness) -> None:
    app = app_with(rate("1 hour"), bench=bench)
    drive(sync(app, app.services.blocking()))
    handle = app.schedule_handle(app.schedules[0].name)
    handle.pause()

    drive(sync(app, app.services.blocking()))

    assert handle.next_run() is not None


def test_without_a_scheduler_a_sync_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("TASKQ_SCHEDULE_GROUP", "TASKQ_SCHEDULE_ROLE_ARN"):
        monkeypatch.delenv(variable, raising=False)
    app = app_with(rate("1 hour"))

    with pytest.raises(ConfigError, match="TASKQ_SCHEDULE_ROLE_ARN"):
        drive(sync(app, app.services.blocking()))
