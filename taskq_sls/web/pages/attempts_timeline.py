"""The life of a task: its attempts on a timeline, those that left no word too."""

from __future__ import annotations

from typing import NamedTuple

from ...core.states import State
from ...results.records import TaskRecord
from .components import section, status
from .html import NOTHING, Child, Html, markup, tag
from .timeline import Step, moments, spans

UNTOLD = "nothing is known of its end: its process was lost, it is too long ago, or only ends are recorded"


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


def life(record: TaskRecord) -> Html:
    """Enqueued, each attempt of this run, and what comes next."""
    attempts = _attempts(record)
    return section("Attempts", _drawn(record, attempts), moments(_steps(record, attempts), "What happened when"))


def _attempts(record: TaskRecord) -> list[Attempt]:
    """Those that are known of, the first one first."""
    found = [
        Attempt(one.attempt, one.started_at, one.ended_at, "bad", f"failed: {one.error}" if one.error else "failed")
        for one in record.past
    ]
    if record.started_at is not None and not _waits(record):
        ended = None if record.status is State.RUNNING else record.finished_at
        style = "good" if record.status is State.SUCCEEDED else "bad"
        found.append(Attempt(record.attempt, record.started_at, ended, style, status(record.status)))
    return found


def _waits(record: TaskRecord) -> bool:
    """Whether the last attempt is one of those that failed and are told of."""
    return any(one.attempt == record.attempt for one in record.past)


def _steps(record: TaskRecord, attempts: list[Attempt]) -> list[Step]:
    steps: list[Step] = []
    if record.enqueued_at is not None:
        steps.append(Step(record.enqueued_at, "enqueued"))
    expected = 1
    for one in attempts:
        steps += _untold(expected, one.number)
        steps.append(Step(one.started_at, f"attempt {one.number} started"))
        if one.ended_at is not None:
            steps.append(Step(one.ended_at, markup([f"attempt {one.number} ", one.ended])))
        expected = one.number + 1
    steps += _untold(expected, record.attempt + 1)
    if record.status is State.RETRYING and record.next_at is not None:
        steps.append(Step(record.next_at, "next attempt due"))
    elif record.status is State.RUNNING and record.lease_until is not None:
        steps.append(Step(record.lease_until, "lease ends, unless it is renewed"))
    elif record.status.terminal and record.finished_at is not None and (record.started_at is None or _waits(record)):
        steps.append(Step(record.finished_at, status(record.status)))
    return steps


def _untold(first: int, end: int) -> list[Step]:
    """Attempts from `first` on and before `end`, of which nothing is known."""
    if first >= end:
        return []
    number = f"attempt {first}" if first == end - 1 else f"attempts {first} to {end - 1}"
    return [Step(None, tag("span", f"{number}: {UNTOLD}", class_="muted"))]


def _drawn(record: TaskRecord, attempts: list[Attempt]) -> Html:
    """How long it waited and ran, as one bar. What goes on changes with every look, and is left out."""
    parts: list[tuple[float, str, str]] = []
    at, expected = record.enqueued_at, 1
    for one in attempts:
        if at is not None:
            alone = one.number == expected and not (record.run and not parts)
            name = "waited" if alone else "waited, with all that came before,"
            parts.append((max(0.0, one.started_at - at), "waiting", name))
        if one.ended_at is None:
            break
        at, expected = one.ended_at, one.number + 1
        parts.append((max(0.0, at - one.started_at), one.style, f"attempt {one.number} ran"))
    return spans(parts) if sum(part[0] for part in parts) > 0 else NOTHING
