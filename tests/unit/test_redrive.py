"""Redrive: dead letters go back to their queues as new runs; nothing is lost, and nothing else is touched."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from taskq_sls import ArgumentsError, ConfigError
from taskq_sls.brokers.base import EntryError
from taskq_sls.core.delivery import DONE
from taskq_sls.core.flow import drive
from taskq_sls.core.message import Message
from taskq_sls.core.states import State
from taskq_sls.core.times import DAY
from taskq_sls.operations.dead_letter_view import Selection
from taskq_sls.operations.dead_letters import SweepProgress
from taskq_sls.operations.redrive import Redriven, redrive
from taskq_sls.operations.runs import Edit
from taskq_sls.results.records import AttemptEnd, KeyLock
from tests.support.dead_letter_app import NOW, DeadLetterApp


@pytest.fixture
def shop() -> DeadLetterApp:
    return DeadLetterApp()


def again(shop: DeadLetterApp, queue: str | None = None, **options: Any) -> Redriven:
    return shop.do(redrive(shop.app, shop.services, queue, **options))


def test_a_redriven_task_runs_again_under_its_id_as_a_new_run(shop: DeadLetterApp) -> None:
    shop.die("a", "a.png", 7)

    done = again(shop)

    assert [(one.queue, one.run) for one in done.redriven] == [("default", 1)]
    assert shop.ids("default-dlq") == []
    assert shop.work() == [DONE]
    assert shop.ran == [("a.png", 7)]
    record = shop.record("a")
    assert (record.status, record.run) == ("SUCCEEDED", 1)


def test_only_what_is_selected_moves_and_the_rest_is_visible_again(shop: DeadLetterApp) -> None:
    for number in range(15):
        shop.die(f"bad-{number}", reason="arguments")
        shop.die(f"good-{number}")

    done = again(shop, selection=Selection(reasons=frozenset({"exhausted"})))

    assert (len(done.redriven), done.seen) == (15, 30)
    assert sorted(shop.ids("default")) == sorted(f"good-{number}" for number in range(15))
    assert sorted(shop.ids("default-dlq")) == sorted(f"bad-{number}" for number in range(15))
    assert shop.hidden("default-dlq") == 0


def test_no_more_than_the_limit_is_sent(shop: DeadLetterApp) -> None:
    for number in range(15):
        shop.die(f"task-{number}")

    assert len(again(shop, limit=12).redriven) == 12
    assert len(shop.ids("default-dlq")) == 3
    assert shop.hidden("default-dlq") == 0


def test_a_dry_run_tells_and_changes_nothing(shop: DeadLetterApp) -> None:
    shop.claimed("b")
    shop.clock.travel(120)
    shop.die("a")
    shop.moved("b")

    done = again(shop, dry_run=True)

    assert [(one.dead_letter.id, one.run) for one in done.redriven] == [("a", 1), ("b", 1)]
    assert (shop.ids("default"), len(shop.ids("default-dlq"))) == ([], 2)
    assert shop.record("b").status is State.RUNNING
    assert shop.hidden("default-dlq") == 0


# -- interrupted ----------------------------------------------------------------------------------------------------


def at_the(number: int, error: BaseException) -> Callable[[Any], None]:
    """Raise at the call with this number."""
    calls = iter(range(1, 1000))

    def step(_: Any) -> None:
        if next(calls) == number:
            raise error

    return step


@pytest.mark.parametrize("moment", ["before_send", "after_send"])
@pytest.mark.parametrize("call", [1, 2, 3])
def test_a_redrive_that_was_interrupted_has_lost_nothing_and_can_be_resumed(
    shop: DeadLetterApp, moment: str, call: int
) -> None:
    ids = {f"task-{number:02}" for number in range(25)}
    for id in ids:
        shop.die(id, f"{id}.png")
    nothing = getattr(shop.broker, moment)
    setattr(shop.broker, moment, at_the(call, KeyboardInterrupt()))

    with pytest.raises(KeyboardInterrupt):
        again(shop)

    assert {*shop.ids("default"), *shop.ids("default-dlq")} == ids
    assert shop.hidden("default-dlq") == 0
    setattr(shop.broker, moment, nothing)
    again(shop)
    assert shop.ids("default-dlq") == []
    while shop.ids("default"):
        shop.work()
    assert sorted(shop.ran) == sorted((f"{id}.png", 100) for id in ids)  # each of them once


def test_what_was_sent_and_not_deleted_makes_one_run_even_after_that_has_ended(shop: DeadLetterApp) -> None:
    shop.die("a")
    shop.broker.after_send = at_the(1, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        again(shop)
    shop.work()

    again(shop)
    shop.work()

    assert len(shop.ran) == 1
    assert (shop.ids("default"), shop.ids("default-dlq")) == ([], [])


def test_an_entry_that_the_queue_refuses_stays_and_is_told(shop: DeadLetterApp) -> None:
    for id in ("a", "b", "c"):
        shop.die(id)
    shop.broker.refuse = lambda message: EntryError("Throttled", "slow down") if message.id == "b" else None

    done = again(shop)

    assert [one.dead_letter.id for one in done.redriven] == ["a", "c"]
    assert [(one.dead_letter.id, one.code) for one in done.kept] == [("b", "Throttled")]
    assert shop.ids("default-dlq") == ["b"]
    assert shop.hidden("default-dlq") == 0


def test_what_fails_again_meanwhile_is_not_sent_in_a_circle(shop: DeadLetterApp) -> None:
    shop.die("a")
    shop.broker.after_send = lambda messages: shop.die("a", run=messages[0].body.count('"run":1'))

    done = again(shop)

    assert len(done.redriven) == 1
    assert [message.run for message in shop.bodies("default-dlq")] == [2]


# -- rate -----------------------------------------------------------------------------------------------------------


def test_messages_are_sent_no_faster_than_the_rate(shop: DeadLetterApp) -> None:
    for number in range(25):
        shop.die(f"task-{number}")

    again(shop, rate=5)

    sent = [(time - NOW, count) for time, count in shop.broker.sends]
    assert sent == [(pytest.approx(number), 5) for number in range(5)]


def test_a_slow_rate_sends_one_by_one_and_keeps_holding_the_rest(shop: DeadLetterApp) -> None:
    for number in range(4):
        shop.die(f"task-{number}")
    held: list[int] = []
    shop.broker.before_send = lambda messages: held.append(shop.hidden("default-dlq"))

    done = again(shop, rate=0.01)

    assert held == [4, 3, 2, 1]

    assert [count for _, count in shop.broker.sends] == [1, 1, 1, 1]
    assert shop.broker.sends[-1][0] - NOW == pytest.approx(300)
    assert (len(done.redriven), done.undeleted, shop.ids("default-dlq")) == (4, [], [])


@pytest.mark.parametrize("rate", [0, -1, float("inf"), float("nan")])
def test_a_rate_must_be_above_0(shop: DeadLetterApp, rate: float) -> None:
    with pytest.raises(ConfigError, match="rate="):
        again(shop, rate=rate)


def test_progress_is_told(shop: DeadLetterApp) -> None:
    for number in range(15):
        shop.die(f"task-{number}")
    told: list[SweepProgress] = []

    again(shop, on_progress=told.append)

    assert told == [SweepProgress(10, 15, 10, 0), SweepProgress(15, 15, 15, 0)]


# -- what SQS itself moved ------------------------------------------------------------------------------------------


def test_a_message_that_sqs_moved_before_its_first_attempt_runs_as_a_new_run(shop: DeadLetterApp) -> None:
    shop.moved("a")

    assert [one.run for one in again(shop).redriven] == [1]

    shop.work()
    assert (shop.record("a").status, shop.record("a").run) == ("SUCCEEDED", 1)


@pytest.mark.parametrize("state", ["RUNNING", "RETRYING", "QUEUED"])
def test_the_record_of_what_sqs_moved_is_marked_and_its_copy_really_runs(shop: DeadLetterApp, state: str) -> None:
    fence = shop.claimed("a")
    if state == "RETRYING":
        finish = AttemptEnd(State.RETRYING, NOW, NOW + 20 * DAY, next_at=NOW + 10_000)
        assert drive(shop.results.finish(fence, finish)) is State.RETRYING
    if state == "QUEUED":
        assert drive(shop.results.release(fence, now=NOW))
    assert shop.record("a").status == state
    shop.clock.travel(120)
    shop.moved("a")
    shop.broker.after_send = at_the(1, KeyboardInterrupt())

    with pytest.raises(KeyboardInterrupt):
        again(shop)

    record = shop.record("a")
    assert (record.status, record.reason, record.run) == ("FAILED", "redriven", 0)
    assert record.error is not None
    assert "SQS moved its message" in record.error.message
    shop.work()
    assert (shop.record("a").status, shop.record("a").run, shop.ran) == ("SUCCEEDED", 1, [("a.png", 100)])


def test_a_run_that_an_interrupted_redrive_has_opened_goes_on(shop: DeadLetterApp) -> None:
    shop.moved("a")
    shop.broker.after_send = at_the(1, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        again(shop)
    fence = shop.claimed("a", run=1)
    drive(shop.results.finish(fence, AttemptEnd(State.RETRYING, NOW, NOW + 20 * DAY, next_at=NOW + 600)))

    again(shop)

    assert (shop.record("a").status, shop.record("a").run) == ("RETRYING", 1)
    assert shop.ids("default-dlq") == []


def test_a_task_that_runs_at_this_moment_is_left_alone(shop: DeadLetterApp) -> None:
    shop.claimed("a")
    shop.moved("a")

    done = again(shop)

    assert [(one.dead_letter.id, one.code) for one in done.kept] == [("a", "Running")]
    assert shop.record("a").status is State.RUNNING
    assert (shop.ids("default"), shop.ids("default-dlq")) == ([], ["a"])


def test_what_was_asked_to_cancel_is_cancelled_and_does_not_run(shop: DeadLetterApp) -> None:
    shop.claimed("a")
    drive(shop.results.cancel("a", task="shop:resize", queue="default", now=NOW, ttl=NOW + 20 * DAY))
    shop.clock.travel(120)
    shop.moved("a")

    again(shop)

    assert shop.record("a").status is State.CANCELLED
    assert shop.work() == [DONE]
    assert shop.ran == []


def test_the_unique_key_of_what_sqs_moved_is_free_again(shop: DeadLetterApp) -> None:
    from taskq_sls.results.records import Claim

    lock = KeyLock("shop:resize", "k", "a", "default", NOW, NOW + DAY, confirmed=True)
    drive(shop.results.lock_key(lock))
    claim = Claim("a", 0, "shop:resize", "default", "o", NOW, NOW + 60, 3, NOW + 20 * DAY, NOW, unique_key="k")
    drive(shop.results.claim(claim))
    shop.clock.travel(120)
    shop.moved("a")

    again(shop)

    other = lock._replace(id="b", locked_at=shop.clock.time())
    assert drive(shop.results.lock_key(other)) == other


def test_what_ended_meanwhile_is_recognised_when_it_comes(shop: DeadLetterApp) -> None:
    fence = shop.claimed("a")
    drive(shop.results.finish(fence, AttemptEnd(State.SUCCEEDED, NOW, NOW + 20 * DAY, result_json="1")))
    shop.moved("a")

    again(shop)

    assert shop.work() == [DONE]
    assert shop.ran == []


def test_a_copy_whose_task_waits_for_code_that_was_missing_runs_too(shop: DeadLetterApp) -> None:
    """It was RETRYING when a deploy lost its code, so that nobody ever wrote that it FAILED."""
    fence = shop.claimed("a")
    drive(shop.results.finish(fence, AttemptEnd(State.RETRYING, NOW, NOW + 20 * DAY, next_at=NOW + 10)))
    shop.clock.travel(3600)
    shop.die("a", reason="unknown_task", recorded=False)

    again(shop)
    shop.work()

    assert (shop.record("a").status, shop.record("a").run) == ("SUCCEEDED", 1)


def test_a_run_that_was_opened_and_failed_again_is_followed_by_the_next_one(shop: DeadLetterApp) -> None:
    """SQS's own redrive keeps the attributes; what it brought back failed, and SQS moved that message once more."""
    shop.die("a", run=1)
    (copy,) = shop.broker.messages("default-dlq")
    copy.body = Message("a", "shop:resize", ["a.png"], enqueued_at=NOW, run=1).encode()

    assert [one.run for one in again(shop).redriven] == [2]


