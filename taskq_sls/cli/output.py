"""What the commands print: tables, JSON, and records in words."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from ..core.safe_text import escaped
from ..core.states import State
from ..results.records import TaskRecord


def say(text: str = "", *, error: bool = False, end: str = "\n") -> None:
    """Print text for people, on stdout or stderr, with control characters escaped. All output but the screen of
    ``top`` and progress bars passes here: ids, labels and errors come from callers, and a terminal obeys them.
    """
    print(escaped(text), end=end, file=sys.stderr if error else sys.stdout, flush=True)


def flush_stdout() -> None:
    """Print whatever is buffered. Code of a task may have closed or removed stdout: then nothing is."""
    with contextlib.suppress(AttributeError, ValueError):
        sys.stdout.flush()


def print_json(value: Any) -> None:
    """One JSON document, in ASCII, indented when a person looks at it."""
    print(json.dumps(value, indent=2 if sys.stdout.isatty() else None, default=str))


def coloured() -> bool:
    """Whether stdout is a terminal that takes colours, and nobody asked for none (https://no-color.org)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Columns as wide as their widest cell; the last one ends where it ends."""
    rows = [[escaped(cell, one_line=True) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    for row in (header, *rows):
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        say("  ".join(cells).rstrip())


def print_fields(fields: Mapping[str, Any]) -> None:
    """Lines of name and value; a value that is empty is left out."""
    shown = {name: escaped(str(value), one_line=True) for name, value in fields.items() if value not in (None, "")}
    width = max(map(len, shown))
    for name, value in shown.items():
        say(f"{name.ljust(width)}  {value}")


def note(text: str) -> None:
    """Something for the person at the terminal that is not the answer."""
    say(f"taskq: {text}", error=True)


def record_fields(record: TaskRecord, now: float) -> dict[str, Any]:
    """A record as JSON values; times in ISO 8601, UTC. Empty fields are null."""
    error, progress = record.error, record.progress
    return {
        "id": record.id,
        "task": record.task,
        "queue": record.queue,
        "status": str(record.status),
        "stalled": record.stalled(now),
        "run": record.run,
        "attempt": record.attempt,
        "enqueued_at": moment(record.enqueued_at),
        "started_at": moment(record.started_at),
        "finished_at": moment(record.finished_at),
        "updated_at": moment(record.updated_at),
        "next_at": moment(record.next_at),
        "lease_until": moment(record.lease_until),
        "duration": duration_of(record, now),
        "cancel_requested": record.cancel_requested,
        "reason": record.reason,
        "progress": progress and {"done": progress.done, "total": progress.total, "note": progress.note},
        "arguments": None if record.call is None else json.loads(record.call),
        "attempts": [
            {**one._asdict(), "started_at": moment(one.started_at), "ended_at": moment(one.ended_at)}
            for one in record.past
        ],
        "result": None if record.result_json is None else json.loads(record.result_json),
        "result_key": record.result_key,
        "error": error and {"type": error.type, "message": error.message, "traceback": error.traceback},
        "labels": dict(record.labels),
        "parent": record.parent,
        "unique_key": record.unique_key,
        "expires_at": moment(record.ttl),
    }


def print_record(record: TaskRecord, now: float) -> None:
    """A record as lines of name and value; what is empty is left out."""
    stalled = " (stalled: nobody took it up)" if record.stalled(now) else ""
    lines = {
        "id": record.id,
        "task": record.task,
        "queue": record.queue,
        "status": f"{record.status}{stalled}",
        "reason": record.reason,
        "attempt": record.attempt,
        "run": record.run or None,
        "enqueued": _moment_and_age(record.enqueued_at, now),
        "started": _moment_and_age(record.started_at, now),
        "finished": _moment_and_age(record.finished_at, now),
        "duration": _span(duration_of(record, now)),
        "next attempt": _moment_and_age(record.next_at, now) if record.status is State.RETRYING else None,
        "cancel": "requested" if record.cancel_requested else None,
        "progress": progress_text(record),
        "labels": " ".join(f"{name}={value}" for name, value in record.labels.items()),
        "parent": record.parent,
        "unique key": record.unique_key,
        "arguments": record.call,
        "result": record.result_json,
        "result in": record.result_key if record.result_json is None else None,
        "error": record.error and f"{record.error.type}: {record.error.message}",
    }
    print_fields(lines)
    for past in record.past:
        took = _span(max(0.0, past.ended_at - past.started_at))
        say(f"\nattempt {past.attempt}: {moment(past.started_at)}, {took}: {' '.join(past.error.split())}")
    if record.error is not None and record.error.traceback:
        say(f"\n{record.error.traceback.rstrip()}")


def duration_of(record: TaskRecord, now: float) -> float | None:
    """Seconds the last attempt took, or has taken so far; None when there was none or it is over unmeasured."""
    if record.started_at is None:
        return None
    if record.status is State.RUNNING:
        return round(max(0.0, now - record.started_at), 3)
    return None if record.finished_at is None else round(max(0.0, record.finished_at - record.started_at), 3)


def progress_text(record: TaskRecord) -> str | None:
    """``40 of 100 (uploading)``."""
    progress = record.progress
    if progress is None:
        return None
    of = "" if progress.total is None else f" of {progress.total:g}"
    return f"{progress.done:g}{of}" + (f" ({progress.note})" if progress.note else "")


def age(since: float | None, now: float) -> str:
    """How long ago, in words."""
    return "" if since is None else _span(max(0.0, now - since)) or ""


def span(seconds: float | None) -> str:
    """A duration in words."""
    return _span(seconds) or ""


def moment(epoch: float | None) -> str | None:
    """Epoch seconds in ISO 8601, UTC."""
    if epoch is None:
        return None
    return datetime.fromtimestamp(epoch, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _moment_and_age(epoch: float | None, now: float) -> str | None:
    if epoch is None:
        return None
    apart = _span(abs(now - epoch))
    return f"{moment(epoch)} ({apart} ago)" if epoch <= now else f"{moment(epoch)} (in {apart})"


def _span(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    if seconds < 60:
        return f"{seconds:.3f}s" if seconds < 1 else f"{seconds:.1f}s"
    whole = int(seconds)
    for size, unit, below, next_unit in ((86_400, "d", 3_600, "h"), (3_600, "h", 60, "m"), (60, "m", 1, "s")):
        if whole >= size:
            return f"{whole // size}{unit}{whole % size // below:02d}{next_unit}"
    return None
