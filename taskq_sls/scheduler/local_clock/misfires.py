"""The decision which firings are due, and which of the missed ones are made up for."""

from __future__ import annotations

import math
from typing import NamedTuple

from ..expressions import When
from ..last_firings import CLOCK_TOLERANCE_SECONDS
from ..spec import is_rate
from .timetable import ScheduleEntry

PUNCTUAL_SECONDS = 60.0
"""A firing up to this late counts as punctual: EventBridge Scheduler's precision."""

MAX_LATE_FIRINGS = 1_000
"""Most late firings of one schedule that the policy `all` makes up for: the latest ones."""


class Decision(NamedTuple):
    """The firings of one schedule that are due.

    Args:
        fire: scheduled times to fire, oldest first.
        late: number of late ones among them.
        dropped: True if others were missed and are not fired.
        next: the scheduled time after these, or None.
    """

    fire: list[float]
    late: int
    dropped: bool
    next: float | None


def first_after(entry: ScheduleEntry, when: When, now: float) -> float | None:
    """The first scheduled time after both the last firing and the last change of a schedule: to come, or missed.

    Firings missed before the last change do not count: the schedule may have been another one then. A one-time schedule
    that was never changed counts, however old it is.
    """
    stored = entry.stored
    after = min(stored.modified, now)  # the store's clock may have been ahead
    if stored.modified - stored.created < 1.0:
        if when.once:
            after = 0.0
        elif is_rate(stored.spec):
            # A rate without a start fires first at its creation itself.
            after = stored.anchor - 1.0
    if entry.last is not None:
        # No two firings are less than a minute apart, and a store may have cut off fractions of a second.
        after = max(after, entry.last + 1.0)
    return when.next_time(after, stored.anchor)


def plan_again(entry: ScheduleEntry, when: When, now: float) -> bool:
    """Plan the next firing after the clock was set back to `now`. True if it is due earlier than before.

    No firing is made up for: it is unknown which ones were missed.
    """
    if entry.last is not None and entry.last > now + CLOCK_TOLERANCE_SECONDS:
        entry.last = now
    due = entry.due
    if entry.next is not None and entry.next + entry.offset <= now:
        entry.due = now  # it waits for its overloaded queue
    else:
        # A firing that was a little early is not repeated.
        after = now if entry.last is None else max(now, entry.last + 1.0)
        entry.plan(when.next_time(after, entry.stored.anchor))
    return entry.due is not None and (due is None or entry.due < due)


def decide(entry: ScheduleEntry, when: When, now: float) -> Decision:
    """The firings of an entry that is due: punctual ones always, late ones by its policy."""
    assert entry.next is not None
    anchor = entry.stored.anchor
    horizon = max(now - entry.offset, entry.next)  # the subtraction may lose a fraction of a microsecond
    punctual_from = horizon - PUNCTUAL_SECONDS
    # From the latest back, so that a long downtime of a frequent schedule costs no more than its policy allows.
    limit = {"skip": 0, "once": 1, "all": MAX_LATE_FIRINGS}[entry.misfire]
    fire: list[float] = []
    late = 0
    time = when.previous_time(math.nextafter(horizon, math.inf), anchor)
    while time is not None and time >= entry.next:
        if time < punctual_from:
            # `once` is satisfied by a punctual firing too.
            if late == limit or (entry.misfire == "once" and fire):
                break
            late += 1
        fire.append(time)
        time = when.previous_time(time, anchor)
    dropped = time is not None and time >= entry.next
    return Decision(fire=fire[::-1], late=late, dropped=dropped, next=when.next_time(horizon, anchor))