def test_an_app_that_records_nothing_needs_no_table() -> None:
    shop = DeadLetterApp(record="none")
    shop.die("a", recorded=False)
    shop.services.results.get_many = None  # type: ignore[method-assign,assignment]  # it must not be asked

    assert len(again(shop).redriven) == 1


# -- FIFO and groups ------------------------------------------------------------------------------------------------


def test_a_fifo_message_keeps_its_group_and_order_and_is_not_dropped_as_a_duplicate(shop: DeadLetterApp) -> None:
    for number in range(12):
        shop.die(f"task-{number:02}", queue="ledger.fifo", group="g")

    done = again(shop, "ledger.fifo")

    assert len(done.redriven) == 12
    assert shop.ids("ledger.fifo") == [f"task-{number:02}" for number in range(12)]
    assert {one.group for one in shop.broker.messages("ledger.fifo")} == {"g"}
    for _ in range(2):  # and a second life, within the five minutes of deduplication
        for message in shop.broker.messages("ledger.fifo"):
            shop.broker._queue("ledger.fifo").messages.pop(message.message_id)
        shop.die("task-00", queue="ledger.fifo", group="g", run=shop.record("task-00").run + 1)
        again(shop, "ledger.fifo")
        assert shop.ids("ledger.fifo") == ["task-00"]


