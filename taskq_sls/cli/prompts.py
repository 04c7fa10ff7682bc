"""Confirmation before irreversible actions, and progress of long ones. Both are on stderr."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import TYPE_CHECKING, Self

from ..errors import ConfigError
from .output import say

if TYPE_CHECKING:
    from rich.progress import Progress


def needs_confirmation(yes: bool, what: str) -> bool:
    """True if the user has to confirm.

    Raises:
        ConfigError: stdin is no terminal, so that no user can confirm.
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
    """A bar that is wiped at the end. Silent if stderr is no terminal, or rich is not installed. A context manager."""

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
