"""What all notes about schedules do, in memory and in the table."""

import pytest
from schedule_builders import NOW

from taskq_sls.scheduler.clock_state import ALIVE_FOR, Change, ClockState

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_clock_is_alive_for_a_while_after_each_beat(notes: ClockState) -> None:
    assert not await notes.clock_alive(NOW)
    await notes.beat(NOW)
    await notes.beat(NOW + 20)
    assert await notes.clock_alive(NOW + 20)
    assert await notes.clock_alive(NOW + 20 + ALIVE_FOR - 0.5)
    assert not await notes.clock_alive(NOW + 20 + ALIVE_FOR)


async def test_changes_come_oldest_first_since_a_time(notes: ClockState) -> None:
    await notes.changed("d-b", NOW + 2.5)
    await notes.changed("d-a", NOW + 1)
    await notes.changed("d-c", NOW + 1)
    assert await notes.changes(NOW) == [Change("d-a", NOW + 1), Change("d-c", NOW + 1), Change("d-b", NOW + 2.5)]
    assert await notes.changes(NOW + 1) == await notes.changes(NOW)
    assert await notes.changes(NOW + 1.001) == [Change("d-b", NOW + 2.5)]
    assert await notes.changes(NOW + 2.501) == []


async def test_every_change_of_a_schedule_is_told(notes: ClockState) -> None:
    for after in (0, 1, 1, 2):
        await notes.changed("d-a", NOW + after)
    assert [change.time - NOW for change in await notes.changes(0)] == [0, 1, 2]


async def test_the_latest_firing_stands_whatever_comes_last(notes: ClockState) -> None:
    await notes.fired("d-a", NOW + 60, NOW + 61)
    await notes.fired("d-a", NOW, NOW + 62)
    assert await notes.last_fired() == {"d-a": NOW + 60}
    # A note of the future is one of a clock that was wrong; a minute is the difference that clocks may have.
    await notes.fired("d-a", NOW, NOW)
    assert await notes.last_fired() == {"d-a": NOW + 60}
    await notes.fired("d-a", NOW, NOW - 1)
    assert await notes.last_fired() == {"d-a": NOW}
    await notes.fired("d-a", NOW + 120, NOW + 121)
    assert await notes.last_fired() == {"d-a": NOW + 120}


async def test_last_firings_are_read_of_some_or_all(notes: ClockState) -> None:
    for number in range(130):
        await notes.fired(f"d-{number:03}", NOW + number, NOW)
    assert len(await notes.last_fired()) == 130
    assert await notes.last_fired(["d-007", "d-129", "d-007", "d-absent"]) == {"d-007": NOW + 7, "d-129": NOW + 129}
    assert await notes.last_fired([f"d-{number:03}" for number in range(130)]) == await notes.last_fired()
    assert await notes.last_fired([]) == {}


async def test_kinds_of_notes_do_not_mix(notes: ClockState) -> None:
    await notes.beat(NOW)
    await notes.changed("d-a", NOW)
    await notes.fired("d-b", NOW, NOW)
    assert await notes.changes(0) == [Change("d-a", NOW)]
    assert await notes.last_fired() == {"d-b": NOW}
