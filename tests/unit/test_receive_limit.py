"""Attempts and receives: no more attempts than SQS delivers, and a reason for what it would move without one."""

from __future__ import annotations

from typing import Any

import pytest

from taskq_sls import ConfigError, Queue, Retry, State, TaskFailed, TaskQ
from taskq_sls.core.delivery import DeadLetter, Done, Release, RetryIn
from taskq_sls.core.message import Message
from taskq_sls.core.times import DAY
from taskq_sls.operations.dead_letters import list_dead_letters
from taskq_sls.results.records import Claim, KeyLock
from tests.support.dead_letter_app import DeadLetterApp
from tests.support.engine_harness import NOW, EngineHarness, delivery

HOUR = 3_600.0


def define(retry: Retry, **queue: Any) -> TaskQ:
    app = TaskQ("shop", queues=[Queue("default", **queue), Queue("wide", max_receive_count=1_000)])

    @app.task(name="job", retry=retry)
    def job() -> None: ...

    return app


class TestDeclarations:
    @pytest.mark.parametrize(
        ("retry", "queue", "numbers"),
        [
            (
                Retry(max_attempts=120, max_delay=60),
                {},
                "max_attempts=120 take 120 receives.* has 90 for attempts, .*=100",
            ),
            (Retry(max_attempts=91, max_delay=60), {}, "take 91 receives.* has 90"),
            (Retry(max_attempts=3), {"max_receive_count": 2}, "take 3 receives.* has 1 for attempts, .*=2"),
            (Retry(max_attempts=2), {"max_receive_count": 1}, "take 2 receives.* has 1"),
            (
                Retry(max_attempts=3, backoff=33 * HOUR, factor=1, max_delay=33 * HOUR),
                {"max_receive_count": 7},
                "waits above 11 h take 7 receives.* has 6",
            ),
        ],
    )
    def test_more_attempts_than_receives_are_refused_with_the_numbers(
        self, retry: Retry, queue: dict[str, Any], numbers: str
    ) -> None:
        with pytest.raises(ConfigError, match=numbers):
            define(retry, **queue)

    @pytest.mark.parametrize(
        ("retry", "queue"),
        [
            (Retry(max_attempts=90, max_delay=60), {}),
            (Retry(max_attempts=3), {"max_receive_count": 4}),
            (Retry(max_attempts=1), {"max_receive_count": 1}),
            (Retry(max_attempts=120, max_delay=60), {"max_receive_count": 134}),
        ],
    )
    def test_what_can_be_kept_is_allowed(self, retry: Retry, queue: dict[str, Any]) -> None:
        assert define(retry, **queue).registry.get("job") is not None

    def test_another_queue_of_an_enqueue_counts_too(self) -> None:
        app = TaskQ("shop", queues=[Queue("default"), Queue("narrow", max_receive_count=2)])

        @app.task(retry=Retry(max_attempts=3))
        def job() -> None: ...

        with pytest.raises(ConfigError, match="has 1 for attempts"):
            job.with_options(queue="narrow")


class Narrow(EngineHarness):
    """A harness whose queue allows four receives."""

    def __init__(self, **options: Any) -> None:
        super().__init__(queues=[Queue("default", max_receive_count=4)])

        @self.task(name="job", retry=Retry(max_attempts=3, backoff=10, jitter="none"), **options)
        def job() -> None:
            raise OSError("no")

        self.job = job


async def test_a_failure_at_the_last_receive_is_final_and_its_record_says_so() -> None:
    harness = Narrow()
    outcome = await harness.run(harness.job, receive_count=4)
    assert isinstance(outcome, DeadLetter)
    assert (outcome.reason, outcome.recorded, outcome.attempts) == ("receives", True, 1)
    assert (harness.record().status, harness.record().reason) == (State.FAILED, "receives")


