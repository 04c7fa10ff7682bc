"""Operating single tasks, following them, and seeing queues and workers."""

from __future__ import annotations

from typing import Any

import pytest
from graveyard import NOW, Graveyard

from taskq_sls import ArgumentsError, ConfigError
from taskq_sls.core.flow import drive
from taskq_sls.core.lifetimes import DAY
from taskq_sls.core.states import State
from taskq_sls.operations.editing import Edit
from taskq_sls.operations.overview import live_workers, overview, queue_stats
from taskq_sls.operations.tail import OVERLAP_SECONDS, Tail
from taskq_sls.operations.tasks import Retried, TaskView, cancel, retry, show
from taskq_sls.results.records import AttemptEnd, Call, CancelAnswer
from taskq_sls.results.workers import ALIVE_SECONDS, RunningTask, WorkerReport


@pytest.fixture
def yard() -> Graveyard:
    return Graveyard()


def seen(yard: Graveyard, id: str, **options: Any) -> TaskView:
    return yard.do(show(yard.app, yard.services, id, **options))


def again(yard: Graveyard, id: str, **edit: Any) -> Retried:
    return yard.do(retry(yard.app, yard.services, id, edit=Edit(**edit) if edit else None))


def succeed(yard: Graveyard, id: str, *, queue: str = "default", call: Call | None = None) -> None:
    fence = yard.claimed(id, queue=queue, call=call)
    finish = AttemptEnd(State.SUCCEEDED, yard.clock.time(), NOW + 20 * DAY, result_json="1")
    assert drive(yard.results.finish(fence, finish))


# -- show -----------------------------------------------------------------------------------------------------------


def test_a_task_is_shown_with_its_dead_letter(yard: Graveyard) -> None:
    yard.die("a")
    yard.die("b")

    view = seen(yard, "a")

    assert view.record is not None
    assert view.dead_letter is not None
    assert (view.record.status, view.dead_letter.id, view.dead_letter.args) == ("FAILED", "a", ["a.png"])
    assert yard.hidden("default-dlq") == 0


def test_the_dead_letter_of_a_task_that_records_nothing_is_found(yard: Graveyard) -> None:
    yard.die("a", recorded=False)

    view = seen(yard, "a")

    assert (view.record, view.dead_letter and view.dead_letter.id) == (None, "a")


def test_no_queue_is_read_for_a_task_that_cannot_have_a_dead_letter(yard: Graveyard) -> None:
    succeed(yard, "a")
    yard.die("other")

    assert seen(yard, "a").dead_letter is None

    assert yard.broker.messages("default-dlq")[0].receive_count == 0


# -- retry ----------------------------------------------------------------------------------------------------------


def test_retrying_a_failed_task_redrives_its_dead_letter_and_no_other(yard: Graveyard) -> None:
    yard.die("a", "a.png", 3)
    yard.die("b")

    done = again(yard, "a")

    assert (done.id, done.run, done.parent, done.redriven) == ("a", 1, None, True)
    assert (yard.ids("default"), yard.ids("default-dlq")) == (["a"], ["b"])


def test_a_failed_task_can_be_retried_with_other_arguments(yard: Graveyard) -> None:
    yard.die("a", "wrong.png")

    again(yard, "a", args=["right.png"])

    assert [(message.id, message.args) for message in yard.bodies("default")] == [("a", ["right.png"])]


@pytest.mark.parametrize("state", ["SUCCEEDED", "CANCELLED", "FAILED"])
def test_without_a_dead_letter_a_new_task_is_sent_with_the_old_one_as_its_parent(yard: Graveyard, state: str) -> None:
    fence = yard.claimed("a")
    drive(yard.results.finish(fence, AttemptEnd(State(state), NOW, NOW + 20 * DAY)))

    done = again(yard, "a", args=["a.png"], kwargs={"width": 3})

    (message,) = yard.bodies("default")
    assert (done.id, done.parent, done.redriven) == (message.id, "a", False)
    assert (message.parent, message.run, message.args, message.kwargs) == ("a", 0, ["a.png"], {"width": 3})
    assert message.id != "a"


def test_the_arguments_of_a_new_task_are_those_of_the_record(yard: Graveyard) -> None:
    succeed(yard, "a", call=(["a.png"], {"width": 3}))

    again(yard, "a")

    (message,) = yard.bodies("default")
    assert (message.args, message.kwargs, message.parent) == (["a.png"], {"width": 3}, "a")


@pytest.mark.parametrize(
    ("call", "why"), [(None, "its record does not either"), ((["[redacted]"], {}), "its record hides some")]
)
def test_arguments_that_no_record_holds_must_be_given(yard: Graveyard, call: Any, why: str) -> None:
    succeed(yard, "a", call=call)

    with pytest.raises(ConfigError, match=f"has SUCCEEDED, no dead letter has its arguments, and {why}: give them"):
        again(yard, "a")

    assert yard.ids("default") == []


def test_arguments_of_a_new_task_must_fit_it(yard: Graveyard) -> None:
    succeed(yard, "a")

    with pytest.raises(ArgumentsError):
        again(yard, "a", args=["a.png", "wide"])

    assert yard.ids("default") == []


@pytest.mark.parametrize("state", [State.RUNNING, State.RETRYING])
def test_what_has_not_ended_is_not_retried(yard: Graveyard, state: State) -> None:
    fence = yard.claimed("a")
    if state is State.RETRYING:
        drive(yard.results.finish(fence, AttemptEnd(state, NOW, NOW + 20 * DAY, next_at=NOW + 10)))

    with pytest.raises(ConfigError, match=f"task a is {state}: only a task that has ended can run again"):
        again(yard, "a", args=[])


