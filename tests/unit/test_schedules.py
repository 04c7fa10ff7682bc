"""Schedules declared in code and made at run time."""

from __future__ import annotations

import json
import pickle
import sys
import types
from collections.abc import Iterator
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from taskq_sls import (
    ArgumentsError,
    AwsError,
    ConfigError,
    Middleware,
    PayloadTooLarge,
    Queue,
    Schedule,
    ScheduleHandle,
    TaskContext,
    TaskQ,
    at,
    cron,
    rate,
)
from taskq_sls.client.schedule_sync import adeclared_specs, declared_specs
from taskq_sls.core.flow import drive
from taskq_sls.core.schedule_spec import ScheduleSpec
from taskq_sls.testing import InMemory, in_memory

NOW = datetime.fromtimestamp(1_800_000_000, UTC)
HOURLY = rate("1 hour")
QUEUES = [Queue("default"), Queue("slow"), Queue("ledger.fifo")]


@pytest.fixture
def app() -> TaskQ:
    return TaskQ("shop", queues=QUEUES)


@pytest.fixture
def memory(app: TaskQ) -> Iterator[InMemory]:
    with in_memory(app) as memory:
        yield memory


def only_spec(app: TaskQ) -> ScheduleSpec:
    (spec,) = declared_specs(app)
    return spec


def envelope(spec: ScheduleSpec) -> dict[str, Any]:
    fields = json.loads(spec.body)
    assert isinstance(fields, dict)
    return fields


def stored(memory: InMemory, handle: ScheduleHandle) -> ScheduleSpec:
    found = drive(memory.schedules.get(handle.id))
    assert found is not None
    return found.spec


# -- declared in code ---------------------------------------------------------------------------------------------


def test_a_schedule_of_a_task_becomes_one_whole_message_without_id_or_time(app: TaskQ) -> None:
    @app.task(
        name="shop:report",
        queue="slow",
        labels={"team": "sales"},
        schedule=cron("0 12 * * ? *", timezone="Europe/Berlin"),
    )
    def report() -> None: ...

    spec = only_spec(app)

    assert (spec.expression, spec.timezone, spec.queue) == ("cron(0 12 * * ? *)", "Europe/Berlin", "slow")
    assert (spec.enabled, spec.group, spec.delete_after, spec.window) == (True, None, False, 0)
    assert envelope(spec) == {
        "v": 1,
        "task": "shop:report",
        "schedule": {"name": spec.name, "group": "shop", "at": "<aws.scheduler.scheduled-time>"},
        "labels": {"team": "sales"},
    }


def test_a_task_has_as_many_schedules_as_it_is_given_each_with_its_arguments(app: TaskQ) -> None:
    @app.task(schedule=[HOURLY, Schedule(cron("0 3 * * ? *"), ("eu",), {"deep": True}, name="nightly", enabled=False)])
    def scan(region: str = "all", *, deep: bool = False) -> None: ...

    hourly, nightly = declared_specs(app)

    assert "args" not in envelope(hourly)
    assert (envelope(nightly)["args"], envelope(nightly)["kwargs"]) == (["eu"], {"deep": True})
    assert (hourly.enabled, nightly.enabled) == (True, False)
    assert nightly.name.startswith("d-shop.nightly-")
    assert [schedule.name for schedule in app.schedules] == [hourly.name, nightly.name]


def test_start_end_and_window_are_the_schedules_jitter_is_the_messages(app: TaskQ) -> None:
    start, end = NOW + timedelta(days=1), NOW + timedelta(days=2)

    @app.task(expires_in=600, schedule=rate("1 hour", start=start, end=end, window=5, jitter=60))
    def job() -> None: ...

    spec = only_spec(app)

    assert (spec.start, spec.end, spec.window) == (start.timestamp(), end.timestamp(), 5)
    assert envelope(spec)["schedule"]["jitter"] == 60
    assert envelope(spec)["schedule"]["expires_in"] == 600


def test_overlap_and_misfire_are_the_tasks_unless_the_schedule_says_otherwise(app: TaskQ) -> None:
    @app.task(
        overlap="skip", misfire="all", schedule=[HOURLY, Schedule(rate("2 hours"), overlap="allow", misfire="skip")]
    )
    def job() -> None: ...

    first, second = (envelope(spec)["schedule"] for spec in declared_specs(app))

    assert (first["overlap"], first["misfire"]) == ("skip", "all")
    assert ("overlap" in second, second["misfire"]) == (False, "skip")


