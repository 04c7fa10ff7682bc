"""Firings of schedules: one scheduled time makes one task, whatever its clock and its queue do."""

from __future__ import annotations

import json
import logging
import uuid
from datetime import UTC, datetime
from typing import Any

import pytest

from taskq_sls import Retry, State, TaskContext
from taskq_sls.core.delivery import DONE, DeadLetter, Delivery, Release, RetryIn
from taskq_sls.scheduler.firing import SCHEDULED_TIME, dated, firing_id, scheduled_time
from tests.support.engine_harness import NOW, EngineHarness, delivery

AT = NOW // 60 * 60 - 60
"""A scheduled time: the full minute before the message is received."""


def firing(task: Any, *args: Any, at: str = scheduled_time(AT), queue: str = "default", **schedule: Any) -> Delivery:
    """The message of a firing, as a clock sends it: no id, and the schedule's name and time."""
    fields = {"name": "d-shop.nightly", "group": "shop", "at": at, **schedule}
    return delivery(json.dumps({"v": 1, "task": task.name, "args": list(args), "schedule": fields}), queue=queue)


@pytest.fixture
def harness() -> EngineHarness:
    return EngineHarness()


async def test_two_messages_of_one_firing_make_one_task(harness: EngineHarness) -> None:
    ran = []

    @harness.task
    def nightly(word: str) -> None:
        ran.append(word)

    assert await harness.process(firing(nightly, "x")) == DONE
    assert await harness.process(firing(nightly, "x")) == DONE
    assert ran == ["x"]
    record = harness.record(firing_id("shop", "d-shop.nightly", AT))
    assert (record.status, record.attempt) == (State.SUCCEEDED, 1)


@pytest.mark.parametrize("at", [SCHEDULED_TIME, scheduled_time(AT)])
async def test_a_dead_letter_of_a_firing_has_its_time_even_if_the_clock_left_it_out(
    harness: EngineHarness, at: str
) -> None:
    @harness.task(retry=Retry(max_attempts=1))
    def nightly() -> None:
        raise ValueError

    sent = firing(nightly, at=at)
    outcome = await harness.process(sent)
    assert isinstance(outcome, DeadLetter)
    assert outcome.body == (dated(sent.body, sent.sent_at) if at == SCHEDULED_TIME else None)
    assert SCHEDULED_TIME not in (outcome.body or sent.body)


async def test_two_scheduled_times_make_two_tasks(harness: EngineHarness) -> None:
    ran = []

    @harness.task
    def nightly() -> None:
        ran.append(1)

    await harness.process(firing(nightly))
    await harness.process(firing(nightly, at=scheduled_time(AT - 60)))
    await harness.process(firing(nightly, name="d-shop.other"))
    await harness.process(firing(nightly, group="shop-staging"))
    assert len(ran) == 4


def test_ids_of_firings_are_uuids_that_sort_by_time_and_differ_by_group_name_and_time() -> None:
    ids = [firing_id("g", "n", AT + minute * 60) for minute in range(50)]
    assert ids == sorted(ids)
    assert all(str(uuid.UUID(id)) == id and uuid.UUID(id).version == 8 for id in ids)
    assert len({*ids, firing_id("g", "m", AT), firing_id("h", "n", AT), firing_id("g/n", "", AT)}) == 53
    assert firing_id("g", "n", AT + 0.4) == firing_id("g", "n", AT)


@pytest.mark.parametrize("offset", ["Z", "+00:00", ""])
async def test_the_time_may_be_written_as_any_clock_writes_it(harness: EngineHarness, offset: str) -> None:
    @harness.task
    def nightly() -> None: ...

    await harness.process(firing(nightly, at=scheduled_time(AT)[:-1] + offset))
    assert harness.record(firing_id("shop", "d-shop.nightly", AT)).status is State.SUCCEEDED


