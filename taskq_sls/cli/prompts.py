"""Asking before what cannot be undone, and progress for who waits."""

from __future__ import annotations

import os
import sys
from types import TracebackType

from ..errors import ConfigError
from ..operations.dead_letters import Progress
from .output import say

WIDTH = 30
"""Characters of a progress bar."""


def needs_confirmation(yes: bool, what: str) -> bool:
    """Whether a person has to be asked.

    Raises:
        ConfigError: nobody is there to be asked.
    """
    if yes:
        return False
    if not sys.stdin.isatty():
        raise ConfigError(f"this {what}, and there is no terminal to confirm it on: give --yes (--dry-run shows what)")
    return True


def confirmed(question: str) -> bool:
    """Whether the person at the terminal says yes; anything else is a no."""
    say(f"taskq: {question} [y/N] ", error=True, end="")
    return sys.stdin.readline().strip().lower() in ("y", "yes")


class ProgressBar:
    """How far a long operation is, on stderr, where a person looks; silent elsewhere. A context manager.

    Attributes:
        last: what was told last.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._shown = False
        self.last = Progress(0, 0, 0, 0)

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)

    def __call__(self, progress: Progress) -> None:
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