def test_app_schedule_declares_the_same_for_a_task_its_name_a_variant_or_a_reference(app: TaskQ) -> None:
    @app.task(name="shop:job")
    def job(number: int) -> None: ...

    app.schedule(job, HOURLY, (1,))
    app.schedule("shop:job", HOURLY, (2,), name="second")
    app.schedule(job.with_options(queue="slow"), HOURLY, [3])
    app.schedule(app.ref("other:job", labels={"a": "b"}), HOURLY, kwargs={"number": 4})

    specs = declared_specs(app)

    assert [spec.queue for spec in specs] == ["default", "default", "slow", "default"]
    assert [envelope(spec)["task"] for spec in specs] == ["shop:job", "shop:job", "shop:job", "other:job"]
    assert [envelope(spec).get("args") for spec in specs] == [[1], [2], [3], None]
    assert [schedule.task for schedule in app.schedules] == [envelope(spec)["task"] for spec in specs]


def test_the_context_is_no_argument_of_a_schedule(app: TaskQ, memory: InMemory) -> None:
    seen = []

    @app.task(schedule=Schedule(at("2027-01-15T09:00:00"), ("eu",)))
    def job(ctx: TaskContext, region: str) -> None:
        seen.append((ctx.task, region))

    drive(memory.schedules.create(only_spec(app)))
    memory.travel(3_600)
    memory.run_until_idle()

    assert seen == [(job.name, "eu")]


def test_on_fifo_the_group_is_the_schedules_or_the_tasks(app: TaskQ) -> None:
    @app.task(queue="ledger.fifo", group="books", schedule=[HOURLY, Schedule(rate("2 hours"), group="audits")])
    def job() -> None: ...

    assert [spec.group for spec in declared_specs(app)] == ["books", "audits"]


def test_arguments_travel_by_the_annotations(app: TaskQ) -> None:
    @app.task(schedule=Schedule(HOURLY, (datetime(2026, 1, 1, tzinfo=UTC),)))
    def job(since: datetime) -> None: ...

    assert envelope(only_spec(app))["args"] == ["2026-01-01T00:00:00Z"]


def test_dispatch_hooks_see_the_message_when_the_schedules_are_collected() -> None:
    class Traced(Middleware):
        async def dispatch(self, message: Any, call_next: Any) -> Any:
            return await call_next(message._replace(trace={"traceparent": "00-1"}))

    app = TaskQ("shop", middleware=[Traced()])

    @app.task(schedule=[HOURLY, rate("2 hours")])
    def job() -> None: ...

    assert [envelope(spec)["trace"] for spec in declared_specs(app)] == [{"traceparent": "00-1"}] * 2


def test_what_a_hook_raises_ends_the_collecting() -> None:
    class Broken(Middleware):
        def dispatch(self, message: Any, call_next: Any) -> Any:
            raise RuntimeError("no trace")

    app = TaskQ("shop", middleware=[Broken()])

    @app.task(schedule=HOURLY)
    def job() -> None: ...

    with pytest.raises(RuntimeError, match="no trace"):
        declared_specs(app)


async def test_async_code_collects_the_same(app: TaskQ) -> None:
    @app.task(schedule=[HOURLY, rate("2 hours")])
    def job() -> None: ...

    with in_memory(app):
        specs = await adeclared_specs(app, await app.services.on_loop())

    assert [spec.expression for spec in specs] == ["rate(1 hour)", "rate(2 hours)"]
    assert [envelope(spec)["schedule"]["name"] for spec in specs] == [schedule.name for schedule in app.schedules]


def test_the_messages_group_is_the_configured_one_else_the_prefix() -> None:
    named = TaskQ("shop", schedule_group="timers")
    prefixed = TaskQ("shop", prefix="shop-dev")
    for app in (named, prefixed):
        app.task(schedule=HOURLY)(lone_job)

    assert envelope(only_spec(named))["schedule"]["group"] == "timers"
    assert envelope(only_spec(prefixed))["schedule"]["group"] == "shop-dev"


def lone_job(number: int = 0) -> None: ...