async def test_a_clock_that_leaves_the_time_out_is_named_once_and_the_minute_of_sending_stands_for_it(
    harness: EngineHarness, caplog: pytest.LogCaptureFixture
) -> None:
    ran = []

    @harness.task
    def nightly() -> None:
        ran.append(1)

    sent = firing(nightly, at=SCHEDULED_TIME)
    with caplog.at_level(logging.WARNING):
        await harness.process(sent)
        await harness.process(sent._replace(message_id="again", sent_at=NOW + 5))
        await harness.process(sent._replace(message_id="next", sent_at=NOW + 60))
    assert len(ran) == 2
    assert harness.record(firing_id("shop", "d-shop.nightly", NOW // 60 * 60)).status is State.SUCCEEDED
    said = [one for one in caplog.records if getattr(one, "action", "") == "scheduled_time_missing"]
    assert len(said) == 1
    assert "d-shop.nightly" in said[0].getMessage()


@pytest.mark.parametrize(
    "body",
    [
        "not JSON",
        '{"v":1,"task":"a:b","args":["<aws.scheduler.scheduled-time>"]}',
        '{"v":1,"id":"x","task":"a:b","schedule":{"name":"n","at":"<aws.scheduler.scheduled-time>"}}',
        '{"v":1,"task":"a:b","schedule":{"name":7,"at":"<aws.scheduler.scheduled-time>"}}',
        '{"v":1,"task":"a:b","args":[1e400],"schedule":{"name":"n","at":"<aws.scheduler.scheduled-time>"}}',
    ],
)
def test_only_a_firing_that_can_be_read_is_given_the_time_it_lacks(body: str) -> None:
    assert dated(body, NOW) == body


@pytest.mark.parametrize(
    "fields",
    [
        {"name": None},
        {"name": ""},
        {"name": 7},
        {"group": 7},
        {"at": "soon"},
        {"at": 5},
        {"overlap": "never"},
        {"jitter": -1},
        {"jitter": "5"},
        {"jitter": True},
        {"expires_in": "x"},
    ],
)
async def test_a_schedule_field_that_makes_no_sense_is_poison_and_never_lost(
    harness: EngineHarness, fields: dict[str, Any]
) -> None:
    @harness.task
    def nightly() -> None: ...

    sent = firing(nightly, **fields)
    assert isinstance(await harness.process(sent), RetryIn)
    last = await harness.process(sent._replace(receive_count=10))
    assert isinstance(last, DeadLetter)
    assert last.reason == "undecodable"


async def test_jitter_puts_each_firing_off_by_the_same_part_of_it_for_every_delivery(harness: EngineHarness) -> None:
    @harness.task
    def nightly() -> None: ...

    waits = []
    for minute in range(20):
        outcome = await harness.process(firing(nightly, at=scheduled_time(AT + minute * 60), jitter=3600))
        again = await harness.process(firing(nightly, at=scheduled_time(AT + minute * 60), jitter=3600))
        assert outcome == again
        if isinstance(outcome, RetryIn):
            assert outcome.reason == "early"
            waits.append(outcome.delay + NOW - AT - minute * 60)
    assert len({round(wait) for wait in waits}) > 10
    assert all(0 <= wait <= 3600 for wait in waits)


async def test_a_firing_that_comes_too_late_expires(harness: EngineHarness) -> None:
    @harness.task
    def nightly() -> None:
        raise AssertionError("must not run")

    assert await harness.process(firing(nightly, expires_in=10)) == DONE
    assert harness.record(firing_id("shop", "d-shop.nightly", AT)).status is State.EXPIRED


async def test_a_task_can_ask_for_its_scheduled_time(harness: EngineHarness) -> None:
    seen = []

    @harness.task
    def nightly(ctx: TaskContext) -> None:
        seen.append(ctx.scheduled_for)

    await harness.process(firing(nightly))
    await harness.run(nightly)
    assert seen == [datetime.fromtimestamp(AT, UTC), None]


# -- overlap ----------------------------------------------------------------------------------------------------


async def test_a_firing_is_skipped_while_the_one_before_runs(harness: EngineHarness) -> None:
    outcomes: list[object] = []

    @harness.task
    async def nightly() -> None:
        if not outcomes:
            outcomes.append(None)
            outcomes[0] = await harness.process(firing(nightly, at=scheduled_time(AT), overlap="skip"))

    assert await harness.process(firing(nightly, at=scheduled_time(AT - 60), overlap="skip")) == DONE
    assert outcomes == [DONE]
    skipped = harness.record(firing_id("shop", "d-shop.nightly", AT))
    assert (skipped.status, skipped.reason) == (State.CANCELLED, "overlap")
    assert harness.record(firing_id("shop", "d-shop.nightly", AT - 60)).status is State.SUCCEEDED


async def test_the_next_firing_runs_when_the_one_before_has_ended(harness: EngineHarness) -> None:
    @harness.task
    def nightly() -> None: ...

    for minute in range(3):
        await harness.process(firing(nightly, at=scheduled_time(AT - 60 * minute), overlap="skip"))
        assert harness.record(firing_id("shop", "d-shop.nightly", AT - 60 * minute)).status is State.SUCCEEDED


async def test_a_firing_that_waits_for_its_retry_keeps_the_next_ones_out(harness: EngineHarness) -> None:
    @harness.task
    def nightly() -> None:
        raise OSError

    first = firing(nightly, at=scheduled_time(AT - 60), overlap="skip")
    assert isinstance(await harness.process(first), RetryIn)
    assert await harness.process(firing(nightly, overlap="skip")) == DONE
    assert harness.record(firing_id("shop", "d-shop.nightly", AT)).reason == "overlap"
    harness.clock.travel(3600)
    assert isinstance(await harness.process(first), RetryIn | DeadLetter)  # and is not kept out by its own lock


async def test_a_firing_that_vanished_without_freeing_the_lock_does_not_keep_the_schedule_silent(
    harness: EngineHarness,
) -> None:
    @harness.task
    def nightly() -> None: ...

    first = firing(nightly, at=scheduled_time(AT - 60), overlap="skip")
    harness.results.fail("free_key", times=1)
    await harness.process(first)
    assert await harness.process(firing(nightly, overlap="skip")) == DONE
    assert harness.record(firing_id("shop", "d-shop.nightly", AT)).status is State.SUCCEEDED


async def test_where_the_lock_cannot_be_reached_the_firing_comes_again_and_no_attempt_is_used_up(
    harness: EngineHarness,
) -> None:
    @harness.task
    def nightly() -> None: ...

    harness.results.fail("lock_key", times=1)
    outcome = await harness.process(firing(nightly, overlap="skip"))
    assert isinstance(outcome, Release)
    assert 5 <= outcome.delay <= 60
    assert harness.record(firing_id("shop", "d-shop.nightly", AT)).attempt == 0
    assert await harness.process(firing(nightly, overlap="skip")) == DONE
    assert harness.record(firing_id("shop", "d-shop.nightly", AT)).attempt == 1


async def test_firings_that_may_overlap_do(harness: EngineHarness) -> None:
    outcomes: list[object] = []

    @harness.task
    async def nightly() -> None:
        if not outcomes:
            outcomes.append(None)
            outcomes[0] = await harness.process(firing(nightly))

    await harness.process(firing(nightly, at=scheduled_time(AT - 60)))
    assert harness.record(firing_id("shop", "d-shop.nightly", AT)).status is State.SUCCEEDED
