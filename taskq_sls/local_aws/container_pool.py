"""The containers of one function: made on demand, reused while warm."""

from __future__ import annotations

import threading
from collections.abc import Callable

from .container import Container


class ContainerPool:
    """At most `size` containers, each lent to one invocation at a time.

    Args:
        make: makes a container; must be quick (the container starts with its first invocation).
        size: most containers at once: the function's concurrency, 1 or more.
    """

    def __init__(self, make: Callable[[], Container], size: int) -> None:
        self._make = make
        self._size = size
        self._change = threading.Condition()
        self._idle: list[Container] = []
        self._lent = 0
        self._closed = False

    def acquire(self, timeout: float) -> Container | None:
        """A free container, the warmest first; None if none was free within `timeout` seconds or it was closed."""
        with self._change:
            self._change.wait_for(lambda: self._closed or self._lent < self._size, timeout)
            if self._closed or self._lent >= self._size:
                return None
            self._lent += 1
            return self._idle.pop() if self._idle else self._make()

    def release(self, container: Container) -> None:
        """Give a container back. One that ended is forgotten, so that the next invocation gets a new one."""
        with self._change:
            self._lent -= 1
            keep = container.alive and not self._closed
            if keep:
                self._idle.append(container)
            self._change.notify()
        if not keep:
            container.close()

    def close(self) -> None:
        """End the idle containers, refuse those who wait, and end the lent ones as they come back."""
        with self._change:
            self._closed = True
            idle, self._idle = self._idle, []
            self._change.notify_all()
        for container in idle:
            container.close()