# -- names --------------------------------------------------------------------------------------------------------


def names(*schedules: Any, name: str = "shop:job", app: str = "shop") -> list[str]:
    declaring = TaskQ(app)
    declaring.task(name=name, schedule=list(schedules))(lone_job)
    return [declared.name for declared in declaring.schedules]


def test_a_name_stays_when_expression_and_arguments_change() -> None:
    before = names(HOURLY, Schedule(HOURLY, (1,), name="one"))
    after = names(cron("0 3 * * ? *"), Schedule(rate("2 hours"), (2,), name="one"))

    assert before == after


def test_names_tell_app_and_task_and_fit_sixty_four_characters() -> None:
    (short,) = names(HOURLY, name="shop.tasks:resize<locals>")
    (long,) = names(HOURLY, name="m:" + "x" * 190, app="a" * 40)
    (own,) = names(Schedule(HOURLY, name="n" * 64), app="a" * 40)

    assert short.startswith("d-shop.resize-locals-")
    assert len(short.rpartition("-")[2]) == 8
    assert [len(long), len(own)] == [64, 64]


def test_schedules_of_two_tasks_and_two_schedules_of_one_have_names_of_their_own() -> None:
    assert len({*names(HOURLY, rate("2 hours")), *names(HOURLY, name="shop:other")}) == 3


def test_a_schedules_own_name_is_no_ordinal() -> None:
    assert names(HOURLY)[0].rpartition("-")[2] != names(Schedule(HOURLY, name="0"))[0].rpartition("-")[2]


def test_a_module_that_is_imported_again_declares_its_schedules_anew() -> None:
    app = TaskQ("shop")
    module = types.ModuleType("shop_tasks_again")
    module.__dict__["app"] = app
    code = "from taskq_sls import rate\n@app.task(schedule=[rate('1 hour'), rate('2 hours')])\ndef job(): ...\n"
    sys.modules[module.__name__] = module
    try:
        for _ in range(2):
            exec(code, module.__dict__)
    finally:
        del sys.modules[module.__name__]

    assert [declared.when.expression for declared in app.schedules] == ["rate(1 hour)", "rate(2 hours)"]


