"""Operating single tasks, following them, and seeing queues and workers."""

from __future__ import annotations

from typing import Any

import pytest

from taskq_sls import ArgumentsError, ConfigError
from taskq_sls.core.flow import drive
from taskq_sls.core.states import State
from taskq_sls.core.times import DAY
from taskq_sls.operations.overview import live_workers, overview, queue_stats
from taskq_sls.operations.runs import Edit
from taskq_sls.operations.tail import OVERLAP_SECONDS, Tail
from taskq_sls.operations.tasks import Retried, TaskView, cancel, retry, show
from taskq_sls.results.records import AttemptEnd, Call, CancelAnswer
from taskq_sls.results.workers import ALIVE_SECONDS, RunningTask, WorkerReport
from tests.support.dead_letter_app import NOW, DeadLetterApp


@pytest.fixture
def shop() -> DeadLetterApp:
    return DeadLetterApp()


def seen(shop: DeadLetterApp, id: str, **options: Any) -> TaskView:
    return shop.do(show(shop.app, shop.services, id, **options))


def again(shop: DeadLetterApp, id: str, **edit: Any) -> Retried:
    return shop.do(retry(shop.app, shop.services, id, edit=Edit(**edit) if edit else None))


def succeed(shop: DeadLetterApp, id: str, *, queue: str = "default", call: Call | None = None) -> None:
    fence = shop.claimed(id, queue=queue, call=call)
    finish = AttemptEnd(State.SUCCEEDED, shop.clock.time(), NOW + 20 * DAY, result_json="1")
    assert drive(shop.results.finish(fence, finish))


# -- show -----------------------------------------------------------------------------------------------------------


def test_a_task_is_shown_with_its_dead_letter(shop: DeadLetterApp) -> None:
    shop.die("a")
    shop.die("b")

    view = seen(shop, "a")

    assert view.record is not None
    assert view.dead_letter is not None
    assert (view.record.status, view.dead_letter.id, view.dead_letter.args) == ("FAILED", "a", ["a.png"])
    assert shop.hidden("default-dlq") == 0


def test_the_dead_letter_of_a_task_that_records_nothing_is_found(shop: DeadLetterApp) -> None:
    shop.die("a", recorded=False)

    view = seen(shop, "a")

    assert (view.record, view.dead_letter and view.dead_letter.id) == (None, "a")


def test_no_queue_is_read_for_a_task_that_cannot_have_a_dead_letter(shop: DeadLetterApp) -> None:
    succeed(shop, "a")
    shop.die("other")

    assert seen(shop, "a").dead_letter is None

    assert shop.broker.messages("default-dlq")[0].receive_count == 0


# -- retry ----------------------------------------------------------------------------------------------------------


def test_retrying_a_failed_task_redrives_its_dead_letter_and_no_other(shop: DeadLetterApp) -> None:
    shop.die("a", "a.png", 3)
    shop.die("b")

    done = again(shop, "a")

    assert (done.id, done.run, done.parent, done.redriven) == ("a", 1, None, True)
    assert (shop.ids("default"), shop.ids("default-dlq")) == (["a"], ["b"])


def test_a_failed_task_can_be_retried_with_other_arguments(shop: DeadLetterApp) -> None:
    shop.die("a", "wrong.png")

    again(shop, "a", args=["right.png"])

    assert [(message.id, message.args) for message in shop.bodies("default")] == [("a", ["right.png"])]


@pytest.mark.parametrize("state", ["SUCCEEDED", "CANCELLED", "FAILED"])
def test_without_a_dead_letter_a_new_task_is_sent_with_the_old_one_as_its_parent(
    shop: DeadLetterApp, state: str
) -> None:
    fence = shop.claimed("a")
    drive(shop.results.finish(fence, AttemptEnd(State(state), NOW, NOW + 20 * DAY)))

    done = again(shop, "a", args=["a.png"], kwargs={"width": 3})

    (message,) = shop.bodies("default")
    assert (done.id, done.parent, done.redriven) == (message.id, "a", False)
    assert (message.parent, message.run, message.args, message.kwargs) == ("a", 0, ["a.png"], {"width": 3})
    assert message.id != "a"


def test_the_arguments_of_a_new_task_are_those_of_the_record(shop: DeadLetterApp) -> None:
    succeed(shop, "a", call=(["a.png"], {"width": 3}))

    again(shop, "a")

    (message,) = shop.bodies("default")
    assert (message.args, message.kwargs, message.parent) == (["a.png"], {"width": 3}, "a")


@pytest.mark.parametrize(
    ("call", "why"), [(None, "its record does not either"), ((["[redacted]"], {}), "its record hides some")]
)
def test_arguments_that_no_record_holds_must_be_given(shop: DeadLetterApp, call: Any, why: str) -> None:
    succeed(shop, "a", call=call)

    with pytest.raises(ConfigError, match=f"has SUCCEEDED, no dead letter has its arguments, and {why}: give them"):
        again(shop, "a")

    assert shop.ids("default") == []


def test_arguments_of_a_new_task_must_fit_it(shop: DeadLetterApp) -> None:
    succeed(shop, "a")

    with pytest.raises(ArgumentsError):
        again(shop, "a", args=["a.png", "wide"])

    assert shop.ids("default") == []


@pytest.mark.parametrize("state", [State.RUNNING, State.RETRYING])
def test_what_has_not_ended_is_not_retried(shop: DeadLetterApp, state: State) -> None:
    fence = shop.claimed("a")
    if state is State.RETRYING:
        drive(shop.results.finish(fence, AttemptEnd(state, NOW, NOW + 20 * DAY, next_at=NOW + 10)))

    with pytest.raises(ConfigError, match=f"task a is {state}: only a task that has ended can run again"):
        again(shop, "a", args=[])


