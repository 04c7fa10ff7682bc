"""The behaviour that all stores of last firings share, in memory and in the table."""

import pytest

from taskq_sls.scheduler.last_firings import LastFirings
from tests.support.schedule_builders import NOW

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_the_latest_firing_counts_in_whatever_order_they_are_recorded(last_firings: LastFirings) -> None:
    await last_firings.record("d-a", NOW + 60, NOW + 61)
    await last_firings.record("d-a", NOW, NOW + 62)
    assert await last_firings.read() == {"d-a": NOW + 60}
    # A firing in the future was recorded by a wrong clock; clocks may differ by a minute.
    await last_firings.record("d-a", NOW, NOW)
    assert await last_firings.read() == {"d-a": NOW + 60}
    await last_firings.record("d-a", NOW, NOW - 1)
    assert await last_firings.read() == {"d-a": NOW}
    await last_firings.record("d-a", NOW + 120, NOW + 121)
    assert await last_firings.read() == {"d-a": NOW + 120}


async def test_some_or_all_last_firings_are_read(last_firings: LastFirings) -> None:
    names = [f"d-{number:03}" for number in range(130)]
    for number, name in enumerate(names):
        await last_firings.record(name, NOW + number, NOW)
    assert len(await last_firings.read()) == 130
    some = await last_firings.read(["d-129", "d-007", "d-129", "d-absent"])
    assert some == {"d-007": NOW + 7, "d-129": NOW + 129}
    assert await last_firings.read(names) == await last_firings.read()
    assert await last_firings.read([]) == {}
