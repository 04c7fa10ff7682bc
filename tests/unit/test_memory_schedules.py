"""Schedules in memory fire when the clock gets there: what is due, and how far it is to the next."""

from __future__ import annotations

from typing import Any

import pytest

from taskq_sls.core.clock import ManualClock
from taskq_sls.core.flow import drive
from taskq_sls.core.schedule_spec import ScheduleSpec
from taskq_sls.scheduler.memory import MemorySchedules

NOW = 1_800_000_000.0
"""A Friday, 08:00 UTC."""


def a_spec(expression: str = "cron(0/10 * * * ? *)", name: str = "d-shop.a", **fields: Any) -> ScheduleSpec:
    return ScheduleSpec(name, expression, "UTC", "default", "{}", **fields)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOW)


@pytest.fixture
def schedules(clock: ManualClock) -> MemorySchedules:
    return MemorySchedules(clock)


def due(schedules: MemorySchedules, now: float) -> list[tuple[str, float]]:
    """Names, and minutes after the test began."""
    return [(stored.spec.name, (at - NOW) / 60) for stored, at in schedules.due(now)]


def test_nothing_is_due_where_nothing_is_scheduled(schedules: MemorySchedules) -> None:
    assert schedules.next_due() is None
    assert schedules.due(NOW) == []


def test_a_cron_fires_at_its_times_each_given_out_once(schedules: MemorySchedules) -> None:
    drive(schedules.create(a_spec()))
    assert schedules.next_due() == NOW + 600
    assert due(schedules, NOW + 599) == []
    assert due(schedules, NOW + 1_200) == [("d-shop.a", 10), ("d-shop.a", 20)]
    assert due(schedules, NOW + 1_200) == []
    assert schedules.next_due() == NOW + 1_800


def test_a_rate_fires_when_it_is_made_and_then_on_its_grid(schedules: MemorySchedules, clock: ManualClock) -> None:
    clock.travel(0.75)
    drive(schedules.create(a_spec("rate(5 minutes)")))
    assert due(schedules, clock.time()) == [("d-shop.a", 0)]
    assert due(schedules, NOW + 601) == [("d-shop.a", 5), ("d-shop.a", 10)]


def test_a_rate_with_a_start_begins_there(schedules: MemorySchedules) -> None:
    drive(schedules.create(a_spec("rate(5 minutes)", start=NOW + 90, end=NOW + 400)))
    assert due(schedules, NOW + 3_600) == [("d-shop.a", 1.5), ("d-shop.a", 6.5)]
    assert schedules.next_due() is None


def test_firings_of_several_come_in_order_of_time(schedules: MemorySchedules) -> None:
    drive(schedules.create(a_spec(name="d-shop.b")))
    drive(schedules.create(a_spec(name="d-shop.a")))
    drive(schedules.create(a_spec("cron(15 * * * ? *)", name="d-shop.c")))
    assert [(name[-1], minute) for name, minute in due(schedules, NOW + 1_200)] == [
        ("a", 10),
        ("b", 10),
        ("c", 15),
        ("a", 20),
        ("b", 20),
    ]


@pytest.mark.parametrize("removed", [True, False])
def test_a_one_time_schedule_fires_once_and_removes_itself_if_it_should(
    schedules: MemorySchedules, removed: bool
) -> None:
    drive(schedules.create(a_spec("at(2027-01-15T08:30:00)", delete_after=removed)))
    assert schedules.next_due() == NOW + 1_800
    assert due(schedules, NOW + 86_400) == [("d-shop.a", 30)]
    assert schedules.next_due() is None
    assert (drive(schedules.get("d-shop.a")) is None) == removed


def test_a_one_time_schedule_whose_time_has_passed_fires_at_once(schedules: MemorySchedules) -> None:
    drive(schedules.create(a_spec("at(2027-01-15T07:30:00)")))
    assert due(schedules, NOW) == [("d-shop.a", -30)]


def test_a_disabled_schedule_is_not_due_and_nothing_is_made_up_for(
    schedules: MemorySchedules, clock: ManualClock
) -> None:
    drive(schedules.create(a_spec(enabled=False)))
    assert schedules.next_due() is None
    assert due(schedules, NOW + 3_600) == []
    clock.travel(3_660)
    drive(schedules.update(a_spec()))
    assert due(schedules, NOW + 3_660) == []
    assert schedules.next_due() == NOW + 4_200


def test_an_update_changes_the_next_firing_and_keeps_the_grid(schedules: MemorySchedules, clock: ManualClock) -> None:
    drive(schedules.create(a_spec("rate(5 minutes)")))
    assert due(schedules, NOW) == [("d-shop.a", 0)]
    clock.travel(60)
    drive(schedules.update(a_spec("rate(2 minutes)")))
    assert due(schedules, NOW + 250) == [("d-shop.a", 2), ("d-shop.a", 4)]


def test_what_was_deleted_does_not_fire(schedules: MemorySchedules) -> None:
    drive(schedules.create(a_spec()))
    drive(schedules.delete("d-shop.a"))
    assert schedules.next_due() is None
    assert due(schedules, NOW + 3_600) == []


def test_the_next_one_time_firing_can_be_asked_for_alone(schedules: MemorySchedules) -> None:
    drive(schedules.create(a_spec()))
    assert schedules.next_due(once=True) is None
    drive(schedules.create(a_spec("at(2027-01-15T09:00:00)", name="t-1")))
    assert schedules.next_due(once=True) == NOW + 3_600