def test_what_sqs_moved_can_be_retried_by_its_id(yard: Graveyard) -> None:
    yard.claimed("a")
    yard.clock.travel(120)
    yard.moved("a")

    assert again(yard, "a").run == 1


def test_an_unknown_task_is_not_retried(yard: Graveyard) -> None:
    with pytest.raises(ConfigError, match="no record was found"):
        again(yard, "absent", args=[])


def test_a_new_task_whose_code_is_elsewhere_is_sent_by_name(yard: Graveyard) -> None:
    fence = yard.claimed("a", task="far.away:task")
    drive(yard.results.finish(fence, AttemptEnd(State.SUCCEEDED, NOW, NOW + 20 * DAY)))

    again(yard, "a", args=[{"any": "thing"}])

    assert [message.task for message in yard.bodies("default")] == ["far.away:task"]


# -- cancel ---------------------------------------------------------------------------------------------------------


def stop(yard: Graveyard, id: str, **options: Any) -> CancelAnswer:
    return yard.do(cancel(yard.app, yard.services, id, **options))


def test_a_running_task_is_asked_to_stop_by_its_id_alone(yard: Graveyard) -> None:
    yard.claimed("a", task="far.away:task")

    assert stop(yard, "a").answer == "requested"
    assert yard.record("a").cancel_requested


def test_a_task_that_has_ended_is_cancelled_too_late(yard: Graveyard) -> None:
    succeed(yard, "a")

    assert stop(yard, "a") == CancelAnswer("too_late", State.SUCCEEDED)


def test_a_task_without_a_record_is_cancelled_by_id_and_name(yard: Graveyard) -> None:
    with pytest.raises(ConfigError, match="give the name of the task"):
        stop(yard, "a")

    assert stop(yard, "a", task="shop:resize").answer == "cancelled"
    assert (yard.record("a").task, yard.record("a").queue) == ("shop:resize", "default")


# -- tail -----------------------------------------------------------------------------------------------------------


def test_a_tail_tells_each_end_once_in_order(yard: Graveyard) -> None:
    succeed(yard, "before")
    yard.clock.travel(1)
    tail = Tail(yard.app, yard.services)
    assert yard.do(tail.poll()) == []

    yard.clock.travel(1)
    yard.die("a")
    yard.clock.travel(1)
    succeed(yard, "b")

    assert [one.id for one in yard.do(tail.poll())] == ["a", "b"]
    assert yard.do(tail.poll()) == []


def test_a_tail_finds_what_the_index_showed_late(yard: Graveyard) -> None:
    tail = Tail(yard.app, yard.services)
    yard.clock.travel(30)
    assert yard.do(tail.poll()) == []
    late = yard.clock.time() - OVERLAP_SECONDS / 2
    fence = yard.claimed("a")
    drive(yard.results.finish(fence, AttemptEnd(State.SUCCEEDED, late, NOW + 20 * DAY)))

    assert [one.id for one in yard.do(tail.poll())] == ["a"]


def test_a_tail_tells_only_what_was_asked_for(yard: Graveyard) -> None:
    tail = Tail(yard.app, yard.services, tasks=["shop:crop"], states=[State.FAILED])
    succeed(yard, "a")
    yard.die("b")
    yard.die("c", task="shop:crop")

    assert [one.id for one in yard.do(tail.poll())] == ["c"]


def test_a_tail_cannot_follow_states_that_no_index_holds(yard: Graveyard) -> None:
    with pytest.raises(ConfigError, match="status RUNNING"):
        Tail(yard.app, yard.services, states=[State.RUNNING])


# -- queues and workers ---------------------------------------------------------------------------------------------


def test_queues_are_counted_with_their_dead_letters(yard: Graveyard) -> None:
    yard.put("default", "one")
    yard.put("default", "two")
    drive(yard.broker.receive("default", max_messages=1, wait=0, visibility=60))
    yard.die("a")
    yard.put("schedules-dlq", "lost")

    default, ledger, schedules = yard.do(queue_stats(yard.app, yard.services))

    assert default == ("default", 1, 1, 0, None, 1)
    assert ledger == ("ledger.fifo", 0, 0, 0, None, 0)
    assert schedules == ("schedules-dlq", 1, 0, 0, None, None)


def report(id: str, **fields: Any) -> WorkerReport:
    return WorkerReport("shop", id, "host", 7, NOW, fields.pop("beat_at", NOW), **fields)


def test_workers_are_alive_as_long_as_their_reports_count(yard: Graveyard) -> None:
    drive(yard.results.workers.beat(report("a")))
    yard.clock.travel(ALIVE_SECONDS - 1)
    assert [one.id for one in yard.do(live_workers(yard.app, yard.services))] == ["a"]
    yard.clock.travel(1)
    assert yard.do(live_workers(yard.app, yard.services)) == []


def test_an_overview_shows_what_runs_and_what_failed_last(yard: Graveyard) -> None:
    yard.claimed("slow")
    succeed(yard, "ended")
    yard.die("dead")
    named = tuple(RunningTask(id, "shop:resize") for id in ("ended", "slow", "unrecorded"))
    drive(yard.results.workers.beat(report("w", running=3, oldest=named)))

    view = yard.do(overview(yard.app, yard.services))

    assert [one.id for one in view.running] == ["slow", "unrecorded"]
    assert [one.id for one in view.failed] == ["dead"]
    assert [one.id for one in view.workers] == ["w"]
    assert view.queues[0].dead_letters == 1
