"""Code that all contenders share: read the order, measure the processor time of the process, report.

Standard library only: each contender runs in an environment of its own.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

WARM_SHARE = 0.1
"""Share of the tasks that run before the measurement begins: connections, imports, first calls."""


class Order:
    """The order: ``python contender.py ROLE '{"tasks": 1000, ...}'``."""

    def __init__(self) -> None:
        self.role: str = sys.argv[1]
        self.options: dict[str, Any] = json.loads(sys.argv[2])

    def __getattr__(self, name: str) -> Any:
        return self.options[name]


def report(**figures: Any) -> None:
    """The last line of a contender's output."""
    print(json.dumps(figures), flush=True)


def processor_seconds(others: Sequence[int]) -> float:
    """Processor seconds of this process (all threads) and of the processes `others`."""
    seconds = time.process_time()
    for pid in others:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        seconds += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return seconds


class Stopwatch:
    """Processor seconds and wall seconds since it was made."""

    def __init__(self, others: Sequence[int] = ()) -> None:
        self._others = others
        self._processor, self._wall = processor_seconds(others), time.perf_counter()

    def report(self, tasks: int, **more: Any) -> None:
        spent = processor_seconds(self._others) - self._processor
        report(tasks=tasks, cpu=spent, wall=time.perf_counter() - self._wall, **more)


class Countdown:
    """Measures a worker, in which each task calls `hit`. Starts after the warm-up, and ends the process at the last task.

    Args:
        linger: seconds between the last task and the end, for acknowledgements in progress.
        settle: seconds from the first task that belong to the warm-up: work that a worker does only once.
        parent: True if the parent process belongs to the worker, and is counted and ended with it (Celery's prefork pool).
    """

    def __init__(self, tasks: int, linger: float = 0.0, settle: float = 0.0, *, parent: bool = False) -> None:
        self._last = tasks
        self._warm = max(1, int(tasks * WARM_SHARE))
        self._linger = linger
        self._settle = settle
        self._parent = parent
        self._done = 0
        self._before = 0
        self._since = 0.0
        self._lock = threading.Lock()
        self._watch: Stopwatch | None = None

    def hit(self) -> None:
        """One task was done."""
        with self._lock:
            self._done += 1
            if self._watch is None:
                self._warm_up()
            if self._done == self._last:
                self._end()

    def _warm_up(self) -> None:
        now = time.perf_counter()
        self._since = self._since or now
        # Start at the latest half way: a fast machine would otherwise leave nothing to measure.
        settled = now - self._since >= self._settle or self._done >= self._last // 2
        if self._done >= self._warm and settled:
            self._before = self._done
            self._watch = Stopwatch([os.getppid()] if self._parent else ())

    def _end(self) -> None:
        assert self._watch is not None
        self._watch.report(self._last - self._before, memory=peak_memory())
        timer = threading.Timer(self._linger, self._exit)
        timer.daemon = True
        timer.start()

    def _exit(self) -> None:
        if self._parent:
            os.kill(os.getppid(), signal.SIGKILL)
        os._exit(0)


def peak_memory() -> int:
    """Kilobytes of memory that this process has had at most."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
