"""Signals that arrive while the main thread is inside of C code, which keeps Python's signal handlers from running."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable


def watch_signals(arrived: Callable[[int], None]) -> Callable[[], None]:
    """Have another thread call `arrived` with the number of each signal that has a handler of Python's.

    To be called in the main thread. Nothing is watched if an event loop or the program has done so already: the
    interpreter writes signals to one descriptor only.

    Args:
        arrived: takes no lock; called on a thread of its own.

    Returns:
        Ends it.
    """
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    before = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    if before != -1:
        signal.set_wakeup_fd(before)
        os.close(reading)
        os.close(writing)
        return lambda: None

    def read() -> None:
        while numbers := os.read(reading, 1):
            arrived(numbers[0])
        os.close(reading)

    def end() -> None:
        if (now := signal.set_wakeup_fd(-1)) != writing:  # asyncio's, by `add_signal_handler`
            signal.set_wakeup_fd(now)
        os.close(writing)

    threading.Thread(target=read, name="taskq-signals", daemon=True).start()
    return end