def test_a_standard_message_keeps_its_tenant(shop: DeadLetterApp) -> None:
    shop.die("a", group="tenant-7")
    shop.moved("b", group="tenant-8")

    again(shop)

    assert [one.group for one in shop.broker.messages("default")] == ["tenant-7", "tenant-8"]


# -- editing --------------------------------------------------------------------------------------------------------


def test_edited_arguments_run_under_the_same_id_and_run(shop: DeadLetterApp) -> None:
    shop.die("a", "wrong.png", labels={"a": "b"})

    again(shop, edit=Edit(args=["right.png"], kwargs={"width": 3}, labels={"fixed": "yes"}))

    (message,) = shop.bodies("default")
    assert (message.id, message.run, message.labels) == ("a", 1, {"fixed": "yes"})
    shop.work()
    assert shop.ran == [("right.png", 3)]


def test_arguments_that_do_not_fit_the_task_are_refused_and_nothing_is_sent(shop: DeadLetterApp) -> None:
    shop.die("a")

    with pytest.raises(ArgumentsError):
        again(shop, edit=Edit(args=["a.png", "wide"]))

    assert (shop.ids("default"), shop.ids("default-dlq"), shop.hidden("default-dlq")) == ([], ["a"], 0)


def test_what_cannot_be_read_is_sent_as_it_is_but_not_edited(shop: DeadLetterApp) -> None:
    shop.moved("a", body="not JSON")

    kept = again(shop, edit=Edit(args=[])).kept
    assert "cannot be read" in kept[0].message
    assert len(again(shop).redriven) == 1
    assert [one.body for one in shop.broker.messages("default")] == ["not JSON"]