# -- mistakes that raise at the declaration -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"schedule": "cron(0 12 * * ? *)"}, r"import cron from taskq_sls and leave out the quotes"),
        ({"schedule": 60}, r"schedule=60 must be cron\(\.\.\.\), rate\(\.\.\.\) or at"),
        ({"schedule": [HOURLY, None]}, r"schedule=None must be cron"),
        ({"schedule": HOURLY, "delay": 60}, r"delay=60 on a schedule, which has times of its own"),
        ({"schedule": HOURLY, "queue": "ledger.fifo"}, r"FIFO queue 'ledger.fifo' needs a message group"),
        (
            {"schedule": rate("1 hour", jitter=60), "queue": "ledger.fifo", "group": "g"},
            r"jitter=60 on FIFO queue 'ledger.fifo': .* use window=",
        ),
        ({"schedule": rate("1 hour", jitter=60), "expires_in": 60}, r"expires_in=60 may end before jitter=60 does"),
        ({"schedule": [HOURLY, HOURLY]}, r"declared twice, and would run the task twice"),
        ({"schedule": HOURLY, "overlap": "maybe"}, r"overlap='maybe' must be 'allow', or 'skip'"),
        ({"schedule": HOURLY, "misfire": "never"}, r"misfire='never' must be 'skip' .*, 'once' .* or 'all'"),
        (
            {"overlap": "skip", "record": "none"},
            r"overlap='skip' with record='none'.* use record='started' or 'queued'",
        ),
        ({"overlap": "skip", "record": "finished"}, r"overlap='skip' with record='finished'"),
    ],
)
def test_options_that_do_not_fit_a_schedule_are_refused(app: TaskQ, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        app.task(name="shop:job", **options)(lone_job)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"args": "eu"}, r"args='eu' must be a tuple or list of the positional arguments: \('eu',\)"),
        ({"kwargs": [1]}, r"kwargs=\[1\] must map names of parameters"),
        ({"kwargs": {1: 2}}, r"kwargs=\{1: 2\} must map names of parameters"),
        ({"name": "a b"}, r"name='a b' must be 1 to 64 letters, digits"),
        ({"name": "x" * 65}, r"must be 1 to 64 letters"),
        ({"name": ""}, r"name='' must be 1 to 64"),
        ({"enabled": "yes"}, r"enabled='yes' must be True or False"),
        ({"when": HOURLY.expression}, r"leave out the quotes"),
        ({"overlap": "drop"}, r"overlap='drop' must be"),
        ({"misfire": "drop"}, r"misfire='drop' must be"),
        ({"group": "a b"}, r"group='a b' must be 1 to 128"),
    ],
)
def test_a_schedule_refuses_values_of_the_wrong_kind(app: TaskQ, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        app.task(schedule=Schedule(**{"when": HOURLY, **fields}))(lone_job)


def test_arguments_are_checked_where_the_schedule_is_declared(app: TaskQ) -> None:
    with pytest.raises(ArgumentsError, match="too many positional arguments"):
        app.task(name="a:b", schedule=Schedule(HOURLY, (1, 2)))(lone_job)
    with pytest.raises(ArgumentsError, match="'number'"):
        app.task(name="a:c", schedule=Schedule(HOURLY, ("one",)))(lone_job)
    with pytest.raises(ArgumentsError, match="region"):

        @app.task(schedule=HOURLY)
        def needs(region: str) -> None: ...


def test_arguments_of_an_annotation_defined_later_are_checked_at_first_use(app: TaskQ) -> None:
    module = types.ModuleType("shop_later")
    module.__dict__["app"] = app
    code = (
        "from taskq_sls import Schedule, rate\n"
        "@app.task(schedule=Schedule(rate('1 hour'), ('one',)))\ndef job(number: 'Later'): ...\n"
    )
    sys.modules[module.__name__] = module
    try:
        exec(code, module.__dict__)
        assert len(app.schedules) == 1
        module.__dict__["Later"] = int
        with pytest.raises(ArgumentsError, match="'number'"):
            declared_specs(app)
        module.__dict__["Later"] = str
    finally:
        del sys.modules[module.__name__]


def test_options_are_checked_at_once_even_where_arguments_cannot_be(app: TaskQ) -> None:
    def job(number: Later) -> None: ...  # type: ignore[name-defined]  # noqa: F821  # the test is about it

    with pytest.raises(ConfigError, match="delay=60 on a schedule"):
        app.task(delay=60, schedule=HOURLY)(job)


def test_names_that_come_out_the_same_are_refused(app: TaskQ, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("taskq_sls.client.schedules.declared_name", lambda *parts: "d-shop.same-00000000")

    with pytest.raises(ConfigError, match=r"'d-shop\.same-00000000' is the name of another schedule too"):
        app.task(schedule=[HOURLY, rate("2 hours")])(lone_job)


def test_two_schedules_of_one_name_are_refused(app: TaskQ) -> None:
    app.task(name="shop:one", schedule=Schedule(HOURLY, name="nightly"))(lone_job)

    with pytest.raises(ConfigError, match=r"the name is taken by a schedule of task shop:one"):
        app.schedule(app.ref("shop:two"), HOURLY, name="nightly")


def test_one_task_with_other_arguments_at_the_same_time_is_no_repetition(app: TaskQ) -> None:
    app.task(schedule=[Schedule(HOURLY, (1,)), Schedule(HOURLY, (2,))])(lone_job)

    assert len(declared_specs(app)) == 2


def test_a_task_that_is_not_registered_cannot_be_scheduled_by_name(app: TaskQ) -> None:
    with pytest.raises(ConfigError, match=r"schedule\('shop:nobody'\): no such task .* app.ref\(name\)"):
        app.schedule("shop:nobody", HOURLY)
    with pytest.raises(ConfigError, match="registered in this app"):
        app.schedule(TaskQ("other").task(lone_job), HOURLY)


def test_ids_and_unique_keys_are_of_single_tasks(app: TaskQ) -> None:
    job = app.task(lone_job)

    with pytest.raises(ConfigError, match=r"id='a' on a declared schedule.* give it a name="):
        app.schedule(job.with_options(id="a"), HOURLY)
    with pytest.raises(ConfigError, match=r"unique_key='a' on a schedule.* overlap='skip'"):
        app.schedule(job.with_options(unique_key="a"), HOURLY)


def test_arguments_too_large_for_a_schedule_are_refused(app: TaskQ) -> None:
    @app.task
    def job(text: str) -> None: ...

    app.schedule(job, HOURLY, ("x" * 240_000,))
    with pytest.raises(PayloadTooLarge, match=r"a schedule carries 245,760 .* pass a reference to the data"):
        app.schedule(job, HOURLY, ("ü" * 123_000,))


def test_text_that_the_clock_would_replace_is_refused(app: TaskQ) -> None:
    @app.task
    def job(text: str) -> None: ...

    with pytest.raises(ArgumentsError, match="EventBridge Scheduler would replace"):
        app.schedule(job, HOURLY, ("<aws.scheduler.execution-id>",))


def test_a_schedule_is_a_frozen_value() -> None:
    schedule = Schedule(HOURLY, [1], {"a": 2}, name="x")

    assert schedule == Schedule(rate(hours=1), (1,), {"a": 2}, name="x")
    with pytest.raises(AttributeError):
        schedule.name = "y"  # type: ignore[misc]  # the test is about it


@pytest.mark.parametrize(
    ("schedule", "text"),
    [
        (Schedule(HOURLY), "Schedule(rate('1 hour'))"),
        (
            Schedule(HOURLY, ([1],), name="x", enabled=False),
            "Schedule(rate('1 hour'), ([1],), name='x', enabled=False)",
        ),
        (Schedule(HOURLY, (), {"a": [2]}, misfire="all"), "Schedule(rate('1 hour'), (), {'a': [2]}, misfire='all')"),
    ],
)
def test_a_schedule_can_be_hashed_copied_pickled_and_read(schedule: Schedule, text: str) -> None:
    copy = pickle.loads(pickle.dumps(schedule))

    assert copy == schedule == deepcopy(schedule)
    assert len({copy, schedule, Schedule(rate("2 hours"))}) == 2
    assert repr(schedule) == text


def test_an_app_without_schedules_imports_nothing_of_them() -> None:
    import subprocess

    code = (
        "import sys; from taskq_sls import TaskQ; app = TaskQ('a'); app.task(name='a:b')(lambda: None); app.schedules\n"
        "assert not [m for m in sys.modules if m.startswith('taskq_sls.client.schedule') or m == 'taskq_sls.scheduler.cron']"
    )

    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


# -- made at run time ---------------------------------------------------------------------------------------------


def test_a_schedule_made_at_run_time_runs_the_task_at_its_times(app: TaskQ, memory: InMemory) -> None:
    seen = []

    @app.task
    def job(region: str, *, deep: bool = False) -> None:
        seen.append((region, deep, memory.clock.time() - NOW.timestamp()))

    handle = job.schedule(rate("1 hour", start=NOW + timedelta(hours=1)), "eu", deep=True)
    for _ in range(2):
        memory.travel(3_600)
        memory.run_until_idle()

    assert handle.task == job.name
    assert seen == [("eu", True, 3_600), ("eu", True, 7_200)]


def test_the_task_of_a_firing_is_known_before_it_runs(app: TaskQ, memory: InMemory) -> None:
    @app.task
    def job() -> str:
        return "done"

    handle = job.schedule(at(NOW + timedelta(hours=1)))
    next_run = handle.next_run()
    assert next_run == NOW + timedelta(hours=1)
    id = handle.task_id(next_run)
    memory.travel(3_600)
    memory.run_until_idle()

    record = app.results.get(id)
    assert record is not None
    assert record.result == "done"
    assert app.schedule_handle(handle.id).task_id(next_run) == id


def test_what_has_a_last_run_is_removed_after_it(app: TaskQ, memory: InMemory) -> None:
    job = app.task(lone_job)

    once = job.schedule(at(NOW + timedelta(hours=1)))
    ending = job.schedule(rate("1 hour", end=NOW + timedelta(days=1)))
    endless = job.schedule(HOURLY)

    assert [stored(memory, handle).delete_after for handle in (once, ending, endless)] == [True, True, False]


def test_with_an_id_a_schedule_can_be_made_again_and_found_again(app: TaskQ, memory: InMemory) -> None:
    job = app.task(lone_job)

    first = job.with_options(id="order:4711").schedule(HOURLY, 1)
    again = job.with_options(id="order:4711").schedule(rate("2 hours"), 2)
    other = job.with_options(id="order:4712").schedule(HOURLY)

    assert first.id == again.id == app.schedule_handle("order:4711", job).id != other.id
    assert first.id.startswith("r-shop.order-4711-")
    assert stored(memory, first).expression == "rate(1 hour)"


def test_without_an_id_every_schedule_is_another_one(app: TaskQ, memory: InMemory) -> None:
    job = app.task(lone_job)

    handles = [job.schedule(HOURLY) for _ in range(3)]

    assert len({handle.id for handle in handles}) == 3
    assert all(handle.id.startswith("r-shop.lone_job-") for handle in handles)


def test_options_of_the_call_are_honoured(app: TaskQ, memory: InMemory) -> None:
    job = app.task(lone_job)
    options = {
        "queue": "ledger.fifo",
        "group": "g",
        "labels": {"a": "b"},
        "expires_in": 60,
        "overlap": "skip",
        "misfire": "all",
    }

    spec = stored(memory, job.with_options(**options).schedule(HOURLY))

    assert (spec.queue, spec.group, envelope(spec)["labels"]) == ("ledger.fifo", "g", {"a": "b"})
    field = envelope(spec)["schedule"]
    assert (field["expires_in"], field["overlap"], field["misfire"], field["name"]) == (60, "skip", "all", spec.name)


def test_a_reference_schedules_a_task_whose_code_is_elsewhere(app: TaskQ, memory: InMemory) -> None:
    handle = app.ref("other:job", queue="slow").schedule(HOURLY, 1, a="b")

    assert envelope(stored(memory, handle))["kwargs"] == {"a": "b"}


def test_a_schedule_made_in_a_task_is_its_child(app: TaskQ, memory: InMemory) -> None:
    made = []

    @app.task
    def outer() -> None:
        made.append(inner.schedule(HOURLY))

    @app.task
    def inner() -> None: ...

    handle = outer.enqueue()
    memory.run_until_idle()

    fields = envelope(stored(memory, made[0]))
    assert (fields["parent"], fields["depth"]) == (handle.id, 1)


async def test_async_code_makes_and_changes_schedules(app: TaskQ) -> None:
    job = app.task(lone_job)
    with in_memory(app) as memory:
        handle = await job.aschedule(at(NOW + timedelta(hours=1)), 1)

        assert await handle.anext_run() == NOW + timedelta(hours=1)
        assert await handle.apause()
        assert await handle.anext_run() is None
        assert await handle.aresume()
        assert await handle.aupdate(args=(2,))
        found = await memory.schedules.get(handle.id)
        assert found is not None
        assert envelope(found.spec)["args"] == [2]
        assert await handle.acancel()
        assert not await handle.acancel()


@pytest.mark.parametrize("when", [at("2020-01-01T00:00:00"), rate("1 hour", end=NOW - timedelta(hours=1))])
def test_what_would_never_run_is_refused_at_run_time(app: TaskQ, memory: InMemory, when: Any) -> None:
    job = app.task(lone_job)

    with pytest.raises(ConfigError, match="has no run after now"):
        job.schedule(when)


def test_a_moment_that_has_just_begun_is_not_too_late(app: TaskQ, memory: InMemory) -> None:
    assert app.task(lone_job).schedule(at(NOW - timedelta(seconds=1))).id


def test_wrong_arguments_and_options_are_refused_at_run_time(app: TaskQ, memory: InMemory) -> None:
    job = app.task(lone_job)

    with pytest.raises(ArgumentsError, match="'number'"):
        job.schedule(HOURLY, "one")  # type: ignore[arg-type]  # the test is about it
    with pytest.raises(ConfigError, match="leave out the quotes"):
        job.schedule("rate(1 hour)")  # type: ignore[arg-type]  # the test is about it
    with pytest.raises(ConfigError, match="delay=60 on a schedule"):
        job.with_options(delay=60).schedule(HOURLY)
    with pytest.raises(ConfigError, match="unique_key='a' on a schedule"):
        job.with_options(unique_key="a").schedule(HOURLY)


def test_a_schedule_that_the_store_refuses_is_an_error_with_its_name(app: TaskQ, memory: InMemory) -> None:
    async def throttled(spec: ScheduleSpec) -> bool:
        raise AwsError("create_schedule", "ThrottlingException", "slow down", status=429, transient=True)

    memory.schedules.create = throttled  # type: ignore[method-assign]  # the fault

    with pytest.raises(AwsError, match=r"ThrottlingException: schedule r-shop\.lone_job-\w+: slow down") as caught:
        app.task(lone_job).schedule(HOURLY)

    assert caught.value.transient


def test_without_a_scheduler_the_error_names_the_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("TASKQ_SCHEDULE_GROUP", "TASKQ_SCHEDULE_ROLE_ARN"):
        monkeypatch.delenv(variable, raising=False)
    app = TaskQ("shop")
    job = app.task(lone_job)

    with pytest.raises(ConfigError, match=r"TASKQ_SCHEDULE_ROLE_ARN.*taskq local up"):
        job.schedule(HOURLY)
    with pytest.raises(ConfigError, match="TASKQ_SCHEDULE_ROLE_ARN"):
        app.schedule_handle("r-shop.job-1").next_run()


# -- handles ------------------------------------------------------------------------------------------------------


def test_a_paused_schedule_has_no_next_run_until_it_is_resumed(app: TaskQ, memory: InMemory) -> None:
    handle = app.task(lone_job).schedule(at(NOW + timedelta(hours=1)), 5)
    before = stored(memory, handle)

    assert handle.pause()
    assert handle.next_run() is None
    assert stored(memory, handle) == before._replace(enabled=False)
    assert handle.resume()
    assert handle.next_run() == NOW + timedelta(hours=1)
    assert stored(memory, handle) == before


def test_the_next_run_of_a_rate_is_on_the_grid_of_its_making_and_in_its_time_zone(app: TaskQ, memory: InMemory) -> None:
    job = app.task(lone_job)
    hourly, berlin = job.schedule(HOURLY), job.schedule(cron("0 12 * * ? *", timezone="Europe/Berlin"))
    memory.travel(600)

    assert hourly.next_run() == NOW + timedelta(hours=1)
    next_run = berlin.next_run()
    assert next_run is not None
    assert next_run.isoformat() == "2027-01-15T12:00:00+01:00"


def test_the_grid_of_a_rate_begins_in_the_second_of_its_making(app: TaskQ, memory: InMemory) -> None:
    memory.travel(0.7)
    handle = app.task(lone_job).schedule(HOURLY)
    memory.run_until_idle()

    next_run = handle.next_run()
    assert next_run == NOW + timedelta(hours=1)
    memory.travel(3_600)
    memory.run_until_idle()
    assert app.results.get(handle.task_id(next_run)) is not None


def test_a_cancelled_schedule_is_gone(app: TaskQ, memory: InMemory) -> None:
    handle = app.task(lone_job).schedule(HOURLY)

    assert handle.cancel()
    assert (handle.cancel(), handle.pause(), handle.resume(), handle.update(when=HOURLY), handle.next_run()) == (
        False,
        False,
        False,
        False,
        None,
    )


def test_another_time_keeps_everything_but_the_time(app: TaskQ, memory: InMemory) -> None:
    job = app.task(lone_job)
    handle = job.with_options(labels={"a": "b"}).schedule(rate("1 hour", jitter=30), 5)
    before = stored(memory, handle)

    assert handle.update(when=cron("0 3 * * ? *", timezone="Asia/Tokyo", window=15))

    after = stored(memory, handle)
    assert (after.expression, after.timezone, after.window) == ("cron(0 3 * * ? *)", "Asia/Tokyo", 15)
    expected = envelope(before)
    del expected["schedule"]["jitter"]
    assert envelope(after) == expected
    assert handle.update(when=at(NOW + timedelta(days=1), jitter=10))
    assert stored(memory, handle).delete_after
    assert envelope(stored(memory, handle))["schedule"]["jitter"] == 10


def test_other_arguments_are_checked_and_keep_the_time(app: TaskQ, memory: InMemory) -> None:
    job = app.task(lone_job)
    handle = job.schedule(HOURLY, 5)

    with pytest.raises(ArgumentsError, match="'number'"):
        handle.update(args=("six",))
    assert envelope(stored(memory, handle))["args"] == [5]
    assert app.schedule_handle(handle.id).update(kwargs={"number": 6})
    fields = envelope(stored(memory, handle))
    assert ("args" in fields, fields["kwargs"]) == (False, {"number": 6})
    assert stored(memory, handle).expression == "rate(1 hour)"


def test_other_arguments_pass_the_dispatch_hooks_and_another_time_does_not() -> None:
    class Sealed(Middleware):
        async def dispatch(self, message: Any, call_next: Any) -> Any:
            return await call_next(message._replace(args=[f"sealed {value}" for value in message.args]))

    app = TaskQ("shop", middleware=[Sealed()])

    @app.task
    def job(text: str) -> None: ...

    with in_memory(app) as memory:
        handle = job.schedule(HOURLY, "a")
        assert handle.update(when=rate("2 hours"))
        assert envelope(stored(memory, handle))["args"] == ["sealed a"]
        assert handle.update(args=("b",))
        assert envelope(stored(memory, handle))["args"] == ["sealed b"]


def test_other_arguments_have_a_trace_of_their_own() -> None:
    class Traced(Middleware):
        traces = iter("12")

        async def dispatch(self, message: Any, call_next: Any) -> Any:
            trace = message.trace or {"traceparent": next(self.traces)}
            return await call_next(message._replace(trace=trace))

    app = TaskQ("shop", middleware=[Traced()])
    job = app.task(lone_job)
    with in_memory(app) as memory:
        handle = job.schedule(HOURLY)
        handle.update(args=(1,))

        assert envelope(stored(memory, handle))["trace"] == {"traceparent": "2"}


def test_messages_that_are_not_of_a_schedule_are_not_changed(app: TaskQ, memory: InMemory) -> None:
    for name, body in (("r-shop.text", "hello"), ("r-shop.delay", '{"v":1,"id":"a","task":"b:c"}')):
        drive(memory.schedules.create(ScheduleSpec(name, "rate(1 hour)", "UTC", "default", body)))

    with pytest.raises(ConfigError, match="its message was not written by taskq_sls"):
        app.schedule_handle("r-shop.text").update(when=HOURLY)
    with pytest.raises(ConfigError, match="carries the delay of task a"):
        app.schedule_handle("r-shop.delay").update(when=HOURLY)
    assert app.schedule_handle("r-shop.text").pause()


def test_a_change_that_does_not_fit_is_refused(app: TaskQ, memory: InMemory) -> None:
    job = app.task(lone_job)
    fifo = job.with_options(queue="ledger.fifo", group="g").schedule(HOURLY)
    expiring = job.with_options(expires_in=60).schedule(HOURLY)

    with pytest.raises(ConfigError, match="changes nothing"):
        fifo.update()
    with pytest.raises(ConfigError, match="jitter=5 on FIFO"):
        fifo.update(when=rate("1 hour", jitter=5))
    with pytest.raises(ConfigError, match="expires_in=60 may end before jitter=90"):
        expiring.update(when=rate("1 hour", jitter=90))
    with pytest.raises(ConfigError, match="has no run after now"):
        expiring.update(when=at("2020-01-01T00:00:00"))
    with pytest.raises(PayloadTooLarge, match="a schedule carries"):
        app.ref("other:job").schedule(HOURLY, "a").update(args=("x" * 250_000,))
    with pytest.raises(ConfigError, match="must be cron"):
        expiring.update(when="1 hour")  # type: ignore[arg-type]  # the test is about it


def test_the_handle_of_a_declared_schedule_knows_its_task(app: TaskQ, memory: InMemory) -> None:
    job = app.task(schedule=HOURLY)(lone_job)

    assert app.schedule_handle(app.schedules[0].name).task == job.name


@pytest.mark.parametrize("id", ["order 4711", "t-0123", "", "job", 5])
def test_what_is_no_name_of_a_schedule_gives_no_handle(app: TaskQ, id: Any) -> None:
    with pytest.raises(ConfigError, match="not the name of a schedule"):
        app.schedule_handle(id)


def test_a_time_without_a_zone_names_no_firing(app: TaskQ, memory: InMemory) -> None:
    with pytest.raises(ConfigError, match="give a datetime with a time zone"):
        app.task(lone_job).schedule(HOURLY).task_id(datetime(2026, 1, 1))
