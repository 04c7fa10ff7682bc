"""Bulk work stays below the quotas of the Scheduler API."""

from __future__ import annotations

import asyncio

import pytest

from taskq_sls.core.clock import ManualClock
from taskq_sls.core.flow import AsyncFlow, BlockingFlow, drive
from taskq_sls.errors import AwsError, ConfigError
from taskq_sls.scheduler.rate_limit import CRUD_PER_SECOND, LISTS_PER_SECOND, RETRY_DELAYS, RateLimiter


def blocking(clock: ManualClock, per_second: float) -> RateLimiter:
    return RateLimiter(BlockingFlow(clock), clock, per_second)


def test_the_rates_leave_room_below_the_smallest_quotas() -> None:
    assert CRUD_PER_SECOND < 250
    assert LISTS_PER_SECOND < 50


def test_calls_are_evenly_spaced() -> None:
    clock = ManualClock(0.0)
    pacer = blocking(clock, 4)
    times = []
    for _ in range(5):
        drive(pacer.wait())
        times.append(clock.time())
    assert times == [0, 0.25, 0.5, 0.75, 1.0]


def test_whoever_comes_late_does_not_wait_and_saves_nothing_up() -> None:
    clock = ManualClock(0.0)
    pacer = blocking(clock, 4)
    drive(pacer.wait())
    clock.travel(100)
    drive(pacer.wait())
    assert clock.time() == 100
    drive(pacer.wait())
    assert clock.time() == 100.25


async def test_tasks_of_a_loop_take_turns() -> None:
    clock = ManualClock(0.0)
    pacer = RateLimiter(AsyncFlow(clock), clock, 10)
    await asyncio.gather(*(pacer.wait() for _ in range(21)))
    # Everybody slept on the same clock, the last one up to its own turn at least.
    assert clock.time() >= 2.0 - 1e-9


@pytest.mark.parametrize("limit", [1, 8])
def test_a_paced_map_answers_in_order(limit: int) -> None:
    clock = ManualClock(0.0)

    async def double(number: int) -> int:
        return 2 * number

    assert drive(blocking(clock, 100).map(double, range(50), limit)) == [2 * number for number in range(50)]
    assert clock.time() >= 0.49 - 1e-9


@pytest.mark.parametrize("per_second", [0, -1, float("inf"), float("nan")])
def test_a_rate_that_is_none_is_refused(per_second: float) -> None:
    with pytest.raises(ConfigError, match="per_second"):
        blocking(ManualClock(), per_second)


class Faults:
    """A call that meets a fault so many times."""

    def __init__(self, times: int, *, transient: bool = True) -> None:
        self.left = times
        self.error = AwsError("get_schedule", "ThrottlingException", "slow down", transient=transient)
        self.calls = 0

    async def __call__(self, number: int) -> int:
        self.calls += 1
        if self.left:
            self.left -= 1
            raise self.error
        return number


def test_a_fault_that_passes_does_not_end_the_work_of_all() -> None:
    clock = ManualClock(0.0)
    faults = Faults(len(RETRY_DELAYS))
    assert drive(blocking(clock, 100).map(faults, range(5), 1)) == list(range(5))
    assert clock.time() >= sum(RETRY_DELAYS)


@pytest.mark.parametrize(
    ("faults", "calls"), [(Faults(99), len(RETRY_DELAYS) + 1), (Faults(99, transient=False), 1)], ids=["lasts", "stays"]
)
def test_a_fault_that_lasts_is_raised(faults: Faults, calls: int) -> None:
    with pytest.raises(AwsError, match="slow down"):
        drive(blocking(ManualClock(0.0), 100).map(faults, [1], 1))
    assert faults.calls == calls
