"""Printing of text, JSON, tables and records; confirmation and progress on stderr."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from ..core.safe_text import escaped
from ..core.states import State
from ..errors import ConfigError
from ..operations.presenters import duration_of
from ..results.records import TaskRecord

if TYPE_CHECKING:
    from rich.progress import Progress


def say(text: str = "", *, error: bool = False, end: str = "\n") -> None:
    """Print text on stdout or stderr, with control characters escaped.

    All output but the screen of ``top`` and progress bars is printed here: ids, labels and errors come from callers,
    and a terminal executes control characters.
    """
    print(escaped(text), end=end, file=sys.stderr if error else sys.stdout, flush=True)


def note(text: str) -> None:
    """Print a message on stderr, beside the command's answer on stdout."""
    say(f"taskq: {text}", error=True)


def flush_stdout() -> None:
    """Flush stdout, unless the code of a task has closed or removed it."""
    with contextlib.suppress(AttributeError, ValueError):
        sys.stdout.flush()


def print_json(value: Any) -> None:
    """Print one JSON document in ASCII, indented on a terminal. Times are in ISO 8601, UTC."""
    print(json.dumps(value, indent=2 if sys.stdout.isatty() else None, default=_json_text))


def _json_text(value: Any) -> str:
    return iso_text(value) if isinstance(value, datetime) else str(value)


def coloured() -> bool:
    """True if stdout is a terminal with colours, and NO_COLOR is not set (https://no-color.org)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    for line in table_lines(header, rows):
        say(line)


def table_lines(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns as wide as their widest cell, with control characters escaped."""
    rows = [[escaped(cell, one_line=True) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (header, *rows)
    ]


def print_fields(fields: Mapping[str, Any]) -> None:
    """Lines of name and value; empty values are left out."""
    shown = {name: escaped(str(value), one_line=True) for name, value in fields.items() if value not in (None, "")}
    width = max(map(len, shown))
    for name, value in shown.items():
        say(f"{name.ljust(width)}  {value}")


def print_record(record: TaskRecord, now: float) -> None:
    stalled = " (stalled: no worker has continued it)" if record.stalled(now) else ""
    print_fields(
        {
            "id": record.id,
            "task": record.task,
            "queue": record.queue,
            "status": f"{record.status}{stalled}",
            "reason": record.reason,
            "attempt": record.attempt,
            "run": record.run or None,
            "enqueued": time_and_age(record.enqueued_at, now),
            "started": time_and_age(record.started_at, now),
            "finished": time_and_age(record.finished_at, now),
            "duration": span(duration_of(record, now)),
            "next attempt": time_and_age(record.next_at, now) if record.status is State.RETRYING else None,
            "cancel": "requested" if record.cancel_requested else None,
            "progress": progress_text(record),
            "labels": labels_text(record.labels),
            "parent": record.parent,
            "unique key": record.unique_key,
            "arguments": record.call,
            "result": record.result_json,
            "result in": record.result_key if record.result_json is None else None,
            "error": record.error and f"{record.error.type}: {record.error.message}",
        }
    )
    for past in record.past:
        took = span(max(0.0, past.ended_at - past.started_at))
        say(f"\nattempt {past.attempt}: {iso_time(past.started_at)}, {took}: {' '.join(past.error.split())}")
    if record.error is not None and record.error.traceback:
        say(f"\n{record.error.traceback.rstrip()}")


def labels_text(labels: Mapping[str, str]) -> str:
    return " ".join(f"{name}={value}" for name, value in labels.items())


def progress_text(record: TaskRecord) -> str | None:
    """``40 of 100 (uploading)``."""
    progress = record.progress
    if progress is None:
        return None
    of = "" if progress.total is None else f" of {progress.total:g}"
    return f"{progress.done:g}{of}" + (f" ({progress.note})" if progress.note else "")


def short_text(text: str, width: int = 60) -> str:
    """The text in one line of at most `width` characters."""
    text = " ".join(text.split())
    return text if len(text) <= width else f"{text[: width - 1]}…"


def iso_text(time: datetime) -> str:
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def iso_time(epoch: float | None) -> str | None:
    """Epoch seconds in ISO 8601, UTC."""
    return None if epoch is None else iso_text(datetime.fromtimestamp(epoch, UTC))


def time_and_age(epoch: float | None, now: float) -> str | None:
    """``2026-11-22T10:00:00.000Z (5m00s ago)``."""
    if epoch is None:
        return None
    distance = span(abs(now - epoch))
    return f"{iso_time(epoch)} ({distance} ago)" if epoch <= now else f"{iso_time(epoch)} (in {distance})"


def age(since: float | None, now: float) -> str:
    """The time since then, as in `span`."""
    return "" if since is None else span(max(0.0, now - since))


def span(seconds: float | None) -> str:
    """``0.250s``, ``12.5s``, ``1m05s``, ``2h00m``, ``3d04h``; empty for None."""
    if seconds is None:
        return ""
    if seconds < 60:
        return f"{seconds:.3f}s" if seconds < 1 else f"{seconds:.1f}s"
    whole = int(seconds)
    size, unit, below, next_unit = next(part for part in _SPANS if whole >= part[0])
    return f"{whole // size}{unit}{whole % size // below:02d}{next_unit}"


_SPANS = ((86_400, "d", 3_600, "h"), (3_600, "h", 60, "m"), (60, "m", 1, "s"))


def needs_confirmation(yes: bool, what: str) -> bool:
    """True if the user has to confirm.

    Raises:
        ConfigError: stdin is not a terminal, so no user can confirm.
    """
    if yes:
        return False
    if not sys.stdin.isatty():
        raise ConfigError(
            f"this {what}, and there is no terminal to confirm it on: give --yes (--dry-run shows the effect)"
        )
    return True


def confirmed(question: str) -> bool:
    """True if the user answers yes; any other answer is a no."""
    say(f"taskq: {question} [y/N] ", error=True, end="")
    return sys.stdin.readline().strip().lower() in ("y", "yes")


class ProgressBar:
    """A bar that is wiped at the end. Silent if stderr is not a terminal or rich is not installed. A context manager."""

    _bar: Progress | None = None

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            try:
                from rich.console import Console  # of an extra, and slow to import
                from rich.progress import BarColumn, Progress, TextColumn
            except ImportError:
                return self
            columns = (BarColumn(30), TextColumn("{task.description}", markup=False))
            self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
            self._bar.add_task("", total=None)
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def show(self, done: int, total: int, text: str) -> None:
        if self._bar is not None:
            (task,) = self._bar.task_ids
            self._bar.update(task, completed=done, total=total, description=f"{done:,} of {total:,} {text}")