# -- schedules ------------------------------------------------------------------------------------------------------

FIRING = (
    '{"v":1,"task":"shop:resize","args":["a.png"],'
    '"schedule":{"name":"d-shop.x","group":"shop","at":"<aws.scheduler.scheduled-time>"}}'
)


def undelivered(shop: DeadLetterApp, queue: str, **attributes: str) -> None:
    arn = drive(shop.broker.queue_arn(queue))
    known = {"ERROR_CODE": "x", "TARGET_ARN": arn, "SCHEDULED_TIME": "2027-01-15T08:00:00Z"}
    shop.put("schedules-dlq", FIRING, attributes={**known, **attributes})


def test_a_firing_goes_to_the_queue_it_was_meant_for_and_makes_the_task_of_its_time(shop: DeadLetterApp) -> None:
    from taskq_sls.scheduler.firing import firing_id

    undelivered(shop, "default")

    again(shop)
    shop.work()

    record = shop.record(firing_id("shop", "d-shop.x", NOW))
    assert (record.status, record.run) == ("SUCCEEDED", 0)
    assert shop.broker.messages("schedules-dlq") == []


@pytest.mark.parametrize("by_sqs", [False, True], ids=["copied", "moved"])
def test_a_firing_whose_clock_left_the_time_out_is_redriven_as_the_task_it_was(
    shop: DeadLetterApp, by_sqs: bool
) -> None:
    from taskq_sls.brokers.settling import send_to_dlq
    from taskq_sls.core.delivery import DeadLetter, Delivery
    from taskq_sls.scheduler.firing import dated, firing_id

    delivery = Delivery("default", FIRING, "receipt", "sqs-1", 3, NOW + 5)
    shop.clock.travel(600)
    if by_sqs:
        shop.broker._queue("default-dlq").add(FIRING, NOW + 5, group=None, dedup=FIRING, attributes={})
    else:
        letter = DeadLetter("exhausted", body=dated(FIRING, NOW + 5))  # as the engine makes it
        assert drive(send_to_dlq(shop.broker, [(delivery, letter)])) == [True]
    shop.clock.travel(3_600)

    again(shop)
    shop.work()

    assert shop.ran == [("a.png", 100)]
    assert shop.record(firing_id("shop", "d-shop.x", NOW)).status == "SUCCEEDED"


