"""Confirmation before irreversible actions, and a progress bar."""

from __future__ import annotations

import os
import sys
from types import TracebackType

from ..errors import ConfigError
from ..operations.dead_letters import SweepProgress
from .output import say

WIDTH = 30
"""Characters of a progress bar."""


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
    """Progress of a long operation, on stderr if that is a terminal; else silent. A context manager.

    Attributes:
        last: the last progress that was reported.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._shown = False
        self.last = SweepProgress(0, 0, 0, 0)

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)

    def __call__(self, progress: SweepProgress) -> None:
        self.last = progress
        if not sys.stderr.isatty():
            return
        self._shown = True
        share = progress.seen / progress.expected if progress.expected else 1.0
        bar = ("#" * int(share * WIDTH)).ljust(WIDTH, ".")
        failed = f", {progress.failed} kept" if progress.failed else ""
        text = f"[{bar}] {progress.seen:,} of {progress.expected:,} looked at, {progress.done:,} {self._what}{failed}"
        # A line that wraps could not be drawn over.
        print(f"\r\x1b[K{text[: _columns() - 1]}", end="", file=sys.stderr, flush=True)


def _columns() -> int:
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or 80
    except OSError:
        return 80
