"""Moments on a line: the life of a task, and when schedules fire."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from .components import duration, time
from .html import Child, Html, tag

WIDTH, HEIGHT = 240, 20
"""Units of a strip."""

DAY = 86_400.0


class Step(NamedTuple):
    """Something that happened at `at` (epoch seconds), or at a time that nobody knows."""

    at: float | None
    text: Child


def moments(steps: Sequence[Step], label: str) -> Html:
    """What happened when, in this order, with the time between."""
    entries: list[Html] = []
    before: float | None = None
    for at, text in steps:
        gap = None
        if at is not None:
            gap = (
                None
                if before is None or at <= before
                else tag("span", f"after {duration(at - before)}", class_="muted")
            )
            before = at
        entries.append(tag("li", None if at is None else time(at), " ", text, " ", gap))
    return tag("ol", entries, class_="timeline", aria_label=label)


def spans(parts: Sequence[tuple[float, str, str]]) -> Html:
    """How long each part of a whole took: seconds, a class of the style sheet, and its name."""
    whole = sum(seconds for seconds, _, _ in parts) or 1.0
    drawn, x = [], 0.0
    for seconds, style, _ in parts:
        width = 100 * seconds / whole
        drawn.append(tag("rect", x=round(x, 2), y=0, width=round(width, 2), height=4, class_=style))
        x += width
    told = ", ".join(f"{name} {duration(seconds)}" for seconds, _, name in parts)
    picture = tag(
        "svg", drawn, viewbox="0 0 100 4", role="img", aria_label=told, class_="spans-bar", preserveAspectRatio="none"
    )
    return tag("figure", picture, tag("figcaption", told))


def strip(runs: Sequence[float], start: float) -> Html:
    """Times within the day that begins at `start`, as ticks on a line."""
    ticks = [
        tag("line", x1=round(WIDTH * (run - start) / DAY, 1), x2=round(WIDTH * (run - start) / DAY, 1), y1=3, y2=17)
        for run in runs
    ]
    axis = tag("line", x1=0, x2=WIDTH, y1=10, y2=10, class_="grid")
    return tag("svg", axis, ticks, viewbox=f"0 0 {WIDTH} {HEIGHT}", role="img", aria_label=_told(runs), class_="strip")


def _told(runs: Sequence[float]) -> str:
    if not runs:
        return "no run in the next 24 hours"
    first = datetime.fromtimestamp(runs[0], UTC).strftime("%H:%M")
    return f"{len(runs)} {'run' if len(runs) == 1 else 'runs'} in the next 24 hours, the first at {first} UTC"
