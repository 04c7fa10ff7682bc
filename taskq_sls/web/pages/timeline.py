"""Moments on a line: the life of a task, and when schedules fire."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from ...core.states import State
from ...results.records import TaskRecord
from .components import duration, section, status, time
from .html import NOTHING, Child, Html, markup, tag

STRIP_WIDTH, STRIP_HEIGHT = 240, 20
"""Units of a strip."""

DAY_SECONDS = 86_400.0


class Step(NamedTuple):
    """Something that happened at `at` (epoch seconds), or at a time that nobody knows."""

    at: float | None
    text: Child


def event_list(steps: Sequence[Step], label: str) -> Html:
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


def duration_bar(parts: Sequence[tuple[float, str, str]]) -> Html:
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


def tick_strip(runs: Sequence[float], start: float) -> Html:
    """Times within the day that begins at `start`, as ticks on a line."""
    ticks = [
        tag(
            "line",
            x1=round(STRIP_WIDTH * (run - start) / DAY_SECONDS, 1),
            x2=round(STRIP_WIDTH * (run - start) / DAY_SECONDS, 1),
            y1=3,
            y2=17,
        )
        for run in runs
    ]
    axis = tag("line", x1=0, x2=STRIP_WIDTH, y1=10, y2=10, class_="grid")
    return tag(
        "svg",
        axis,
        ticks,
        viewbox=f"0 0 {STRIP_WIDTH} {STRIP_HEIGHT}",
        role="img",
        aria_label=_runs_text(runs),
        class_="strip",
    )


def _runs_text(runs: Sequence[float]) -> str:
    if not runs:
        return "no run in the next 24 hours"
    first = datetime.fromtimestamp(runs[0], UTC).strftime("%H:%M")
    return f"{len(runs)} {'run' if len(runs) == 1 else 'runs'} in the next 24 hours, the first at {first} UTC"


UNKNOWN_END = "nothing is known of its end: its process was lost, it is too long ago, or only ends are recorded"


class Attempt(NamedTuple):
    """One attempt of the present run. Times are epoch seconds; `ended_at` is None while it runs.

    Args:
        style: a class of the style sheet.
        ended: what became of it.
    """

    number: int
    started_at: float
    ended_at: float | None
    style: str
    ended: Child


def attempt_history(record: TaskRecord) -> Html:
    """Enqueued, each attempt of this run, and what comes next."""
    attempts = _attempts(record)
    return section("Attempts", _drawn(record, attempts), event_list(_steps(record, attempts), "What happened when"))


def _attempts(record: TaskRecord) -> list[Attempt]:
    """Those that are known of, the first one first."""
    found = [
        Attempt(
            attempt.attempt,
            attempt.started_at,
            attempt.ended_at,
            "bad",
            f"failed: {attempt.error}" if attempt.error else "failed",
        )
        for attempt in record.past
    ]
    if record.started_at is not None and not _last_attempt_failed(record):
        ended = None if record.status is State.RUNNING else record.finished_at
        style = "good" if record.status is State.SUCCEEDED else "bad"
        found.append(Attempt(record.attempt, record.started_at, ended, style, status(record.status)))
    return found


def _last_attempt_failed(record: TaskRecord) -> bool:
    """Whether the last attempt is one of those that failed and are told of."""
    return any(attempt.attempt == record.attempt for attempt in record.past)


def _steps(record: TaskRecord, attempts: list[Attempt]) -> list[Step]:
    steps: list[Step] = []
    if record.enqueued_at is not None:
        steps.append(Step(record.enqueued_at, "enqueued"))
    expected = 1
    for attempt in attempts:
        steps += _missing_attempts(expected, attempt.number)
        steps.append(Step(attempt.started_at, f"attempt {attempt.number} started"))
        if attempt.ended_at is not None:
            steps.append(Step(attempt.ended_at, markup([f"attempt {attempt.number} ", attempt.ended])))
        expected = attempt.number + 1
    steps += _missing_attempts(expected, record.attempt + 1)
    if record.status is State.RETRYING and record.next_at is not None:
        steps.append(Step(record.next_at, "next attempt due"))
    elif record.status is State.RUNNING and record.lease_until is not None:
        steps.append(Step(record.lease_until, "lease ends, unless it is renewed"))
    elif (
        record.status.terminal
        and record.finished_at is not None
        and (record.started_at is None or _last_attempt_failed(record))
    ):
        steps.append(Step(record.finished_at, status(record.status)))
    return steps


def _missing_attempts(first: int, end: int) -> list[Step]:
    """Attempts from `first` on and before `end`, of which nothing is known."""
    if first >= end:
        return []
    number = f"attempt {first}" if first == end - 1 else f"attempts {first} to {end - 1}"
    return [Step(None, tag("span", f"{number}: {UNKNOWN_END}", class_="muted"))]


def _drawn(record: TaskRecord, attempts: list[Attempt]) -> Html:
    """How long it waited and ran, as one bar. What goes on changes with every look, and is left out."""
    parts: list[tuple[float, str, str]] = []
    at, expected = record.enqueued_at, 1
    for attempt in attempts:
        if at is not None:
            alone = attempt.number == expected and not (record.run and not parts)
            name = "waited" if alone else "waited, with all that came before,"
            parts.append((max(0.0, attempt.started_at - at), "waiting", name))
        if attempt.ended_at is None:
            break
        at, expected = attempt.ended_at, attempt.number + 1
        parts.append((max(0.0, at - attempt.started_at), attempt.style, f"attempt {attempt.number} ran"))
    return duration_bar(parts) if sum(part[0] for part in parts) > 0 else NOTHING
