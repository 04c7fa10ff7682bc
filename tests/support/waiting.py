"""Waiting for something that another process or thread does, and that no event tells."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Callable
from typing import Any


def until(
    condition: Callable[[], object],
    seconds: float = 60,
    message: str = "the condition did not come true in time",
    details: Callable[[], object] = lambda: "",
) -> None:
    """Block the thread until `condition` holds; after `seconds` fail with `message` and `details`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{message} ({seconds:g} s) {details()}"
        time.sleep(0.01)


async def async_until(condition: Callable[[], Any], seconds: float = 60) -> None:
    """Wait, without blocking the loop, until `condition` (plain or async) holds."""
    deadline = time.monotonic() + seconds
    while True:
        holds = condition()
        if inspect.isawaitable(holds):
            holds = await holds
        if holds:
            return
        assert time.monotonic() < deadline, f"the condition did not come true in time ({seconds:g} s)"
        await asyncio.sleep(0.005)
