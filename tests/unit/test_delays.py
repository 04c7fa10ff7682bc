"""Delays: up to 15 minutes the queue keeps the message; longer, and on FIFO, a one-time schedule does."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from taskq_sls import ConfigError, Queue, State, TaskQ
from taskq_sls.brokers.memory import MemoryBroker
from taskq_sls.core.clock import ManualClock
from taskq_sls.core.flow import drive
from taskq_sls.core.message import decode
from taskq_sls.core.schedule_spec import ScheduleSpec
from taskq_sls.results.memory import MemoryResults
from taskq_sls.scheduler.delays import delay_spec
from taskq_sls.scheduler.firing import delay_name
from taskq_sls.scheduler.memory import MemorySchedules
from taskq_sls.testing import in_memory
from tests.support.engine_harness import NOW

DAY = 86_400.0


class DelayHarness:
    """An app over a queue and a scheduler in memory."""

    def __init__(self, *, scheduler: bool = True) -> None:
        self.clock = ManualClock(NOW)
        queues = [Queue("default"), Queue("ledger.fifo")]
        self.broker = MemoryBroker(self.clock, queues)
        self.results = MemoryResults()
        self.schedules = MemorySchedules(self.clock, "shop") if scheduler else None
        self.app = TaskQ(
            "shop",
            queues=queues,
            clock=self.clock,
            broker=self.broker,
            results=self.results,
            schedule_store=self.schedules,
        )

        @self.app.task
        def job(word: str) -> None: ...

        self.job = job

    def specs(self) -> list[ScheduleSpec]:
        assert self.schedules is not None
        names = [one.name for one in drive(self.schedules.page())[0]]
        found = [drive(self.schedules.get(name)) for name in names]
        return [one.spec for one in found if one is not None]


@pytest.fixture
def bench() -> DelayHarness:
    return DelayHarness()


def minute_of(spec: ScheduleSpec) -> float:
    assert spec.expression.startswith("at(")
    return datetime.fromisoformat(spec.expression[3:-1]).replace(tzinfo=UTC).timestamp()


@pytest.mark.parametrize("delay", [1, 900])
def test_a_delay_of_up_to_fifteen_minutes_needs_no_scheduler(delay: float) -> None:
    bench = DelayHarness(scheduler=False)
    bench.job.with_options(delay=delay).enqueue("a")
    assert bench.broker.next_visible_at("default") == NOW + delay


@pytest.mark.parametrize("delay", [900.5, 3600, 90 * DAY, 365 * DAY])
def test_a_longer_delay_is_a_one_time_schedule_that_removes_itself(bench: DelayHarness, delay: float) -> None:
    handle = bench.job.with_options(delay=delay, labels={"a": "b"}).enqueue("x")
    assert bench.broker.next_visible_at("default") is None
    [spec] = bench.specs()
    assert spec.name == delay_name(handle.id, 0, 0)
    assert spec.delete_after
    assert (spec.queue, spec.group, spec.timezone) == ("default", None, "UTC")
    message = decode(spec.body)
    assert (message.id, message.args, message.labels) == (handle.id, ["x"], {"a": "b"})
    assert message.not_before == pytest.approx(NOW + delay, abs=0.01)


@pytest.mark.parametrize("second", range(0, 60, 7))
def test_on_a_standard_queue_the_message_comes_in_the_minute_before_so_that_it_can_start_to_the_second(
    second: int,
) -> None:
    due = 1_800_003_600.0 + second
    spec = delay_spec(id="a", run=0, attempt=0, due=due, now=NOW, queue="default", group=None)
    minute = minute_of(spec)
    assert minute % 60 == 0
    # The service fires at any moment of the minute that is named.
    assert minute + 59.999 < due
    assert due - minute <= 120


@pytest.mark.parametrize("wait", [0.5, 5, 59, 61, 3600])
def test_on_fifo_the_message_comes_in_the_next_full_minute_since_hiding_it_would_stop_its_group(wait: float) -> None:
    spec = delay_spec(id="a", run=0, attempt=0, due=NOW + wait, now=NOW, queue="ledger.fifo", group="g")
    assert NOW + wait <= minute_of(spec) < NOW + wait + 70
    assert spec.group == "g"


def test_any_delay_on_fifo_goes_by_schedule(bench: DelayHarness) -> None:
    bench.job.with_options(queue="ledger.fifo", group="g", delay=5).enqueue("x")
    assert [spec.group for spec in bench.specs()] == ["g"]


@pytest.mark.parametrize("options", [{"delay": 901}, {"queue": "ledger.fifo", "group": "g", "delay": 1}])
def test_without_a_scheduler_such_a_delay_is_refused_with_what_to_set(options: dict[str, Any]) -> None:
    bench = DelayHarness(scheduler=False)
    with pytest.raises(ConfigError, match="TASKQ_SCHEDULE_ROLE_ARN"):
        bench.job.with_options(**options).enqueue("x")
    assert bench.broker.next_visible_at("default") is None


def test_repeating_an_enqueue_with_its_id_makes_one_schedule(bench: DelayHarness) -> None:
    for _ in range(2):
        bench.job.with_options(id="order-1", delay=3600).enqueue("x")
    assert len(bench.specs()) == 1


def test_of_one_call_some_may_be_put_off_and_the_others_sent(bench: DelayHarness) -> None:
    later = bench.job.with_options(delay=timedelta(hours=2))
    handles = bench.job.enqueue_many([bench.job.call("a"), later.call("b"), bench.job.call("c"), later.call("d")])
    assert len({handle.id for handle in handles}) == 4
    assert len(bench.broker.messages("default")) == 2
    assert {spec.name for spec in bench.specs()} == {delay_name(handles[index].id, 0, 0) for index in (1, 3)}


def test_cancelling_a_task_that_waits_for_its_time_removes_its_schedule(bench: DelayHarness) -> None:
    handle = bench.job.with_options(delay=3600).enqueue("x")
    assert handle.cancel().answer == "cancelled"
    assert bench.specs() == []


def test_in_memory_a_delayed_task_runs_when_the_clock_gets_there() -> None:
    app = TaskQ("shop", queues=[Queue("default"), Queue("ledger.fifo")])
    ran = []

    @app.task
    def job(word: str) -> None:
        ran.append(word)

    with in_memory(app) as memory:
        handle = job.with_options(delay=30 * DAY).enqueue("late")
        job.enqueue("now")
        memory.run_until_idle()
        assert ran == ["now"]
        memory.travel(30 * DAY - 1)
        memory.run_until_idle()
        assert ran == ["now"]
        memory.travel(1)
        memory.run_until_idle()
        assert ran == ["now", "late"]
        assert handle.status() is State.SUCCEEDED


def test_in_memory_idle_may_mean_that_nothing_is_put_off_either() -> None:
    app = TaskQ("shop", queues=[Queue("default"), Queue("ledger.fifo")])
    ran = []

    @app.task
    def job(word: str) -> None:
        ran.append(word)

    with in_memory(app) as memory:
        start = memory.clock.time()
        job.with_options(delay=3600).enqueue("b")
        job.with_options(queue="ledger.fifo", group="g", delay=7200).enqueue("c")
        job.with_options(delay=5).enqueue("a")
        memory.run_until_idle(travel=True)
        assert ran == ["a", "b", "c"]
        assert memory.clock.time() - start == pytest.approx(7200, abs=70)


def test_an_argument_that_looks_like_what_a_clock_fills_in_arrives_as_it_was_sent(bench: DelayHarness) -> None:
    text = "<aws.scheduler.scheduled-time> and <aws.scheduler.execution-id>"
    bench.job.with_options(delay=3600).enqueue(text)
    [spec] = bench.specs()
    assert "<aws.scheduler." not in spec.body
    assert decode(spec.body).args == [text]
