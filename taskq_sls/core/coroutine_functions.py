"""Functions that return coroutines: how they are recognised, and how a task is marked as one."""

from __future__ import annotations

import asyncio
import functools
import inspect
import sys
from collections.abc import Callable
from types import FunctionType
from typing import Any

# Before Python 3.12 asyncio alone knew a mark; asyncio.iscoroutinefunction is deprecated from 3.14.
_MARK = getattr(asyncio.coroutines, "_is_coroutine", None) if sys.version_info < (3, 12) else None


def called_function(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function that a call runs: that of a partial, or the ``__call__`` of an object."""
    while isinstance(function, functools.partial):
        function = function.func
    if isinstance(function, FunctionType) or inspect.isroutine(function) or isinstance(function, type):
        return function
    called: Callable[..., Any] = type(function).__call__
    return called


def is_coroutine_function(function: Callable[..., Any]) -> bool:
    """True if a call returns a coroutine: of ``async def``, an async ``__call__``, or marked as such."""
    while isinstance(function, functools.partial):
        function = function.func
    return (
        inspect.iscoroutinefunction(function)
        or (_MARK is not None and getattr(function, "_is_coroutine", None) is _MARK)
        or inspect.iscoroutinefunction(called_function(function))
    )


def mark_coroutine_function(task: Any) -> None:
    """Have ``inspect.iscoroutinefunction``, before Python 3.12 ``asyncio.iscoroutinefunction``, recognise a task."""
    if sys.version_info >= (3, 12):
        inspect.markcoroutinefunction(task)
    else:
        task._is_coroutine = _MARK
