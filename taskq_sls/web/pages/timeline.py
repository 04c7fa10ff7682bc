"""Timelines: the attempts of a task, and the next runs of schedules."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from ...core.states import State
from ...results.records import TaskRecord
from .components import duration, section, status, time
from .html import NOTHING, Child, Html, markup, tag

STRIP_WIDTH, STRIP_HEIGHT = 240, 20
"""Size of a strip in SVG units."""

DAY_SECONDS = 86_400.0

UNKNOWN_END = "unknown end: the process died, the attempt is too old, or the task records only its end"


class Step(NamedTuple):
    """An event at `at` (epoch seconds; None if unknown)."""

    at: float | None
    text: Child


class Segment(NamedTuple):
    """A part of a bar: its length, a class of the style sheet, and its name."""

    seconds: float
    style: str
    name: str


class TimelineAttempt(NamedTuple):
    """An attempt of the current run. Times are epoch seconds; `ended_at` is None while it runs.

    Args:
        style: a class of the style sheet.
        ended: how it ended.
    """

    number: int
    started_at: float
    ended_at: float | None
    style: str
    ended: Child


def event_list(steps: Sequence[Step], label: str) -> Html:
    """Return events in this order, with the time between them."""
    entries: list[Html] = []
    before: float | None = None
    for at, text in steps:
        gap = None
        if at is not None:
            if before is not None and at > before:
                gap = tag("span", f"after {duration(at - before)}", class_="muted")
            before = at
        entries.append(tag("li", None if at is None else time(at), " ", text, " ", gap))
    return tag("ol", entries, class_="timeline", aria_label=label)


def duration_bar(segments: Sequence[Segment]) -> Html:
    """Return a bar of segments, with their names and lengths below."""
    total = sum(segment.seconds for segment in segments) or 1.0
    drawn, x = [], 0.0
    for segment in segments:
        width = 100 * segment.seconds / total
        drawn.append(tag("rect", x=round(x, 2), y=0, width=round(width, 2), height=4, class_=segment.style))
        x += width
    text = ", ".join(f"{segment.name} {duration(segment.seconds)}" for segment in segments)
    picture = tag(
        "svg",
        drawn,
        viewbox="0 0 100 4",
        role="img",
        aria_label=text,
        class_="duration-bar",
        preserveAspectRatio="none",
    )
    return tag("figure", picture, tag("figcaption", text))


def tick_strip(runs: Sequence[float], start: float) -> Html:
    """Return the runs of the day that begins at `start` as ticks on a line."""
    positions = [round(STRIP_WIDTH * (run - start) / DAY_SECONDS, 1) for run in runs]
    ticks = [tag("line", x1=x, x2=x, y1=3, y2=17) for x in positions]
    axis = tag("line", x1=0, x2=STRIP_WIDTH, y1=10, y2=10, class_="grid")
    label = _runs_text(runs)
    viewbox = f"0 0 {STRIP_WIDTH} {STRIP_HEIGHT}"
    return tag("svg", axis, ticks, viewbox=viewbox, role="img", aria_label=label, class_="tick-strip")


def _runs_text(runs: Sequence[float]) -> str:
    if not runs:
        return "no runs in the next 24 hours"
    first = datetime.fromtimestamp(runs[0], UTC).strftime("%H:%M")
    return f"{len(runs)} {'run' if len(runs) == 1 else 'runs'} in the next 24 hours, the first at {first} UTC"


def attempt_history(record: TaskRecord) -> Html:
    attempts = _attempts(record)
    return section("Attempts", _attempt_bar(record, attempts), event_list(_steps(record, attempts), "Timeline"))


def _attempts(record: TaskRecord) -> list[TimelineAttempt]:
    found = [
        TimelineAttempt(
            number=past.attempt,
            started_at=past.started_at,
            ended_at=past.ended_at,
            style="bad",
            ended=f"failed: {past.error}" if past.error else "failed",
        )
        for past in record.past
    ]
    if record.started_at is not None and not _last_attempt_failed(record):
        found.append(
            TimelineAttempt(
                number=record.attempt,
                started_at=record.started_at,
                ended_at=None if record.status is State.RUNNING else record.finished_at,
                style="good" if record.status is State.SUCCEEDED else "bad",
                ended=status(record.status),
            )
        )
    return found


def _last_attempt_failed(record: TaskRecord) -> bool:
    """True if the last attempt is already among the failed ones."""
    return any(past.attempt == record.attempt for past in record.past)


def _steps(record: TaskRecord, attempts: Sequence[TimelineAttempt]) -> list[Step]:
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
    return [*steps, *_missing_attempts(expected, record.attempt + 1), *_next_step(record)]


def _next_step(record: TaskRecord) -> list[Step]:
    """Return the event that is expected next, or the end of a task without a running attempt."""
    if record.status is State.RETRYING and record.next_at is not None:
        return [Step(record.next_at, "next attempt due")]
    if record.status is State.RUNNING and record.lease_until is not None:
        return [Step(record.lease_until, "lease ends, unless renewed")]
    between_attempts = record.started_at is None or _last_attempt_failed(record)
    if record.status.terminal and record.finished_at is not None and between_attempts:
        return [Step(record.finished_at, status(record.status))]
    return []


def _missing_attempts(first: int, end: int) -> list[Step]:
    """Return a note on the attempts from `first` to before `end`, which were not recorded."""
    if first >= end:
        return []
    number = f"attempt {first}" if first == end - 1 else f"attempts {first} to {end - 1}"
    return [Step(None, tag("span", f"{number}: {UNKNOWN_END}", class_="muted"))]


def _attempt_bar(record: TaskRecord, attempts: Sequence[TimelineAttempt]) -> Html:
    """Return waits and attempts as a bar. A running attempt is left out, as its length would change with every update."""
    segments: list[Segment] = []
    at, expected = record.enqueued_at, 1
    for attempt in attempts:
        if at is not None:
            only_wait = attempt.number == expected and not (record.run and not segments)
            name = "waited" if only_wait else "waited, including earlier attempts,"
            segments.append(Segment(max(0.0, attempt.started_at - at), "waiting", name))
        if attempt.ended_at is None:
            break
        at, expected = attempt.ended_at, attempt.number + 1
        length = max(0.0, at - attempt.started_at)
        segments.append(Segment(length, attempt.style, f"attempt {attempt.number} ran"))
    return duration_bar(segments) if sum(segment.seconds for segment in segments) > 0 else NOTHING