def test_a_firing_is_no_new_run_even_where_its_task_has_failed(shop: DeadLetterApp) -> None:
    from taskq_sls.scheduler.firing import firing_id

    id = firing_id("shop", "d-shop.x", NOW)
    drive(shop.results.finish(shop.claimed(id), AttemptEnd(State.FAILED, NOW, NOW + 20 * DAY)))
    undelivered(shop, "default")

    assert [one.run for one in again(shop).redriven] == [0]


def test_a_firing_for_a_fifo_queue_gets_the_group_of_its_schedule(shop: DeadLetterApp) -> None:
    from taskq_sls.core.schedule_spec import ScheduleSpec

    spec = ScheduleSpec("d-shop.x", "rate(1 hour)", "UTC", "ledger.fifo", FIRING, group="books")
    assert drive(shop.schedules.create(spec))
    undelivered(shop, "ledger.fifo")

    again(shop)

    assert [one.group for one in shop.broker.messages("ledger.fifo")] == ["books"]


def test_a_firing_for_a_fifo_queue_whose_schedule_is_gone_needs_a_group(shop: DeadLetterApp) -> None:
    undelivered(shop, "ledger.fifo")

    assert "give the group" in again(shop).kept[0].message
    assert len(again(shop, group="g").redriven) == 1


@pytest.mark.parametrize(
    ("attributes", "told"),
    [
        ({"TARGET_ARN": "arn:aws:sqs:eu-west-1:1:other-queue"}, "which is not a queue of app 'shop'"),
        ({"IS_PAYLOAD_TRUNCATED": "true"}, "has cut its body"),
    ],
)
def test_a_firing_that_cannot_go_back_stays(shop: DeadLetterApp, attributes: dict[str, str], told: str) -> None:
    undelivered(shop, "default", **attributes)

    done = again(shop)

    assert told in done.kept[0].message
    assert len(shop.broker.messages("schedules-dlq")) == 1