@pytest.mark.parametrize("record", ["started", "queued"])
async def test_a_message_that_is_early_at_its_last_receive_ends_its_task(record: str) -> None:
    harness = Narrow(record=record)
    handle = await harness.job.with_options(id="task-1").aenqueue()
    outcome = await harness.run(harness.job, receive_count=4, not_before=NOW + 600)
    assert isinstance(outcome, DeadLetter)
    assert (outcome.reason, outcome.recorded) == ("receives", True)
    with pytest.raises(TaskFailed, match=r"received 4 times.*early"):
        await handle.aresult(timeout=0)


async def test_a_retry_that_is_early_at_its_last_receive_ends_its_task() -> None:
    harness = Narrow()
    assert isinstance(await harness.run(harness.job, receive_count=3), RetryIn)
    outcome = await harness.run(harness.job, receive_count=4)
    assert isinstance(outcome, DeadLetter)
    assert (harness.record().status, harness.record().reason) == (State.FAILED, "receives")


async def test_a_message_released_at_its_last_receive_ends_its_task() -> None:
    harness = Narrow()
    (await harness.executor()).threads.drain()
    outcome = await harness.run(harness.job, receive_count=4)
    assert isinstance(outcome, DeadLetter)
    assert (outcome.reason, harness.record().reason) == ("receives", "receives")


async def test_a_task_that_runs_elsewhere_is_not_ended_at_the_last_receive() -> None:
    harness = Narrow()
    await harness.results.claim(Claim("task-1", 0, "job", "default", "o", NOW, NOW + 60, 3, NOW + 20 * DAY, NOW))
    assert isinstance(await harness.run(harness.job, receive_count=4), RetryIn)
    assert harness.record().status is State.RUNNING


async def test_without_the_table_the_last_receive_is_left_to_sqs() -> None:
    harness = Narrow()
    harness.results.fail("claim", times=2)
    harness.results.fail("get", times=1)
    assert isinstance(await harness.run(harness.job, receive_count=4), Release)


async def test_a_message_that_cannot_be_read_is_dead_lettered_before_sqs_moves_it() -> None:
    harness = Narrow()
    assert isinstance(await harness.process(delivery("{}", receive_count=3)), RetryIn)
    outcome = await harness.process(delivery("{}", receive_count=4))
    assert isinstance(outcome, DeadLetter)
    assert outcome.reason == "undecodable"


async def test_a_task_that_ends_at_its_last_receive_is_done() -> None:
    harness = Narrow()

    @harness.task(name="fine")
    def fine() -> None: ...

    assert await harness.run(fine, receive_count=4) == Done()


def test_a_listing_ends_the_tasks_whose_messages_sqs_moved_and_frees_their_keys() -> None:
    shop = DeadLetterApp()
    claim = Claim("a", 0, "shop:resize", "default", "o", NOW, NOW, 3, NOW + 20 * DAY, NOW, unique_key="k")
    shop.do(shop.results.put_queued(claim))
    shop.do(shop.results.lock_key(KeyLock("shop:resize", "k", "a", "default", NOW, NOW + DAY)))
    shop.put("default-dlq", Message("a", "shop:resize", ["a.png"], enqueued_at=NOW, unique_key="k").encode())
    shop.do(shop.results.put_queued(claim._replace(id="b", task="shop:crop", unique_key=None)))
    shop.put("default-dlq", Message("b", "shop:resize", ["b.png"], enqueued_at=NOW).encode())

    shop.do(list_dead_letters(shop.app, shop.services))
    assert shop.record("a").status is State.QUEUED, "others only look"
    shop.do(list_dead_letters(shop.app, shop.services, end_moved=True))

    assert (shop.record("a").status, shop.record("a").reason) == (State.FAILED, "redriven")
    mine = KeyLock("shop:resize", "k", "other", "default", NOW, NOW + DAY)
    assert shop.do(shop.results.lock_key(mine)) == mine
    assert shop.record("b").status is State.QUEUED, "its id belongs to another task"
