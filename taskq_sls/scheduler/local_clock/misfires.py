"""Firings that were missed while no clock ran: which of them are made up for."""

from __future__ import annotations

import json
import math
from typing import NamedTuple, get_args

from ..clock_state import CLOCK_TOLERANCE
from ..firing import Misfire
from .timetable import ScheduleEntry

PUNCTUAL = 60.0
"""Seconds by which a firing may be late and still count as punctual: the precision of EventBridge Scheduler."""

MOST = 1_000
"""Most late firings of one schedule that `all` makes up for: the latest ones."""

POLICIES = get_args(Misfire)


class Decision(NamedTuple):
    """What is due of one schedule.

    Args:
        fire: scheduled times to fire, oldest first.
        late: how many of them are late.
        dropped: whether others were missed and are not fired.
        next: the scheduled time after these, None where there is none.
    """

    fire: list[float]
    late: int
    dropped: bool
    next: float | None


def policy_of(body: str) -> str:
    """The misfire policy in a message body; ``once`` where it names none, or is not ours."""
    if '"misfire"' not in body:
        return "once"
    try:
        policy = json.loads(body)["schedule"]["misfire"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return "once"
    return policy if policy in POLICIES else "once"


def first_after(row: ScheduleEntry, now: float) -> float | None:
    """The first firing that is still to come, or was missed: after the last one, and after the last change.

    What a schedule missed before it was last changed does not count: nobody knows what it was then. A one-time
    schedule that was never changed counts however old it is.
    """
    when = row.when
    after = min(row.modified, now)  # the store's clock may have been ahead
    if row.modified - row.created < 1.0:
        if when.once:
            after = 0.0
        elif row.expression.startswith("rate("):
            # A rate without a start fires first at its creation itself.
            after = row.anchor - 1.0
    if row.last is not None:
        # No two firings are less than a minute apart, and a store may have cut off fractions of a second.
        after = max(after, row.last + 1.0)
    return when.next_time(after, row.anchor)


def plan_anew(row: ScheduleEntry, now: float) -> bool:
    """Plan a row's next firing for a clock that was set back to `now`; whether it is due earlier than before.

    Whether firings between then and now were missed is not known: none is made up for.
    """
    if row.last is not None and row.last > now + CLOCK_TOLERANCE:
        row.last = now
    due = row.due
    if row.next is not None and row.next + row.spread <= now:
        row.due = now  # it waits for its queue
    else:
        # A firing that was a little early is not repeated.
        row.plan(row.when.next_time(now if row.last is None else max(now, row.last + 1.0), row.anchor))
    return row.due is not None and (due is None or row.due < due)


def decide(row: ScheduleEntry, now: float) -> Decision:
    """What is due of a row whose `next` has come: punctual firings always, late ones by its policy."""
    assert row.next is not None
    horizon = now - row.spread
    if row.next >= horizon - PUNCTUAL:
        return _punctual(row, row.next, horizon)
    when, anchor = row.when, row.anchor
    next_time = when.next_time(horizon, anchor)
    fire: list[float] = []
    late = 0
    time = when.previous_time(math.nextafter(horizon, math.inf), anchor)
    while time is not None and time >= row.next:
        if time < horizon - PUNCTUAL:
            if row.misfire == "skip" or (row.misfire == "once" and fire) or late == MOST:
                break
            late += 1
        fire.append(time)
        time = when.previous_time(time, anchor)
    dropped = time is not None and time >= row.next
    return Decision(fire[::-1], late, dropped, next_time)


def _punctual(row: ScheduleEntry, first: float, horizon: float) -> Decision:
    when, anchor = row.when, row.anchor
    fire = [first]
    time = when.next_time(first, anchor)
    while time is not None and time <= horizon:
        fire.append(time)
        time = when.next_time(time, anchor)
    return Decision(fire, 0, False, time)
