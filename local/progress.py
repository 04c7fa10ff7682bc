"""Progress of a job: one live line in a terminal, an occasional line elsewhere."""

from __future__ import annotations

import sys
import time
from typing import TextIO

WIDTH = 30
"""Columns of the bar."""

QUIET = 5.0
"""Seconds between two lines without a terminal."""


class Progress:
    """A context manager that always ends the live line.

    Args:
        total: tasks in all.
        stream: where to write; default standard output.
    """

    def __init__(self, total: int, stream: TextIO | None = None) -> None:
        self._total = total
        self._stream = stream or sys.stdout
        self._live = self._stream.isatty()
        self._started = time.monotonic()
        self._next_line = self._started + QUIET
        self._shown = -1

    def show(self, done: int) -> None:
        """`done` tasks have ended."""
        if done == self._shown:
            return
        now = time.monotonic()
        self._shown = done
        if self._live:
            bar = "#" * (WIDTH * done // self._total)
            self._write(f"\r[{bar:<{WIDTH}}] {self._line(done, now)} ")
        elif done == self._total or now >= self._next_line:
            self._next_line = now + QUIET
            self._write(self._line(done, now) + "\n")

    def _line(self, done: int, now: float) -> str:
        seconds = now - self._started
        rate = done / seconds if seconds > 0 else 0.0
        return f"{done}/{self._total} tasks in {seconds:.1f} s, {rate:.0f}/s"

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._live and self._shown >= 0:
            self._write("\n")
