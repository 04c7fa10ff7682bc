"""``taskq top``: queues, workers and tasks, refreshed until the user ends it."""

from __future__ import annotations

import argparse
import contextlib
import os
import select
import signal
import sys
import termios
import time
import tty
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

from ..app import TaskQ
from ..core.flow import call_sync
from ..core.safe_text import escaped
from ..errors import AwsError, ConfigError
from ..operations.overview import Overview, Running, overview
from ..operations.presenters import record_fields, shown_record, utc_time, worker_fields
from ..results.records import TaskRecord
from .apps import load_app
from .arguments import add_command, seconds
from .output import age, coloured, iso_time, print_json, progress_text, table_lines
from .queues import QUEUE_HEADER, WORKER_HEADER, queue_cells, worker_cells

if TYPE_CHECKING:
    from rich.live import Live

AGES_INTERVAL_SECONDS = 60.0
"""Time between two reads from CloudWatch, which bills each metric and gets a new value no more often."""

SIZE_CHECK_SECONDS = 0.25
"""Time after which a resize of the terminal is noticed."""


def add_to(commands: Any) -> None:
    parser = add_command(
        commands,
        "top",
        run,
        "watch queues, workers and running tasks. Shows queues, workers, the longest-running tasks and the last failures, and "
        "refreshes them until q or Ctrl-C. If stdout is not a terminal, prints one overview after the other.",
    )
    parser.add_argument("--once", action="store_true", help="print one overview, then end")
    parser.add_argument("--interval", type=seconds, default=2.0, metavar="SECONDS", help="time of a refresh; default 2")


def run(arguments: argparse.Namespace) -> int:
    if arguments.interval < 0.2:
        raise ConfigError(f"--interval {arguments.interval:g} is below 0.2 seconds: each refresh reads every queue")
    app = load_app(arguments.app)
    live = sys.stdout.isatty() and os.environ.get("TERM") != "dumb" and not (arguments.once or arguments.json)
    try:
        with _full_screen() if live else contextlib.nullcontext() as screen:
            return _watch(app, arguments, screen)
    except KeyboardInterrupt:
        return 0


def _watch(app: TaskQ, arguments: argparse.Namespace, screen: Screen | None) -> int:
    reader = _Reader(app)
    while True:
        seen, fault = reader.read()
        if screen is not None:
            if not screen.show(frame(app.name, seen, fault), arguments.interval):
                return 0
            continue
        if arguments.json:
            print_json({**_fields(seen), "fault": fault})
        else:
            print("\n".join([*frame(app.name, seen, fault), ""]), flush=True)
        if arguments.once:
            return 0
        call_sync("sleep", reader.services.flow.sleep(arguments.interval))


class _Reader:
    """Reads overviews, without values that the app hides by name. Ages are read once a minute."""

    def __init__(self, app: TaskQ) -> None:
        self.services = app.services.blocking()
        self._app = app
        self._ages: dict[str, float | None] = {}
        self._ages_at = float("-inf")
        self._last: Overview | None = None

    def read(self) -> tuple[Overview, str | None]:
        """The overview; if a later one cannot be read now, the one before and the error.

        Raises:
            AwsError, ConfigError: the first one cannot be read, or the error is permanent.
        """
        now = self._app.clock.time()
        reads_ages = now - self._ages_at >= AGES_INTERVAL_SECONDS
        try:
            found = call_sync("overview", overview(self._app, self.services, ages=reads_ages))
        except AwsError as error:
            if not error.transient or self._last is None:
                raise
            return self._last, str(error)
        if reads_ages:
            self._ages, self._ages_at = {queue.name: queue.oldest_age for queue in found.queues}, now
        self._last = found._replace(
            queues=[queue._replace(oldest_age=self._ages.get(queue.name)) for queue in found.queues],
            running=[
                task._replace(record=task.record and shown_record(self._app, task.record)) for task in found.running
            ],
            failed=[shown_record(self._app, record) for record in found.failed],
        )
        return self._last, None


