"""Unique keys: of the tasks of one name no two hold the same key at a time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from taskq_sls import (
    ConfigError,
    DuplicateTask,
    EnqueueError,
    Middleware,
    MissingResource,
    PayloadTooLarge,
    Queue,
    Retry,
    State,
    TaskContext,
    TaskQ,
)
from taskq_sls.brokers.base import EntryError, Outgoing
from taskq_sls.core.delivery import DeadLetter, Done, Lost, RetryIn
from taskq_sls.core.flow import drive
from taskq_sls.core.message import Message, dead_letter_body, decode
from taskq_sls.core.times import DAY
from taskq_sls.results.base import RESEND_AFTER_SECONDS
from taskq_sls.results.records import AttemptEnd, Claim, Fence, KeyLock
from taskq_sls.testing import InMemory, in_memory
from tests.support.engine_harness import NOW, EngineHarness, delivery
from tests.support.faulty_backends import FaultyBroker, FaultyResults, denied, refused, throttled

REFUSED = EntryError("Nope", "not today")
AMBIGUOUS = EntryError("ReadTimeoutError", "silence", transient=True, ambiguous=True)


class Shop:
    """An app in memory, over backends that fail as a test says, with a task named ``job``."""

    def __init__(self, *hooks: Middleware, immediate: bool = False, **options: Any) -> None:
        self.app = TaskQ("shop", queues=[Queue("default"), Queue("slow"), Queue("ledger.fifo")], middleware=hooks)
        self.runs: list[Any] = []

        @self.app.task(name="job", **options)
        def job(ctx: TaskContext, argument: int = 0) -> int:
            self.runs.append((ctx.id, argument))
            return argument

        self.task = job
        self.memory: InMemory = in_memory(self.app, immediate=immediate)
        self.results = FaultyResults()
        self.memory.results = self.results
        if not immediate:
            self.broker = FaultyBroker(self.memory.clock, self.app.queues.values())
            self.memory.broker = self.broker  # type: ignore[assignment]  # it counts sends

    @property
    def job(self) -> Any:
        """The task, with the key ``k``."""
        return self.task.with_options(unique_key="k")

    def __enter__(self) -> Shop:
        self.memory.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self.memory.__exit__(*error)

    def travel(self, seconds: float) -> None:
        self.memory.travel(seconds)

    def run(self) -> None:
        self.memory.run_until_idle()

    def bodies(self, queue: str = "default") -> list[Message]:
        return [decode(queued.body) for queued in self.memory.broker.messages(queue)]

    def lock(self, key: str = "k", task: str = "job") -> KeyLock | None:
        return self.results._keys.get((task, key))

    def end_without_freeing(self, id: str, state: State = State.SUCCEEDED) -> None:
        """The state after a worker crashed between the end of the task and the freeing of its key."""
        now = self.memory.clock.time()
        claim = Claim(id, 0, "job", "default", "gone", now, now + 60, 5, now + 20 * DAY, now)
        drive(self.results.claim(claim))
        drive(self.results.finish(Fence(id, 0, 1, "gone"), AttemptEnd(state, now, now + 20 * DAY)))


@pytest.fixture
def shop() -> Any:
    with Shop() as made:
        yield made


# -- options ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"unique_key": ""}, "1 to 200 printable characters"),
        ({"unique_key": "k" * 201}, "1 to 200 printable characters; hash what is longer"),
        ({"unique_key": "a\nb"}, "printable"),
        ({"unique_key": "\ud800"}, "printable"),
        ({"unique_key": 7}, "printable"),
        ({"unique_ttl": 0.5}, "1 to 1,296,000 seconds \\(15 days\\)"),
        ({"unique_ttl": timedelta(days=15, seconds=1)}, "15 days"),
        ({"unique_ttl": "1d"}, "seconds or a timedelta"),
        ({"unique": "ignore"}, "'return' .* or 'raise'"),
        ({"unique": None}, "'return' .* or 'raise'"),
        ({"unike_key": "k"}, "did you mean 'unique_key'"),
    ],
)
def test_a_wrong_option_is_refused_at_the_call_site(shop: Shop, options: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        shop.task.with_options(**options)


def test_the_limits_are_inside_their_ranges(shop: Shop) -> None:
    options = shop.task.with_options(unique_key="é" * 200, unique_ttl=timedelta(days=15)).options
    assert options.unique_ttl == 15 * DAY
    assert shop.task.with_options(unique_ttl=1).options.unique_ttl == 1
    assert shop.task.options.unique_ttl == DAY


@pytest.mark.parametrize("record", ["none", "finished"])
def test_below_started_a_key_is_refused_at_the_call_site(record: Any) -> None:
    with Shop(record=record) as shop_of_less, pytest.raises(ConfigError, match=f"record='{record}'.*'started'"):
        shop_of_less.task.with_options(unique_key="k")


def test_below_started_a_reference_with_a_key_is_refused(shop: Shop) -> None:
    with pytest.raises(ConfigError, match="record='none'"):
        shop.app.ref("job", record="none", unique_key="k")
    with pytest.raises(ConfigError, match="record='none'"):
        shop.app.ref("job", record="none").with_options(unique_key="k")


def test_a_task_takes_a_policy_and_a_time_to_live_but_no_key() -> None:
    app = TaskQ("shop")

    @app.task(name="job", unique="raise", unique_ttl=60)
    def job() -> None: ...

    assert (job.options.unique, job.options.unique_ttl) == ("raise", 60)
    with pytest.raises(ConfigError, match="unknown option 'unique_key'"):
        app.task(name="other", unique_key="k")(lambda: None)


def test_the_key_travels_in_the_envelope_and_stands_in_the_record(shop: Shop) -> None:
    handle = shop.job.enqueue()
    assert shop.bodies()[0].unique_key == "k"
    shop.run()
    record = shop.app.results.get(handle.id)
    assert record is not None
    assert record.unique_key == "k"


def test_a_task_that_is_recorded_as_queued_carries_its_key_from_then_on() -> None:
    with Shop(record="queued") as made:
        handle = made.job.enqueue()
        record = made.app.results.get(handle.id)
        assert record is not None
        assert (record.status, record.unique_key) == (State.QUEUED, "k")


def test_a_task_without_a_key_touches_no_locks(shop: Shop) -> None:
    shop.task.enqueue()
    shop.run()
    assert shop.results.calls == ["claim", "finish"]


# -- the second enqueue -----------------------------------------------------------------------------------------


def test_the_second_enqueue_gets_the_handle_of_the_first(shop: Shop) -> None:
    first = shop.job.with_options(queue="slow").enqueue(1)
    second = shop.job.enqueue(2)
    assert (second.id, second.queue, second.task) == (first.id, "slow", "job")
    assert second.result() == 1
    assert [argument for _, argument in shop.runs] == [1]


def test_or_an_error_that_carries_id_and_key_of_the_first(shop: Shop) -> None:
    first = shop.job.enqueue()
    with pytest.raises(DuplicateTask, match=rf"task job with unique_key='k' .* as {first.id}") as caught:
        shop.job.with_options(unique="raise").enqueue()
    assert (caught.value.id, caught.value.task, caught.value.key) == (first.id, "job", "k")
    assert len(shop.bodies()) == 1


def test_the_policy_of_the_task_is_the_default() -> None:
    with Shop(unique="raise") as strict:
        strict.job.enqueue()
        with pytest.raises(DuplicateTask):
            strict.job.enqueue()
        assert strict.job.with_options(unique="return").enqueue().id == strict.bodies()[0].id


async def test_async_enqueues_follow_the_same_rules(shop: Shop) -> None:
    first = await shop.job.aenqueue(1)
    assert (await shop.job.aenqueue(2)).id == first.id
    with pytest.raises(DuplicateTask):
        await shop.job.with_options(unique="raise").aenqueue(2)
    await shop.memory.arun_until_idle()
    assert shop.lock() is None


async def test_of_many_coroutines_one_sends(shop: Shop) -> None:
    handles = await asyncio.gather(*(shop.job.aenqueue(number) for number in range(50)))
    assert len({handle.id for handle in handles}) == 1
    assert len(shop.bodies()) == 1


def test_another_key_and_another_task_are_free(shop: Shop) -> None:
    @shop.app.task(name="other")
    def other() -> None: ...

    ids = {
        shop.job.enqueue().id,
        shop.task.with_options(unique_key="l").enqueue().id,
        other.with_options(unique_key="k").enqueue().id,
        shop.task.enqueue().id,
    }
    assert len(ids) == len(shop.bodies()) == 4


def test_a_reference_by_name_holds_the_same_keys(shop: Shop) -> None:
    first = shop.app.ref("job", unique_key="k").enqueue(1)
    assert shop.job.enqueue(2).id == first.id


def test_a_running_task_still_holds_its_key(shop: Shop) -> None:
    ids = []

    @shop.app.task(name="again")
    def again() -> None:
        ids.append(again.with_options(unique_key="k").enqueue().id)

    handle = again.with_options(unique_key="k").enqueue()
    shop.run()
    assert ids == [handle.id]


def test_immediate_mode_frees_the_key_before_it_is_confirmed() -> None:
    with Shop(immediate=True) as at_once:
        first, second = at_once.job.enqueue(1), at_once.job.enqueue(2)
        assert first.id != second.id
        assert at_once.lock() is None
        assert [argument for _, argument in at_once.runs] == [1, 2]


# -- many at once -----------------------------------------------------------------------------------------------


def test_entries_of_one_call_have_keys_of_their_own(shop: Shop) -> None:
    calls = [shop.task.with_options(unique_key=f"k{number}").call(number) for number in range(20)]
    handles = shop.task.enqueue_many([*calls, shop.task.call(99)])
    assert len({handle.id for handle in handles}) == 21
    assert shop.broker.sends == [21]
    again = shop.task.enqueue_many(calls)
    assert [handle.id for handle in again] == [handle.id for handle in handles[:20]]
    assert shop.broker.sends == [21]


def test_entries_of_one_call_with_the_same_key_share_the_first_ones_handle(shop: Shop) -> None:
    on_slow = shop.job.with_options(queue="slow")
    handles = shop.task.enqueue_many([on_slow.call(1), shop.task.call(2), shop.job.call(3)])
    assert handles[0].id == handles[2].id != handles[1].id
    assert handles[2].queue == "slow"
    shop.run()
    assert sorted(argument for _, argument in shop.runs) == [1, 2]


def test_or_get_its_error_by_entry(shop: Shop) -> None:
    strict = shop.job.with_options(unique="raise")
    with pytest.raises(EnqueueError, match=r"1 of 3 messages were not accepted; entry 1, .*DuplicateTask") as caught:
        shop.task.enqueue_many([strict.call(1), strict.call(2), shop.job.call(3)])
    (failed,) = caught.value.failed
    assert (failed.index, failed.code) == (1, "DuplicateTask")
    assert isinstance(failed.error, DuplicateTask)
    assert failed.error.id == shop.bodies()[0].id
    assert [handle.id for handle in caught.value.sent] == [failed.error.id] * 2


def test_each_entry_is_judged_by_its_own_policy_where_another_call_was_first(shop: Shop) -> None:
    first = shop.job.enqueue()
    with pytest.raises(EnqueueError) as caught:
        shop.task.enqueue_many([shop.job.with_options(unique="raise").call(1), shop.job.call(2)])
    assert [entry.index for entry in caught.value.failed] == [0]
    assert [handle.id for handle in caught.value.sent] == [first.id]


def test_entries_whose_first_was_refused_are_refused_with_it(shop: Shop) -> None:
    shop.broker.refuse = lambda out: REFUSED
    with pytest.raises(EnqueueError) as caught:
        shop.task.enqueue_many([shop.job.call(1), shop.job.call(2)])
    assert [(entry.index, entry.code) for entry in caught.value.failed] == [(0, "Nope"), (1, "Nope")]
    assert shop.lock() is None


# -- the end of the task frees the key --------------------------------------------------------------------------


def failing(*, attempts: int = 1) -> tuple[Shop, Any]:
    made = Shop()

    @made.app.task(name="fail", retry=Retry(max_attempts=attempts, backoff=10, jitter="none"))
    def fail() -> None:
        raise ValueError("no")

    return made, fail.with_options(unique_key="k")


def test_success_frees_the_key(shop: Shop) -> None:
    first = shop.job.enqueue()
    shop.run()
    assert shop.lock() is None
    assert shop.job.enqueue().id != first.id


def test_failure_frees_the_key_and_a_redriven_run_needs_it_not() -> None:
    made, fail = failing()
    with made:
        fail.enqueue()
        made.run()
        assert made.lock(task="fail") is None
        (copy,) = made.memory.dead_letters()
        second = fail.enqueue()
        redriven = decode(copy.body)
        assert redriven.run == 1
        drive(made.broker.send([Outgoing("default", copy.body, redriven.id)]))
        assert made.memory.run_until_idle() == 2
        record = made.app.results.get(redriven.id)
        assert record is not None
        assert (record.status, record.run) == (State.FAILED, 1)
        assert second.status() is State.FAILED


def test_a_redriven_run_does_not_free_the_key_of_another_task(shop: Shop) -> None:
    held = shop.job.enqueue()
    (other,) = shop.bodies()
    redriven = dead_letter_body(other._replace(id="older").encode())
    shop.memory.broker._queue("default").messages.clear()
    drive(shop.broker.send([Outgoing("default", redriven, "older")]))
    shop.run()
    lock = shop.lock()
    assert lock is not None
    assert lock.id == held.id


def test_a_retry_keeps_the_key() -> None:
    made, fail = failing(attempts=3)
    with made:
        first = fail.enqueue()
        for _ in range(2):
            made.run()
            assert first.status() is State.RETRYING
            assert fail.enqueue().id == first.id
            made.travel(100)
        made.run()
        assert made.lock(task="fail") is None


def test_expiry_frees_the_key(shop: Shop) -> None:
    first = shop.job.with_options(expires_in=10).enqueue()
    shop.travel(11)
    shop.run()
    assert first.status() is State.EXPIRED
    assert shop.lock() is None


def test_a_cancel_of_a_queued_task_frees_the_key(shop: Shop) -> None:
    first = shop.job.enqueue()
    assert first.cancel().answer == "cancelled"
    assert shop.lock() is None
    second = shop.job.enqueue(2)
    assert second.id != first.id
    shop.run()
    assert [argument for _, argument in shop.runs] == [2]


def test_a_cancel_through_the_second_handle_frees_the_key(shop: Shop) -> None:
    shop.job.enqueue()
    assert shop.job.enqueue().cancel().answer == "cancelled"
    assert shop.lock() is None


def test_a_cancel_that_only_asks_a_running_task_leaves_it_its_key(shop: Shop) -> None:
    first = shop.job.enqueue()
    now = shop.memory.clock.time()
    drive(shop.results.claim(Claim(first.id, 0, "job", "default", "o", now, now + 60, 5, now + 20 * DAY, now)))
    assert first.cancel().answer == "requested"
    assert shop.lock() is not None


def test_a_cancel_that_cannot_free_the_key_has_cancelled_all_the_same(shop: Shop) -> None:
    first = shop.job.enqueue()
    shop.results.fail("free_key", denied())
    assert first.cancel().answer == "cancelled"
    assert shop.job.enqueue().id != first.id


def test_a_cancel_by_somebody_without_the_key_frees_it_when_the_message_comes(shop: Shop) -> None:
    first = shop.job.enqueue()
    drive(shop.results.cancel(first.id, task="job", queue="default", now=NOW, ttl=NOW + 20 * DAY))
    assert shop.lock() is not None
    shop.run()
    assert shop.lock() is None
    assert shop.runs == []


async def test_a_running_task_that_is_cancelled_frees_its_key() -> None:
    harness = EngineHarness()

    @harness.task(name="job")
    async def job() -> None:
        executor = await harness.executor()
        [attempt] = executor.running.values()
        executor.stop(attempt, "cancelled")
        await asyncio.sleep(60)

    drive(harness.results.lock_key(KeyLock("job", "k", "task-1", "default", NOW, NOW + DAY)))
    assert await harness.run(job, unique_key="k") == Done()
    assert harness.record().status is State.CANCELLED
    assert harness.results._keys == {}


async def test_an_abandoned_task_that_is_closed_frees_its_key() -> None:
    harness = EngineHarness(retry=Retry(max_attempts=1))

    @harness.task(name="job")
    async def job() -> None: ...

    drive(harness.results.lock_key(KeyLock("job", "k", "task-1", "default", NOW, NOW + DAY)))
    drive(harness.results.claim(Claim("task-1", 0, "job", "default", "gone", NOW, NOW + 60, 1, NOW + 20 * DAY, NOW)))
    assert isinstance(await harness.run(job, unique_key="k"), RetryIn)
    assert len(harness.results._keys) == 1
    harness.clock.travel(65)
    assert isinstance(await harness.run(job, unique_key="k"), DeadLetter)
    assert harness.results._keys == {}


async def test_a_message_given_up_without_its_task_frees_its_key() -> None:
    harness = EngineHarness()
    drive(harness.results.lock_key(KeyLock("gone", "k", "task-1", "default", NOW, NOW + DAY)))
    assert isinstance(await harness.process(delivery("gone", unique_key="k")), RetryIn)
    assert len(harness.results._keys) == 1
    assert isinstance(await harness.process(delivery("gone", receive_count=10, unique_key="k")), DeadLetter)
    assert harness.results._keys == {}


async def test_the_key_is_freed_after_the_end_is_written_and_not_when_it_is_not() -> None:
    harness = EngineHarness()

    @harness.task(name="job")
    async def job() -> None: ...

    drive(harness.results.lock_key(KeyLock("job", "k", "task-1", "default", NOW, NOW + DAY)))
    harness.results.fail("finish", refused())
    assert await harness.run(job, unique_key="k") == Lost()
    assert len(harness.results._keys) == 1
    harness.clock.travel(100)
    harness.results.calls.clear()
    assert await harness.run(job, unique_key="k") == Done()
    assert harness.results.calls == ["claim", "finish", "free_key"]


async def test_a_key_that_cannot_be_freed_does_not_keep_the_message(caplog: pytest.LogCaptureFixture) -> None:
    harness = EngineHarness()

    @harness.task(name="job")
    async def job() -> None: ...

    drive(harness.results.lock_key(KeyLock("job", "k", "task-1", "default", NOW, NOW + DAY)))
    harness.results.fail("free_key", throttled("delete_item"))
    with caplog.at_level(logging.WARNING):
        assert await harness.run(job, unique_key="k") == Done()
    assert "the unique key 'k' of task job task-1 could not be freed now" in caplog.text
    assert await harness.run(job, unique_key="k") == Done()  # the duplicate finds the record ended, and frees its key
    assert harness.results._keys == {}


def test_a_message_under_a_former_name_frees_the_key_of_that_name(shop: Shop) -> None:
    @shop.app.task(name="new", aliases=["old"])
    def new() -> None: ...

    shop.app.ref("old", unique_key="k").enqueue()
    assert shop.lock(task="old") is not None
    shop.run()
    assert shop.lock(task="old") is None


# -- crashes and time -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [State.SUCCEEDED, State.FAILED, State.CANCELLED, State.EXPIRED])
def test_a_key_whose_task_has_ended_counts_as_free(shop: Shop, state: State) -> None:
    first = shop.job.enqueue()
    shop.end_without_freeing(first.id, state)
    second = shop.job.with_options(unique="raise").enqueue(2)
    assert second.id != first.id
    lock = shop.lock()
    assert lock is not None
    assert (lock.id, lock.confirmed) == (second.id, True)


def test_of_several_who_find_the_task_ended_one_takes_the_key_over(shop: Shop) -> None:
    first = shop.job.enqueue()
    shop.end_without_freeing(first.id)
    real = shop.results.get
    others: list[Any] = []

    async def get(id: str, *, now: float) -> Any:
        record = await real(id, now=now)
        if not others:
            others.append("on its way")
            others[0] = shop.job.enqueue(2)
        return record

    shop.results.get = get  # type: ignore[method-assign]  # acts between two calls
    assert shop.job.enqueue(3).id == others[0].id != first.id
    assert [message.args for message in shop.bodies()] == [[], [2]]


def test_the_key_is_free_after_its_time_to_live_whatever_became_of_the_task(shop: Shop) -> None:
    first = shop.job.with_options(unique_ttl=timedelta(minutes=10)).enqueue()
    shop.travel(599)
    assert shop.job.enqueue().id == first.id
    shop.travel(1)
    assert shop.job.enqueue().id != first.id


def test_a_key_lives_for_a_day_by_default(shop: Shop) -> None:
    first = shop.job.enqueue()
    shop.travel(DAY - 1)
    assert shop.job.enqueue().id == first.id
    shop.travel(1)
    assert shop.job.enqueue().id != first.id


def interrupted(shop: Shop, *, after: bool) -> str:
    """An enqueue whose process dies before, or after, its message is accepted."""
    real = shop.broker.send

    async def die(messages: Any) -> Any:
        if after:
            await real(messages)
        raise SystemExit

    shop.broker.send = die  # type: ignore[method-assign]  # a crash
    with pytest.raises(SystemExit):
        shop.job.enqueue(1)
    shop.broker.send = real  # type: ignore[method-assign]  # it is over
    lock = shop.lock()
    assert lock is not None
    assert not lock.confirmed
    return lock.id


def test_within_a_minute_an_unconfirmed_key_is_taken(shop: Shop) -> None:
    id = interrupted(shop, after=False)
    shop.travel(RESEND_AFTER_SECONDS - 0.1)
    assert shop.job.enqueue(2).id == id
    assert shop.bodies() == []


@pytest.mark.parametrize("policy", ["return", "raise"])
def test_after_a_minute_the_next_caller_sends_the_task_again_under_the_same_id(shop: Shop, policy: str) -> None:
    id = interrupted(shop, after=False)
    shop.travel(RESEND_AFTER_SECONDS)
    assert shop.job.with_options(unique=policy).enqueue(2).id == id
    assert [(message.id, message.args) for message in shop.bodies()] == [(id, [2])]
    lock = shop.lock()
    assert lock is not None
    assert (lock.id, lock.confirmed) == (id, True)
    shop.run()
    assert shop.runs == [(id, 2)]
    assert shop.lock() is None


def test_what_was_sent_twice_runs_once(shop: Shop) -> None:
    id = interrupted(shop, after=True)
    shop.travel(RESEND_AFTER_SECONDS)
    assert shop.job.enqueue(2).id == id
    assert [message.id for message in shop.bodies()] == [id, id]
    shop.run()
    assert shop.runs == [(id, 1)]


def test_the_one_who_sends_again_starts_a_new_minute(shop: Shop) -> None:
    id = interrupted(shop, after=False)
    shop.travel(RESEND_AFTER_SECONDS)
    interrupted(shop, after=False)
    shop.travel(RESEND_AFTER_SECONDS - 0.1)
    assert shop.job.enqueue().id == id
    assert shop.bodies() == []
    shop.travel(0.1)
    assert shop.job.enqueue().id == id
    assert len(shop.bodies()) == 1


def test_an_unconfirmed_task_that_has_a_record_is_not_sent_again_but_confirmed(shop: Shop) -> None:
    id = interrupted(shop, after=True)
    now = shop.memory.clock.time()
    drive(shop.results.claim(Claim(id, 0, "job", "default", "o", now, now + 60, 5, now + 20 * DAY, now)))
    shop.travel(RESEND_AFTER_SECONDS)
    assert shop.job.enqueue(2).id == id
    assert len(shop.bodies()) == 1
    lock = shop.lock()
    assert lock is not None
    assert lock.confirmed


def test_a_confirmed_key_is_never_sent_again(shop: Shop) -> None:
    first = shop.job.enqueue()
    shop.travel(10 * RESEND_AFTER_SECONDS)
    assert shop.job.enqueue().id == first.id
    assert len(shop.bodies()) == 1


def test_a_confirm_that_fails_is_no_failed_enqueue(shop: Shop) -> None:
    shop.results.fail("confirm_key", throttled())
    first = shop.job.enqueue(1)
    shop.run()
    assert first.result() == 1


# -- faults -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("refusal", "raised"),
    [
        (REFUSED, EnqueueError),
        (EntryError("Throttled", "slow down", transient=True), EnqueueError),
        (MissingResource("no such queue"), MissingResource),
        (PayloadTooLarge("too large"), PayloadTooLarge),
    ],
    ids=["refused", "throttled", "no queue", "too large"],
)
def test_a_send_that_failed_for_good_frees_the_key(shop: Shop, refusal: Any, raised: type[Exception]) -> None:
    shop.broker.refuse = lambda out: refusal
    with pytest.raises(raised):
        shop.job.enqueue()
    assert shop.lock() is None


def test_a_send_that_may_have_been_accepted_keeps_the_key_unconfirmed(shop: Shop) -> None:
    shop.broker.refuse = lambda out: AMBIGUOUS
    with pytest.raises(EnqueueError):
        shop.job.enqueue()
    lock = shop.lock()
    assert lock is not None
    assert not lock.confirmed
    shop.broker.refuse = lambda out: None
    shop.travel(RESEND_AFTER_SECONDS)
    assert shop.job.enqueue().id == lock.id


def test_an_unexpected_error_of_the_broker_leaves_the_key_in_doubt(shop: Shop) -> None:
    shop.broker.refuse = lambda out: RuntimeError("what now")
    with pytest.raises(RuntimeError):
        shop.job.enqueue()
    assert shop.lock() is not None


def test_a_late_refusal_does_not_free_the_key_of_who_sent_again(shop: Shop) -> None:
    def refuse_after_another_sent(out: Any) -> Any:
        shop.broker.refuse = lambda out: None
        shop.travel(RESEND_AFTER_SECONDS)
        shop.job.enqueue(2)
        return REFUSED

    shop.broker.refuse = refuse_after_another_sent
    with pytest.raises(EnqueueError):
        shop.job.enqueue(1)
    lock = shop.lock()
    assert lock is not None
    assert lock.confirmed
    assert [message.id for message in shop.bodies()] == [lock.id]


def test_an_enqueue_repeated_with_its_own_id_is_ours(shop: Shop) -> None:
    mine = shop.job.with_options(id="mine", unique="raise")
    shop.broker.refuse = lambda out: AMBIGUOUS
    with pytest.raises(EnqueueError) as caught:
        mine.enqueue(1)
    assert caught.value.failed[0].id == "mine"
    shop.broker.refuse = lambda out: None
    assert mine.enqueue(1).id == "mine"
    assert mine.enqueue(1).id == "mine"
    shop.run()
    assert shop.runs == [("mine", 1)]
    assert shop.lock() is None


@pytest.mark.parametrize("after", [False, True])
def test_a_lock_is_tried_again_over_faults_and_a_lost_answer_is_ours(shop: Shop, after: bool) -> None:
    shop.results.fail("lock_key", throttled("put_item"), times=3, after=after)
    handle = shop.job.with_options(unique="raise").enqueue()
    assert [message.id for message in shop.bodies()] == [handle.id]


@pytest.mark.parametrize(("error", "times"), [(throttled("put_item"), 4), (denied("put_item"), 1)])
def test_a_key_that_cannot_be_locked_sends_nothing_and_says_so(shop: Shop, error: Exception, times: int) -> None:
    shop.results.fail("lock_key", error, times=times, after=True)
    with pytest.raises(EnqueueError, match="the unique key could not be locked") as caught:
        shop.job.enqueue()
    assert caught.value.failed[0].id
    assert shop.bodies() == []
    assert shop.lock() is None


def test_a_missing_table_is_raised_and_leaves_no_key_behind(shop: Shop) -> None:
    calls = [shop.task.with_options(unique_key=f"k{number}").call() for number in range(5)]
    shop.results.fail("lock_key", MissingResource("no such table"))
    with pytest.raises(MissingResource):
        shop.task.enqueue_many([*calls, shop.task.call()])
    assert shop.bodies() == []
    assert shop.results._keys == {}


def test_a_record_that_cannot_be_read_fails_that_entry_alone(shop: Shop) -> None:
    first = shop.job.enqueue()
    shop.results.fail("get", denied("get_item"))
    with pytest.raises(EnqueueError) as caught:
        shop.task.enqueue_many([shop.job.call(1), shop.task.call(2)])
    assert [entry.index for entry in caught.value.failed] == [0]
    lock = shop.lock()
    assert lock is not None
    assert lock.id == first.id


def test_a_key_that_changes_with_every_look_is_an_error(shop: Shop) -> None:
    real = shop.results.lock_key

    async def always_another(lock: KeyLock, replacing: KeyLock | None = None) -> KeyLock:
        await real(lock, replacing)
        other = lock._replace(id=f"other-{len(shop.results.calls)}")
        shop.end_without_freeing(other.id)
        return other

    shop.results.lock_key = always_another  # type: ignore[method-assign]  # a race that is always lost
    with pytest.raises(EnqueueError, match="changed 5 times"):
        shop.job.enqueue()


# -- hooks ------------------------------------------------------------------------------------------------------


def hook(change: Callable[[Message], Message], *, plain: bool = False) -> Middleware:
    class Async(Middleware):
        async def dispatch(self, message: Message, call_next: Any) -> Message:
            return await call_next(change(message))

    class Plain(Middleware):
        def dispatch(self, message: Message, call_next: Any) -> Message:
            return call_next(change(message))

    return Plain() if plain else Async()


def refuse(message: Message) -> Message:
    raise PermissionError("not this one")


@pytest.mark.parametrize("plain", [False, True])
def test_a_hook_that_refuses_a_message_frees_its_key(plain: bool) -> None:
    with Shop(hook(refuse, plain=plain)) as made:
        with pytest.raises(PermissionError):
            made.job.enqueue()
        assert made.lock() is None


@pytest.mark.parametrize("plain", [False, True])
def test_a_message_is_confirmed_though_its_hook_failed_after_it_was_sent(plain: bool) -> None:
    class Late(Middleware):
        async def dispatch(self, message: Message, call_next: Any) -> Message:
            await call_next(message)
            raise PermissionError("too late")

    class LatePlain(Middleware):
        def dispatch(self, message: Message, call_next: Any) -> Message:
            call_next(message)
            raise PermissionError("too late")

    with Shop(LatePlain() if plain else Late()) as made:
        with pytest.raises(PermissionError):
            made.job.enqueue()
        lock = made.lock()
        assert lock is not None
        assert lock.confirmed


def test_hooks_do_not_see_what_is_not_sent() -> None:
    seen: list[str] = []

    def note(message: Message) -> Message:
        seen.append(message.id)
        return message

    with Shop(hook(note)) as made:
        first = made.job.enqueue()
        made.job.enqueue()
        assert seen == [first.id]


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("change", [{"id": "other"}, {"task": "other"}, {"unique_key": None}], ids=str)
def test_a_hook_cannot_change_what_the_key_was_locked_for(change: dict[str, Any], plain: bool) -> None:
    with Shop(hook(lambda message: message._replace(**change), plain=plain)) as made:
        with pytest.raises(ConfigError, match="changed the id, task or unique key"):
            made.job.enqueue()
        assert made.lock() is None
        assert made.bodies() == []


def test_labels_may_be_changed_all_the_same() -> None:
    with Shop(hook(lambda message: message._replace(labels={"a": "b"}))) as made:
        made.job.enqueue()
        assert made.bodies()[0].labels == {"a": "b"}


def test_a_hook_that_sends_again_after_doubt_leaves_the_doubt() -> None:
    class Twice(Middleware):
        def dispatch(self, message: Message, call_next: Any) -> Message:
            try:
                return call_next(message)
            except Exception:
                return call_next(message)

    with Shop(Twice()) as made:
        refusals = iter([AMBIGUOUS, REFUSED])
        made.broker.refuse = lambda out: next(refusals)
        with pytest.raises(EnqueueError):
            made.job.enqueue()
        lock = made.lock()
        assert lock is not None
        assert not lock.confirmed


def test_fifo_queues_take_keys_too(shop: Shop) -> None:
    on_fifo = shop.job.with_options(queue="ledger.fifo", group="g")
    first = on_fifo.enqueue(1)
    assert on_fifo.enqueue(2).id == first.id
    shop.run()
    assert shop.runs == [(first.id, 1)]
    assert shop.lock() is None
