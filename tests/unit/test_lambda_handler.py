"""The Lambda driver over queues and records in memory."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import logging
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from taskq_sls import Queue, Retry, RetryLater, TaskContext, TaskQ
from taskq_sls.brokers.base import EntryError
from taskq_sls.core.clock import ManualClock, SystemClock
from taskq_sls.core.delivery import Delivery
from taskq_sls.core.flow import drive
from taskq_sls.core.message import Message
from taskq_sls.core.schedule_spec import ScheduleSpec
from taskq_sls.core.states import State
from taskq_sls.core.times import MAX_VISIBILITY_STEP
from taskq_sls.errors import AwsError, ConfigError
from taskq_sls.scheduler.memory import MemorySchedules
from taskq_sls.serverless import handler as handler_module
from taskq_sls.serverless import settling as settling_module
from tests.support.lambda_bench import LambdaHarness, ids, record_of
from tests.support.waiting import until


@pytest.fixture
def make() -> Iterator[Callable[..., LambdaHarness]]:
    with contextlib.ExitStack() as stack:

        def bench(*queues: Queue, **options: Any) -> LambdaHarness:
            made = LambdaHarness(*queues, **options)
            stack.callback(lambda: made.handler.close())
            return made

        yield bench


@pytest.fixture
def bench(make: Callable[..., LambdaHarness]) -> LambdaHarness:
    return make()


# The answer


def test_a_batch_that_succeeds_reports_nothing(bench: LambdaHarness) -> None:
    @bench.app.task(name="add")
    def add(a: int, b: int) -> int:
        return a + b

    handles = add.enqueue_many([(number, 1) for number in range(5)])

    assert bench.handler(bench.event(), None) == {"batchItemFailures": []}
    assert [handle.result() for handle in handles] == [1, 2, 3, 4, 5]
    assert bench.broker.hidden == []


def test_an_event_without_records_is_answered(bench: LambdaHarness) -> None:
    assert bench.handler({"Records": []}, None) == {"batchItemFailures": []}


def test_the_answer_names_exactly_the_records_that_failed(bench: LambdaHarness) -> None:
    @bench.app.task(name="odd", retry=Retry(max_attempts=3, backoff=7, jitter="none"))
    async def odd(number: int) -> None:
        if number % 2 == 0:
            raise ValueError(number)

    odd.enqueue_many([(number,) for number in range(6)])
    event = bench.event()

    failed = bench.invoke(event)

    assert failed == ids(event)[::2]
    assert bench.depth() == 3


def test_a_retry_is_hidden_for_whole_seconds_rounded_up(bench: LambdaHarness) -> None:
    @bench.app.task(name="fail", retry=Retry(max_attempts=2, backoff=2.5, jitter="none"))
    async def fail() -> None:
        raise ValueError

    handle = fail.enqueue()
    event = bench.event()

    assert bench.invoke(event) == ids(event)
    assert bench.broker.hidden == [(ids(event)[0], 3)]
    assert bench.state(handle.id) is State.RETRYING


def test_a_dead_letter_is_copied_and_then_counts_as_done(bench: LambdaHarness) -> None:
    @bench.app.task(name="fail", retry=Retry(max_attempts=1))
    async def fail() -> None:
        raise ValueError("no")

    handle = fail.enqueue()

    assert bench.invoke() == []
    [copy] = bench.broker.messages("default-dlq")
    assert copy.attributes["taskq.error_message"] == "no"
    assert bench.depth() == 0
    assert bench.state(handle.id) is State.FAILED


@pytest.mark.parametrize(
    "fault",
    [
        AwsError("send_message_batch", "ThrottlingException", "slow", transient=True),
        EntryError("AccessDenied", "not allowed"),
        RuntimeError("a fault of ours"),
    ],
)
def test_a_record_whose_dead_letter_copy_fails_stays(bench: LambdaHarness, fault: Exception | EntryError) -> None:
    @bench.app.task(name="fail", retry=Retry(max_attempts=1))
    async def fail() -> None:
        raise ValueError

    fail.enqueue()
    bench.broker.copy_fault = fault
    event = bench.event()

    assert bench.invoke(event) == ids(event)
    assert bench.depth() == 1


def test_without_a_dead_letter_queue_a_recorded_failure_is_done(make: Callable[..., LambdaHarness]) -> None:
    bench = make(dead_letter=False)

    @bench.app.task(name="fail", retry=Retry(max_attempts=1))
    async def fail() -> None:
        raise ValueError

    fail.enqueue()

    assert bench.invoke() == []


def test_a_lost_record_is_reported_without_a_call(bench: LambdaHarness) -> None:
    @bench.app.task(name="slow")
    async def slow(ctx: TaskContext) -> None:
        # Somebody else takes over while this attempt runs.
        bench.results._rows[ctx.id].owner = "somebody else"

    slow.enqueue()
    event = bench.event()

    assert bench.invoke(event) == ids(event)
    assert bench.broker.hidden == []


def test_a_duplicate_of_a_finished_task_is_done_without_running(bench: LambdaHarness) -> None:
    runs = []

    @bench.app.task(name="once")
    async def once() -> None:
        runs.append(1)

    once.with_options(id="order-1").enqueue()
    once.with_options(id="order-1").enqueue()

    bench.invoke(bench.event(most=1))

    assert bench.invoke() == []
    assert runs == [1]


def test_equal_records_are_told_apart(bench: LambdaHarness) -> None:
    """A test event of the console has one receipt handle for every record."""

    @bench.app.task(name="odd", retry=Retry(max_attempts=3))
    async def odd(number: int) -> None:
        if number == 0:
            raise ValueError

    odd.enqueue_many([(0,), (1,)])
    event = bench.event()
    for record in event["Records"]:
        record["receiptHandle"] = "MessageReceiptHandle"

    answer = bench.handler(event, None)

    assert answer == {"batchItemFailures": [{"itemIdentifier": ids(event)[0]}]}


def test_a_message_that_nobody_can_run_backs_off(bench: LambdaHarness) -> None:
    drive(bench.broker.send([outgoing("not json"), outgoing('{"v": 1, "id": "x", "task": "unknown"}')]))
    event = bench.event()

    assert bench.invoke(event) == ids(event)
    assert [seconds for _, seconds in bench.broker.hidden] == [30, 30]


def outgoing(body: str) -> Any:
    from taskq_sls.brokers.base import Outgoing

    return Outgoing("default", body, "id")


# Faults


def test_a_record_that_fails_inside_our_own_code_is_reported_and_the_others_run(
    bench: LambdaHarness, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ran = []

    @bench.app.task(name="note")
    async def note(number: int) -> None:
        ran.append(number)

    note.enqueue_many([(0,), (1,), (2,)])
    event = bench.event()
    claim = bench.results.claim

    async def broken(wish: Any) -> Any:
        if not ran:
            ran.append(-1)
            raise KeyError("a bug")
        return await claim(wish)

    monkeypatch.setattr(bench.results, "claim", broken)

    assert bench.invoke(event) == ids(event)[:1]
    assert ran == [-1, 1, 2]
    assert [record.action for record in caplog.records if record.exc_info] == ["claim_fault"]  # type: ignore[attr-defined]  # our extra


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), asyncio.CancelledError(), BaseException("x")])
def test_nothing_that_a_task_raises_escapes(bench: LambdaHarness, error: BaseException) -> None:
    @bench.app.task(name="end", retry=Retry(max_attempts=1))
    async def end() -> None:
        raise error

    @bench.app.task(name="end_sync", retry=Retry(max_attempts=1))
    def end_sync() -> None:
        raise error

    handles = [end.enqueue(), end_sync.enqueue()]

    assert bench.invoke() == []
    assert [bench.state(handle.id) for handle in handles] == [State.FAILED, State.FAILED]


def test_an_exit_in_a_coroutine_or_callback_of_a_task_costs_no_other_record(bench: LambdaHarness) -> None:
    async def leave() -> None:
        await asyncio.sleep(0)
        raise SystemExit(0)

    @bench.app.task(name="gathered", retry=Retry(max_attempts=1))
    async def gathered() -> None:
        await asyncio.gather(leave(), asyncio.sleep(60))

    @bench.app.task(name="callback")
    async def callback() -> None:
        asyncio.get_running_loop().call_soon(sys.exit, 0)
        await asyncio.sleep(0)

    @bench.app.task(name="innocent")
    async def innocent() -> None:
        await asyncio.sleep(0.05)

    handles = [gathered.enqueue(), callback.enqueue(), innocent.enqueue()]
    assert bench.invoke() == []
    assert [bench.state(handle.id) for handle in handles] == [State.FAILED, State.SUCCEEDED, State.SUCCEEDED]


def test_a_task_that_cancels_itself_is_reported_and_the_others_run(
    bench: LambdaHarness, caplog: pytest.LogCaptureFixture
) -> None:
    ran = []

    @bench.app.task(name="cancel_self")
    async def cancel_self() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(0)

    @bench.app.task(name="note")
    async def note() -> None:
        await asyncio.sleep(0)
        ran.append(1)

    cancel_self.enqueue()
    note.enqueue()
    event = bench.event()

    assert bench.invoke(event) == ids(event)[:1]
    assert ran == [1]
    assert [record.action for record in caplog.records] == ["process_fault"]  # type: ignore[attr-defined]  # our extra


@pytest.mark.parametrize(
    "fault",
    [
        AwsError("change_message_visibility_batch", "AccessDenied", "not allowed", status=403),
        EntryError("AccessDenied", "not allowed"),
    ],
)
def test_without_the_permission_to_hide_the_report_alone_keeps_the_records(
    bench: LambdaHarness, caplog: pytest.LogCaptureFixture, fault: Exception | EntryError
) -> None:
    @bench.app.task(name="fail", retry=Retry(max_attempts=5))
    async def fail() -> None:
        raise ValueError

    fail.enqueue_many([()] * 6)
    bench.broker.hide_fault = fault

    for _ in range(2):
        event = bench.event(most=3)
        assert bench.invoke(event) == ids(event)

    assert sum(getattr(record, "action", "") == "hide_fault" for record in caplog.records) == 1
    assert bench.depth() == 6


def test_a_table_that_cannot_be_reached_gives_the_records_back(
    bench: LambdaHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    @bench.app.task(name="note")
    async def note() -> None:
        raise AssertionError("must not run")

    async def unreachable(wish: Any) -> Any:
        raise AwsError("update_item", "EndpointConnectionError", "refused", transient=True)

    monkeypatch.setattr(bench.results, "claim", unreachable)
    note.enqueue()
    event = bench.event()

    assert bench.invoke(event) == ids(event)
    [(_, seconds)] = bench.broker.hidden
    assert 5 <= seconds <= 60


def test_a_record_whose_claim_the_table_refuses_as_invalid_is_poison(
    bench: LambdaHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    @bench.app.task(name="note")
    async def note() -> None:
        raise AssertionError("must not run")

    async def invalid(wish: Any) -> Any:
        raise AwsError("update_item", "ValidationException", "Item size has exceeded the limit")

    monkeypatch.setattr(bench.results, "claim", invalid)
    note.enqueue()
    event = bench.event()

    assert bench.invoke(event) == ids(event)
    assert [seconds for _, seconds in bench.broker.hidden] == [30]

    event["Records"][0]["attributes"]["ApproximateReceiveCount"] = "10"
    assert bench.invoke(event) == []
    [copy] = bench.broker.messages("default-dlq")
    assert copy.attributes["taskq.reason"] == "claim_refused"


@pytest.mark.parametrize(
    "event",
    [
        None,
        [],
        {},
        {"Records": "x"},
        {"Records": ["x"]},
        {"Records": [{"EventSource": "aws:sns", "Sns": {"Message": "x"}}]},
        {"Records": [{"eventSource": "aws:s3", "s3": {}}]},
        {"Records": [{"eventSource": "aws:sqs", "body": "x"}]},
        {"password": "hunter2"},
        {"Records": [{"eventSource": "aws:sqs", "body": "hunter2"}]},
        "hunter2",
    ],
)
def test_an_event_that_is_not_from_sqs_is_refused(bench: LambdaHarness, event: Any) -> None:
    with pytest.raises(ConfigError, match="takes SQS events") as error:
        bench.handler(event, None)

    assert "hunter2" not in str(error.value)


@pytest.mark.parametrize("options", [{"concurrency": 0}, {"concurrency": True}, {"margin": -1}, {"margin": 901}])
def test_options_out_of_range_are_refused(bench: LambdaHarness, options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(options))):
        bench.app.lambda_handler(**options)


# Concurrency and order


@pytest.mark.parametrize("limit", [1, 3, None])
def test_records_run_at_once_up_to_the_limit(bench: LambdaHarness, limit: int | None) -> None:
    active = most = 0

    @bench.app.task(name="meet")
    async def meet() -> None:
        nonlocal active, most
        active += 1
        most = max(most, active)
        for _ in range(20):
            await asyncio.sleep(0)
        active -= 1

    bench.handler = bench.app.lambda_handler(concurrency=limit)
    meet.enqueue_many([()] * 8)

    assert bench.invoke() == []
    assert most == (limit or 8)


def test_sync_tasks_run_in_threads_side_by_side(bench: LambdaHarness) -> None:
    together = threading.Barrier(3, timeout=60)

    @bench.app.task(name="meet")
    def meet() -> str:
        together.wait()
        return threading.current_thread().name

    handles = meet.enqueue_many([()] * 3)

    assert bench.invoke() == []
    assert all(handle.result().startswith("taskq-task") for handle in handles)


def test_no_more_sync_tasks_are_started_than_there_are_threads(bench: LambdaHarness) -> None:
    bench.app.threads.limit = 2
    running: list[int] = []
    most_claimed = 0

    @bench.app.task(name="count")
    def count(ctx: TaskContext, number: int) -> None:
        nonlocal most_claimed
        running.append(number)
        claimed = [row for row in bench.results._rows.values() if row.status is State.RUNNING]
        most_claimed = max(most_claimed, len(claimed))
        running.remove(number)

    count.enqueue_many([(number,) for number in range(8)])

    assert bench.invoke() == []
    assert most_claimed <= 2


def test_a_failure_on_fifo_stops_its_group_and_gives_the_rest_back_untouched(
    make: Callable[..., LambdaHarness],
) -> None:
    bench = make(Queue("ledger.fifo"))
    ran = []

    @bench.app.task(name="post", retry=Retry(max_attempts=5, backoff=4, jitter="none"))
    async def post(entry: str) -> None:
        ran.append(entry)
        if entry == "a2":
            raise ValueError

    handles = {
        entry: post.with_options(group=entry[0]).enqueue(entry) for entry in ("a1", "b1", "a2", "b2", "a3", "a4")
    }
    event = bench.event()
    entries = {record["messageId"]: json.loads(record["body"])["args"][0] for record in event["Records"]}

    failed = bench.invoke(event)

    assert sorted(entries[id] for id in failed) == ["a2", "a3", "a4"]
    assert sorted(ran) == ["a1", "a2", "b1", "b2"]
    assert ran.index("a1") < ran.index("a2")
    assert bench.record(handles["a3"].id) is None
    assert sorted(seconds for _, seconds in bench.broker.hidden) == [0, 0, 4]


# The deadline


def test_the_first_record_is_always_started_and_later_ones_only_while_time_remains(
    make: Callable[..., LambdaHarness],
) -> None:
    bench = make()
    ran = []

    @bench.app.task(name="long", timeout=60)
    async def long(number: int) -> None:
        ran.append(number)

    long.enqueue_many([(0,), (1,)])
    event = bench.event()

    assert bench.invoke(event, timeout=30) == ids(event)[1:]
    assert ran == [0]
    assert bench.broker.hidden == [(ids(event)[1], 0)]


@pytest.mark.parametrize(("timeout", "started"), [(24.0, 2), (24.2, 1)])
def test_a_later_record_is_started_when_what_remains_before_the_margin_covers_its_timeout(
    bench: LambdaHarness, timeout: float, started: int
) -> None:
    """Of 30 s, 5 are the margin."""
    ran = []

    @bench.app.task(name="first")
    async def first() -> None:
        assert isinstance(bench.clock, ManualClock)
        bench.clock.travel(1)
        ran.append("first")

    @bench.app.task(name="second", timeout=timeout)
    async def second() -> None:
        ran.append("second")

    bench.handler = bench.app.lambda_handler(concurrency=1)
    first.enqueue()
    second.enqueue()

    bench.invoke(timeout=30)

    assert len(ran) == started


def test_a_record_without_a_timeout_needs_a_second_before_the_margin(bench: LambdaHarness) -> None:
    ran = []

    @bench.app.task(name="note")
    async def note(number: int) -> None:
        assert isinstance(bench.clock, ManualClock)
        ran.append(number)
        bench.clock.travel(12)

    bench.handler = bench.app.lambda_handler(concurrency=1)
    note.enqueue_many([(number,) for number in range(4)])
    event = bench.event()

    assert bench.invoke(event, timeout=30) == ids(event)[3:]
    assert ran == [0, 1, 2]


def test_a_sync_record_that_waited_for_a_thread_is_not_started_too_late(bench: LambdaHarness) -> None:
    bench.app.threads.limit = 1
    ran = []

    @bench.app.task(name="long", timeout=20)
    def long(number: int) -> None:
        assert isinstance(bench.clock, ManualClock)
        ran.append(number)
        bench.clock.travel(10)

    handles = long.enqueue_many([(0,), (1,)])
    event = bench.event()

    assert bench.invoke(event, timeout=30) == ids(event)[1:]
    assert ran == [0]
    assert bench.record(handles[1].id) is None


def test_a_running_record_is_stopped_at_the_margin_and_its_attempt_counts(make: Callable[..., LambdaHarness]) -> None:
    bench = make(clock=SystemClock())
    bench.handler = bench.app.lambda_handler(margin=4)

    @bench.app.task(name="forever", retry=Retry(max_attempts=3, backoff=0))
    async def forever() -> None:
        await asyncio.sleep(600)

    @bench.app.task(name="quick")
    async def quick() -> None:
        return

    handle = forever.enqueue()
    quick.enqueue()
    event = bench.event()

    started = time.monotonic()
    assert bench.invoke(event, timeout=6.5) == ids(event)[:1]
    assert time.monotonic() - started < 6.5

    record = bench.record(handle.id)
    assert record is not None
    assert record.status is State.RETRYING
    assert record.attempt == 1
    assert record.error is not None
    assert "deadline" in record.error.message


def test_the_last_attempt_that_is_cut_by_the_deadline_fails_for_good(make: Callable[..., LambdaHarness]) -> None:
    bench = make(clock=SystemClock())
    bench.handler = bench.app.lambda_handler(margin=4)

    @bench.app.task(name="forever", retry=Retry(max_attempts=1))
    def forever() -> None:
        while True:
            time.sleep(0.005)

    handle = forever.enqueue()

    assert bench.invoke(timeout=5.0) == []
    assert bench.state(handle.id) is State.FAILED
    assert len(bench.broker.messages("default-dlq")) == 1


def test_an_attempt_that_ignores_the_deadline_is_reported_in_time_and_ends_the_next_invocation(
    make: Callable[..., LambdaHarness], monkeypatch: pytest.MonkeyPatch
) -> None:
    class ProcessEnded(Exception):
        pass

    def end(status: int, message: str, **more: Any) -> None:
        raise ProcessEnded(message)

    monkeypatch.setattr(handler_module, "end_process", end)
    bench = make(clock=SystemClock())
    release = threading.Event()

    @bench.app.task(name="stuck")
    def stuck() -> None:
        # Waiting in C, where no exception reaches it.
        release.wait(60)

    @bench.app.task(name="quick")
    def quick() -> None:
        return

    handle = stuck.enqueue()
    event = bench.event()
    assert bench.invoke(event, timeout=2.0) == ids(event)
    assert bench.broker.hidden == []
    assert bench.state(handle.id) is State.RUNNING

    quick.enqueue()
    event = bench.event()
    with pytest.raises(ProcessEnded, match="1 attempts of an earlier invocation ignored its deadline"):
        bench.invoke(event, timeout=1.0)
    assert bench.depth() == 2

    release.set()
    assert bench.invoke(event, timeout=30) == []


def test_a_record_whose_claim_came_after_the_margin_never_enters_its_function(
    make: Callable[..., LambdaHarness], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = make(clock=SystemClock())
    bench.handler = bench.app.lambda_handler(margin=4)
    claim = bench.results.claim

    async def late(wish: Any) -> Any:
        await asyncio.sleep(1.2)  # longer than the second that the margin leaves
        return await claim(wish)

    monkeypatch.setattr(bench.results, "claim", late)

    @bench.app.task(name="note")
    async def note() -> None:
        raise AssertionError("must not run")

    handle = note.enqueue()
    event = bench.event()

    assert bench.invoke(event, timeout=5.0) == ids(event)
    record = bench.record(handle.id)
    assert record is not None
    assert (record.status, record.attempt) == (State.QUEUED, 0)


@pytest.mark.parametrize("attributes", [None, {}, {"ApproximateReceiveCount": "1"}])
def test_a_record_that_does_not_say_when_it_was_sent_is_tried_again(bench: LambdaHarness, attributes: Any) -> None:
    @bench.app.task(name="again")
    def again() -> None:
        raise ValueError

    handle = again.enqueue()
    event = bench.event()
    event["Records"][0]["attributes"] = attributes
    assert bench.invoke(event) == ids(event)
    assert bench.state(handle.id) is State.RETRYING


async def hang(*_: Any, **__: Any) -> Any:
    """An endpoint that does not answer."""
    await asyncio.sleep(30)


@pytest.mark.parametrize("call", ["change_visibility", "dead_letter"])
def test_an_endpoint_that_hangs_does_not_keep_the_answer_beyond_the_deadline(
    make: Callable[..., LambdaHarness], monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    monkeypatch.setattr(settling_module, "ANSWER_SECONDS", 2.5)
    bench = make(clock=SystemClock())

    # 3.2 s are left before the margin, of which a busy machine may need some.
    @bench.app.task(name="note", timeout=1.5)
    def note() -> None: ...

    @bench.app.task(name="again", timeout=1.5)
    def again() -> None:
        raise ValueError

    @bench.app.task(name="never_again", timeout=1.5, retry=Retry(max_attempts=1))
    def never_again() -> None:
        raise ValueError

    note.enqueue()
    (again if call == "change_visibility" else never_again).enqueue()
    event = bench.event()
    monkeypatch.setattr(bench.broker, call, hang)
    began = time.monotonic()
    assert bench.invoke(event, timeout=4.0) == ids(event)[1:]
    assert time.monotonic() - began < 4.0


def test_a_table_that_hangs_does_not_end_the_container(
    make: Callable[..., LambdaHarness], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = make(clock=SystemClock())

    @bench.app.task(name="note")
    def note() -> None: ...

    note.enqueue()
    event = bench.event()
    with monkeypatch.context() as patch:
        patch.setattr(bench.results, "claim", hang)
        assert bench.invoke(event, timeout=0.5) == ids(event)
    assert bench.broker.hidden == []
    assert bench.invoke(event, timeout=30) == []


def test_a_margin_longer_than_the_function_still_lets_the_first_record_run(bench: LambdaHarness) -> None:
    ran = []

    @bench.app.task(name="note")
    async def note() -> None:
        ran.append(1)

    bench.handler = bench.app.lambda_handler(margin=600)
    note.enqueue()

    assert bench.invoke(timeout=30) == []
    assert ran == [1]


def test_the_lease_ends_ten_seconds_after_the_deadline(bench: LambdaHarness) -> None:
    leases = []

    @bench.app.task(name="look")
    async def look(ctx: TaskContext) -> None:
        record = bench.record(ctx.id)
        assert record is not None
        assert record.lease_until is not None
        leases.append(record.lease_until - bench.clock.time())

    look.enqueue()
    bench.invoke(timeout=30)

    assert leases == [pytest.approx(40, abs=0.01)]


# The container


def test_one_loop_serves_every_invocation_and_no_thread_is_left(bench: LambdaHarness) -> None:
    loops, before = set(), set(threading.enumerate())

    @bench.app.task(name="note")
    async def note() -> None:
        loops.add(id(asyncio.get_running_loop()))

    @bench.app.task(name="note_sync")
    def note_sync() -> None:
        return

    for _ in range(5):
        note.enqueue()
        note_sync.enqueue()
        assert bench.invoke() == []
    most = len(set(threading.enumerate()) - before)
    bench.handler.close()

    assert len(loops) == 1
    assert most <= bench.app.threads.limit
    until(lambda: not {thread for thread in threading.enumerate() if thread.name == "taskq-task"} - before)
    gc.collect()


def test_the_lifespan_is_entered_once_per_container_and_left_at_its_end(make: Callable[..., LambdaHarness]) -> None:
    seen: list[str] = []

    @contextlib.asynccontextmanager
    async def lifespan(app: TaskQ) -> AsyncIterator[str]:
        seen.append("entered")
        yield "a pool"
        seen.append("left")

    bench = make(lifespan=lifespan)

    @bench.app.task(name="note")
    async def note(ctx: TaskContext) -> None:
        seen.append(ctx.state)

    for _ in range(3):
        note.enqueue()
        bench.invoke()
    bench.handler.close()

    assert seen == ["entered", "a pool", "a pool", "a pool", "left"]


def test_a_lifespan_that_fails_is_tried_again_by_the_next_invocation(make: Callable[..., LambdaHarness]) -> None:
    tries: list[int] = []

    @contextlib.asynccontextmanager
    async def lifespan(app: TaskQ) -> AsyncIterator[None]:
        tries.append(1)
        if len(tries) == 1:
            raise OSError("the database is not up yet")
        yield

    bench = make(lifespan=lifespan)

    @bench.app.task(name="note")
    async def note() -> None:
        return

    note.enqueue()
    event = bench.event()
    with pytest.raises(OSError, match="not up yet"):
        bench.invoke(event)

    assert bench.invoke(event) == []
    assert len(tries) == 2


def test_the_second_invocation_reuses_the_clients(bench: LambdaHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    new_async = bench.app.services.new_async

    def counted(**options: Any) -> Any:
        made.append(options)
        return new_async(**options)

    monkeypatch.setattr(bench.app.services, "new_async", counted)

    for _ in range(3):
        bench.invoke()
        bench.handler({"Records": []}, None)

    assert made == [{"threads": True}]


def test_closing_twice_and_closing_unused_do_nothing(bench: LambdaHarness) -> None:
    bench.handler.close()
    bench.invoke()
    bench.handler.close()
    bench.handler.close()


# Queues by ARN


@pytest.mark.parametrize(
    ("arn", "queue"),
    [
        ("arn:aws:sqs:eu-west-1:123456789012:shop-slow", "slow"),
        ("arn:aws:sqs:eu-west-1:123456789012:shop-ledger.fifo", "ledger.fifo"),
        ("arn:aws:sqs:eu-west-1:123456789012:made-by-hand-7", "default"),
        ("arn:aws:sqs:eu-west-1:123456789012:another", "another"),
    ],
)
def test_the_arn_of_a_record_tells_its_logical_queue(
    make: Callable[..., LambdaHarness], monkeypatch: pytest.MonkeyPatch, arn: str, queue: str
) -> None:
    monkeypatch.setenv("TASKQ_QUEUE_URLS", '{"default": "https://sqs.eu-west-1.amazonaws.com/1/made-by-hand-7"}')
    bench = make(Queue("default"), Queue("slow"), Queue("ledger.fifo"))
    seen = []

    @bench.app.task(name="look")
    async def look(ctx: TaskContext) -> None:
        seen.append(ctx.queue)

    delivery = Delivery("x", Message("id-1", "look").encode(), "x/1/1", "m-1", 1, 0.0)
    bench.handler({"Records": [{**record_of(delivery), "eventSourceARN": arn}]}, None)

    assert seen == [queue]


def test_a_log_line_says_what_the_batch_could_not_hold(
    make: Callable[..., LambdaHarness], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    bench = make(clock=SystemClock())

    @bench.app.task(name="stubborn")
    async def stubborn() -> None:
        for _ in range(60):
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(0.05)

    stubborn.enqueue()
    event = bench.event()

    assert bench.invoke(event, timeout=1.2) == ids(event)
    assert [record.action for record in caplog.records] == ["deadline_ignored"]  # type: ignore[attr-defined]  # our extra


# -- retries that the queue cannot keep -------------------------------------------------------------------------


class FragileSchedules(MemorySchedules):
    broken = False

    async def create(self, spec: ScheduleSpec) -> bool:
        if self.broken:
            raise AwsError("create_schedule", "ThrottlingException", "slow down", transient=True)
        return await super().create(spec)


def far_retry(make: Callable[..., LambdaHarness]) -> tuple[LambdaHarness, FragileSchedules, Any]:
    clock = ManualClock()
    schedules = FragileSchedules(clock, "shop")
    bench = make(clock=clock, schedule_store=schedules)

    @bench.app.task
    def job() -> None:
        raise RetryLater(2 * 86_400)

    return bench, schedules, job


def test_a_record_whose_retry_goes_by_schedule_is_reported_as_done(make: Callable[..., LambdaHarness]) -> None:
    bench, schedules, job = far_retry(make)
    handle = job.enqueue()
    assert bench.invoke() == []
    assert bench.depth() == 0
    assert bench.broker.hidden == []
    assert bench.state(handle.id) is State.RETRYING
    assert len(drive(schedules.page())[0]) == 1


def test_a_record_whose_schedule_cannot_be_made_is_hidden_and_reported_as_failed(
    make: Callable[..., LambdaHarness],
) -> None:
    bench, schedules, job = far_retry(make)
    schedules.broken = True
    job.enqueue()
    [failed] = bench.invoke()
    assert bench.depth() == 1
    assert bench.broker.hidden == [(failed, MAX_VISIBILITY_STEP)]
