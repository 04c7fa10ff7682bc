"""The whole terminal for a picture that is drawn again and again, and given back as it was."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import sys
import time
from collections.abc import Callable, Sequence
from types import FrameType, TracebackType
from typing import NoReturn

ENTER, LEAVE = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"
"""The terminal's other screen, without a cursor, and back."""

HOME, REST_OF_LINE, REST_OF_SCREEN, BOLD, PLAIN = "\x1b[H", "\x1b[K", "\x1b[J", "\x1b[1m", "\x1b[0m"

ENDING = (signal.SIGTERM, signal.SIGHUP)


class Screen:
    """A context manager that restores the terminal before the process ends, also by a signal."""

    def __init__(self) -> None:
        self._restore = contextlib.ExitStack()
        self._keys = False
        self._woken = -1

    def __enter__(self) -> Screen:
        with self._restore as stack:
            self._woken, wakes = os.pipe()
            stack.callback(os.close, self._woken)
            stack.callback(os.close, wakes)
            os.set_blocking(wakes, False)
            before = signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
            stack.callback(signal.set_wakeup_fd, before)
            for number in ENDING:
                stack.callback(signal.signal, number, signal.signal(number, _end))
            # Without a handler a resize wakes nobody.
            stack.callback(signal.signal, signal.SIGWINCH, signal.signal(signal.SIGWINCH, lambda *_: None))
            if sys.stdin.isatty():
                import termios
                import tty

                self._keys = True
                stdin = sys.stdin.fileno()
                stack.callback(termios.tcsetattr, stdin, termios.TCSADRAIN, termios.tcgetattr(stdin))
                tty.setcbreak(stdin)
            stack.callback(print, LEAVE, end="", flush=True)
            print(ENTER, end="", flush=True)
            self._restore = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._restore.close()

    def wait(self, seconds: float, resized: Callable[[], None]) -> bool:
        """Wait, and call `resized` whenever the terminal gets another size. False when somebody pressed q."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            watched = [self._woken, *([sys.stdin.fileno()] if self._keys else [])]
            ready, _, _ = select.select(watched, [], [], left)
            if self._woken in ready and signal.SIGWINCH in os.read(self._woken, 100):
                resized()
            if len(ready) > (self._woken in ready):
                keys = os.read(sys.stdin.fileno(), 100)
                self._keys = bool(keys)  # the end of the input is always ready
                if b"q" in keys.lower():
                    return False
        return True


def draw(lines: Sequence[str], *, bold: bool) -> None:
    """Draw over the previous picture, cut to the terminal's size."""
    width, height = _size()
    cut = [line[:width] for line in lines[: height - 1]]
    drawn = [f"{BOLD}{line}{PLAIN}" if bold and line.isupper() else line for line in cut]
    print(HOME + "".join(f"{line}{REST_OF_LINE}\n" for line in drawn) + REST_OF_SCREEN, end="", flush=True)


def _size() -> os.terminal_size:
    # Asked of the terminal itself: an exported COLUMNS would hold the size before a resize.
    try:
        size = os.get_terminal_size(sys.stdout.fileno())
    except (OSError, ValueError):
        size = os.terminal_size((0, 0))
    return size if all(size) else shutil.get_terminal_size()


def _end(number: int, frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)