class Screen:
    """The whole terminal."""

    def __init__(self, live: Live, keys: bool) -> None:
        self._live = live
        self._keys = keys

    def show(self, lines: Sequence[str], seconds: float) -> bool:
        """Show the lines, cut to the terminal's size. Returns False if the user pressed q before the time was over."""
        end = time.monotonic() + seconds
        size = None
        while (left := end - time.monotonic()) > 0:
            if size != (size := os.get_terminal_size(sys.stdout.fileno())):
                self._draw(lines, size)
            if select.select([sys.stdin] if self._keys else [], [], [], min(left, SIZE_CHECK_SECONDS))[0]:
                keys = os.read(sys.stdin.fileno(), 100)
                if b"q" in keys.lower():
                    return False
                self._keys = bool(keys)  # the end of the input is always ready
        return True

    def _draw(self, lines: Sequence[str], size: os.terminal_size) -> None:
        from rich.text import Text  # imported by `_full_screen` before

        if all(size):
            # rich prefers an exported COLUMNS, which holds the size before a resize.
            self._live.console.size = size
        bold = "bold" if coloured() else ""
        text = Text("\n", no_wrap=True, overflow="crop")
        self._live.update(text.join(Text(line, bold if line.isupper() else "") for line in lines), refresh=True)


@contextlib.contextmanager
def _full_screen() -> Iterator[Screen]:
    """The terminal's other screen. The terminal is restored before the process ends, also by a signal."""
    try:
        from rich.console import Console  # of an extra, and slow to import
        from rich.live import Live
    except ImportError:
        raise ConfigError(
            "the screen of top needs rich: pip install 'taskq-sls[cli]' (--once prints one overview without it)"
        ) from None
    with contextlib.ExitStack() as restore:
        for number in (signal.SIGTERM, signal.SIGHUP):
            restore.callback(signal.signal, number, signal.signal(number, _end))
        if keys := sys.stdin.isatty():
            stdin = sys.stdin.fileno()
            restore.callback(termios.tcsetattr, stdin, termios.TCSADRAIN, termios.tcgetattr(stdin))
            tty.setcbreak(stdin)
        live = Live(console=Console(), screen=True, auto_refresh=False, redirect_stdout=False, redirect_stderr=False)
        yield Screen(restore.enter_context(live), keys)


def _end(number: int, frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)


def frame(app: str, seen: Overview, fault: str | None = None) -> list[str]:
    """The overview as lines of text."""
    lines = [f"{app}  {(iso_time(seen.at) or '')[:19]}Z" + (f"  cannot be read now: {fault}" if fault else "")]
    lines += ["", *table_lines(QUEUE_HEADER, [queue_cells(queue) for queue in seen.queues])]
    lines += ["", *table_lines(WORKER_HEADER, [worker_cells(report, seen.at) for report in seen.workers])]
    if not seen.workers:
        lines.append("none has reported in the last 150 seconds")
    for header, rows in _task_tables(seen):
        lines += ["", *table_lines(header, rows)] if rows else []
    return [escaped(line, one_line=True) for line in lines]


def _task_tables(seen: Overview) -> Iterator[tuple[Sequence[str], list[tuple[str, ...]]]]:
    running = ("RUNNING", "TASK", "ATTEMPT", "FOR", "WORKER", "PROGRESS")
    yield running, [_running_cells(task, seen.at) for task in seen.running]
    yield ("FAILED", "TASK", "AGO", "ERROR"), [_failed_cells(record, seen.at) for record in seen.failed]


def _running_cells(task: Running, now: float) -> tuple[str, ...]:
    record = task.record
    return (
        task.id,
        task.task,
        str(record.attempt) if record else "-",
        age(record.started_at, now) if record else "-",
        f"{task.worker.host} {task.worker.pid}",
        (record and progress_text(record)) or "",
    )


def _failed_cells(record: TaskRecord, now: float) -> tuple[str, ...]:
    text = f"{record.error.type}: {record.error.message}" if record.error else record.reason or ""
    return (record.id, record.task, age(record.finished_at, now), " ".join(text.split()))


def _fields(seen: Overview) -> dict[str, Any]:
    return {
        "at": utc_time(seen.at),
        "queues": [queue._asdict() for queue in seen.queues],
        "workers": [worker_fields(report, seen.at) for report in seen.workers],
        "running": [
            {
                "id": task.id,
                "task": task.task,
                "worker": task.worker.id,
                "record": task.record and record_fields(task.record, seen.at),
            }
            for task in seen.running
        ],
        "failed": [record_fields(record, seen.at) for record in seen.failed],
    }