def test_what_sqs_moved_can_be_retried_by_its_id(shop: DeadLetterApp) -> None:
    shop.claimed("a")
    shop.clock.travel(120)
    shop.moved("a")

    assert again(shop, "a").run == 1


def test_an_unknown_task_is_not_retried(shop: DeadLetterApp) -> None:
    with pytest.raises(ConfigError, match="no record was found"):
        again(shop, "absent", args=[])


def test_a_new_task_whose_code_is_elsewhere_is_sent_by_name(shop: DeadLetterApp) -> None:
    fence = shop.claimed("a", task="far.away:task")
    drive(shop.results.finish(fence, AttemptEnd(State.SUCCEEDED, NOW, NOW + 20 * DAY)))

    again(shop, "a", args=[{"any": "thing"}])

    assert [message.task for message in shop.bodies("default")] == ["far.away:task"]


# -- cancel ---------------------------------------------------------------------------------------------------------


def stop(shop: DeadLetterApp, id: str, **options: Any) -> CancelAnswer:
    return shop.do(cancel(shop.app, shop.services, id, **options))


def test_a_running_task_is_asked_to_stop_by_its_id_alone(shop: DeadLetterApp) -> None:
    shop.claimed("a", task="far.away:task")

    assert stop(shop, "a").answer == "requested"
    assert shop.record("a").cancel_requested


def test_a_task_that_has_ended_is_cancelled_too_late(shop: DeadLetterApp) -> None:
    succeed(shop, "a")

    assert stop(shop, "a") == CancelAnswer("too_late", State.SUCCEEDED)


def test_a_task_without_a_record_is_cancelled_by_id_and_name(shop: DeadLetterApp) -> None:
    with pytest.raises(ConfigError, match="give the name of the task"):
        stop(shop, "a")

    assert stop(shop, "a", task="shop:resize").answer == "cancelled"
    assert (shop.record("a").task, shop.record("a").queue) == ("shop:resize", "default")


# -- tail -----------------------------------------------------------------------------------------------------------


def test_a_tail_tells_each_end_once_in_order(shop: DeadLetterApp) -> None:
    succeed(shop, "before")
    shop.clock.travel(1)
    tail = Tail(shop.app, shop.services)
    assert shop.do(tail.poll()) == []

    shop.clock.travel(1)
    shop.die("a")
    shop.clock.travel(1)
    succeed(shop, "b")

    assert [one.id for one in shop.do(tail.poll())] == ["a", "b"]
    assert shop.do(tail.poll()) == []


def test_a_tail_finds_what_the_index_showed_late(shop: DeadLetterApp) -> None:
    tail = Tail(shop.app, shop.services)
    shop.clock.travel(30)
    assert shop.do(tail.poll()) == []
    late = shop.clock.time() - OVERLAP_SECONDS / 2
    fence = shop.claimed("a")
    drive(shop.results.finish(fence, AttemptEnd(State.SUCCEEDED, late, NOW + 20 * DAY)))

    assert [one.id for one in shop.do(tail.poll())] == ["a"]


def test_a_tail_tells_only_what_was_asked_for(shop: DeadLetterApp) -> None:
    tail = Tail(shop.app, shop.services, tasks=["shop:crop"], states=[State.FAILED])
    succeed(shop, "a")
    shop.die("b")
    shop.die("c", task="shop:crop")

    assert [one.id for one in shop.do(tail.poll())] == ["c"]


def test_a_tail_cannot_follow_states_that_no_index_holds(shop: DeadLetterApp) -> None:
    with pytest.raises(ConfigError, match="status RUNNING"):
        Tail(shop.app, shop.services, states=[State.RUNNING])


# -- queues and workers ---------------------------------------------------------------------------------------------


def test_queues_are_counted_with_their_dead_letters(shop: DeadLetterApp) -> None:
    shop.put("default", "one")
    shop.put("default", "two")
    drive(shop.broker.receive("default", max_messages=1, wait=0, visibility=60))
    shop.die("a")
    shop.put("schedules-dlq", "lost")

    default, ledger, schedules = shop.do(queue_stats(shop.app, shop.services))

    assert default == ("default", 1, 1, 0, None, 1)
    assert ledger == ("ledger.fifo", 0, 0, 0, None, 0)
    assert schedules == ("schedules-dlq", 1, 0, 0, None, None)


def report(id: str, **fields: Any) -> WorkerReport:
    return WorkerReport("shop", id, "host", 7, NOW, fields.pop("beat_at", NOW), **fields)


def test_workers_are_alive_as_long_as_their_reports_count(shop: DeadLetterApp) -> None:
    drive(shop.results.workers.beat(report("a")))
    shop.clock.travel(ALIVE_SECONDS - 1)
    assert [one.id for one in shop.do(live_workers(shop.app, shop.services))] == ["a"]
    shop.clock.travel(1)
    assert shop.do(live_workers(shop.app, shop.services)) == []


def test_an_overview_shows_what_runs_and_what_failed_last(shop: DeadLetterApp) -> None:
    shop.claimed("slow")
    succeed(shop, "ended")
    shop.die("dead")
    named = tuple(RunningTask(id, "shop:resize") for id in ("ended", "slow", "unrecorded"))
    drive(shop.results.workers.beat(report("w", running=3, oldest=named)))

    view = shop.do(overview(shop.app, shop.services))

    assert [one.id for one in view.running] == ["slow", "unrecorded"]
    assert [one.id for one in view.failed] == ["dead"]
    assert [one.id for one in view.workers] == ["w"]
    assert view.queues[0].dead_letters == 1
