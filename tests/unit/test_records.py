"""The rules that say what a record means, apart from any backend."""

import pytest

from taskq_sls.core.states import TERMINAL, State
from taskq_sls.results.layout import MAX_MILLISECOND, time_bound, time_key
from taskq_sls.results.records import STALL_AFTER, Claim, Fence, TaskRecord
from taskq_sls.results.rules import (
    TAKEOVER_GRACE,
    abandoned,
    can_claim,
    finished_as,
    holds_lease,
    released_already,
    replaceable,
)

NOW = 1_800_000_000.0


def a_record(status: State, **fields: object) -> TaskRecord:
    defaults: dict[str, object] = {"attempt": 1, "owner": "mine", "ttl": NOW + 1000}
    return TaskRecord("task-1", "shop:resize", "default", status, **{**defaults, **fields})  # type: ignore[arg-type]  # any field


def a_claim(run: int = 0, max_attempts: int = 3) -> Claim:
    return Claim("task-1", run, "shop:resize", "default", "other", NOW, NOW + 60, max_attempts, NOW + 1000, NOW)


def test_four_states_are_terminal() -> None:
    assert {State.SUCCEEDED, State.FAILED, State.CANCELLED, State.EXPIRED} == TERMINAL
    assert [state for state in State if not state.terminal] == [State.QUEUED, State.RUNNING, State.RETRYING]


@pytest.mark.parametrize(
    ("record", "stalled"),
    [
        (a_record(State.RUNNING, lease_until=NOW - STALL_AFTER - 1), True),
        (a_record(State.RUNNING, lease_until=NOW - STALL_AFTER), False),
        (a_record(State.RETRYING, next_at=NOW - STALL_AFTER - 1), True),
        (a_record(State.RETRYING, next_at=NOW - STALL_AFTER), False),
        (a_record(State.RETRYING, next_at=None), False),
        (a_record(State.QUEUED), False),
        (a_record(State.SUCCEEDED, lease_until=NOW - 9999, next_at=NOW - 9999), False),
    ],
)
def test_a_task_stalls_fifteen_minutes_after_its_lease_or_its_due_time(record: TaskRecord, stalled: bool) -> None:
    assert record.stalled(NOW) is stalled


@pytest.mark.parametrize(
    ("record", "allowed"),
    [
        (a_record(State.QUEUED), True),
        (a_record(State.QUEUED, cancel_requested=True), False),
        (a_record(State.QUEUED, run=1), False),
        (a_record(State.RETRYING, next_at=NOW), True),
        (a_record(State.RETRYING, next_at=NOW + 0.001), False),
        (a_record(State.RUNNING, lease_until=NOW - TAKEOVER_GRACE), True),
        (a_record(State.RUNNING, lease_until=NOW - TAKEOVER_GRACE + 0.001), False),
        (a_record(State.RUNNING, lease_until=NOW - TAKEOVER_GRACE, attempt=3), False),
        (a_record(State.RUNNING, lease_until=NOW - TAKEOVER_GRACE, cancel_requested=True), False),
        (a_record(State.SUCCEEDED), False),
        (a_record(State.SUCCEEDED, ttl=NOW), True),
        (a_record(State.RUNNING, lease_until=NOW + 60, ttl=NOW), True),
    ],
)
def test_a_claim_takes_what_waits_or_was_left(record: TaskRecord, allowed: bool) -> None:
    assert can_claim(record, a_claim()) is allowed


def test_a_higher_run_replaces_only_a_failure_of_a_lower_one() -> None:
    assert [state for state in State if can_claim(a_record(state), a_claim(run=1))] == [State.FAILED]
    assert not replaceable(a_record(State.FAILED, run=1), a_claim(run=1))
    assert not replaceable(a_record(State.FAILED, run=1), a_claim(run=0))


def test_only_a_running_record_is_abandoned() -> None:
    ended = NOW - TAKEOVER_GRACE
    assert [state for state in State if abandoned(a_record(state, lease_until=ended), NOW)] == [State.RUNNING]
    assert not abandoned(a_record(State.RUNNING, lease_until=ended + 0.001), NOW)


@pytest.mark.parametrize("other", [{"owner": "other"}, {"run": 1}, {"attempt": 2}])
def test_a_fence_knows_its_own_attempt_only(other: dict[str, object]) -> None:
    fence = Fence("task-1", 0, 1, "mine")
    assert holds_lease(a_record(State.RUNNING), fence)
    assert not holds_lease(a_record(State.RUNNING, **other), fence)
    assert finished_as(a_record(State.FAILED), fence, State.FAILED) is State.FAILED
    assert finished_as(a_record(State.FAILED, **other), fence, State.FAILED) is None
    assert released_already(a_record(State.QUEUED, attempt=0), fence)
    assert not released_already(a_record(State.QUEUED, **{"attempt": 0, **other}), fence)


def test_of_a_repeated_finish_only_a_retry_may_stand_as_cancelled() -> None:
    fence = Fence("task-1", 0, 1, "mine")
    cancelled = a_record(State.CANCELLED)
    assert finished_as(cancelled, fence, State.RETRYING) is State.CANCELLED
    assert finished_as(cancelled, fence, State.SUCCEEDED) is None


def test_time_keys_sort_by_time_then_id() -> None:
    keys = [time_key(0.001, "b"), time_key(9.5, "a"), time_key(9.5, "b"), time_key(NOW, "a"), time_key(1e12, "a")]
    assert keys == sorted(keys)
    assert time_bound(9.5) < time_key(9.5, "a") < time_bound(9.501)
    assert keys[-1].startswith(str(MAX_MILLISECOND))
