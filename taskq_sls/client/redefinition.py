"""Tells a function that was defined again by a second import from another function of the same name."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from types import CodeType, FrameType, FunctionType
from typing import Any


def importing_code(function: Callable[..., Any] | None) -> CodeType | None:
    """The code of the module that defines `function` and is executed right now; None outside of its import."""
    names = getattr(inspect.unwrap(function), "__globals__", None) if function is not None else None
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_name == "<module>" and frame.f_globals is names:
            return frame.f_code
        frame = frame.f_back
    return None


def why_different(first: Callable[..., Any], second: Callable[..., Any]) -> str | None:
    """The reason why two functions of one name are not one definition, executed twice; None if they are."""
    if first is second:
        return None
    if not isinstance(first, FunctionType) or not isinstance(second, FunctionType):
        return "give name=... to one of the two"
    if (first.__module__, first.__qualname__) != (second.__module__, second.__qualname__):
        return "give name=... to one of the two"
    if _is_same(first, second, set()):
        return None
    code = first.__code__
    return (
        f"both come from {code.co_filename}:{code.co_firstlineno}, a decorator without functools.wraps or a function "
        "that makes functions: add functools.wraps, or give each task its own name=..."
    )


def _is_same(first: Any, second: Any, compared: set[tuple[int, int]]) -> bool:
    if first is second or (id(first), id(second)) in compared:
        return True
    compared.add((id(first), id(second)))  # a closure may hold itself
    if not isinstance(first, FunctionType) or not isinstance(second, FunctionType):
        return _is_equal(first, second)
    if (first.__module__, first.__qualname__) != (second.__module__, second.__qualname__):
        return False
    if first.__code__ is not second.__code__ or first.__globals__ is not second.__globals__:
        return True  # an import makes new code, or new globals
    # The same code is the same function if it was made with the same values.
    values, others = _values(first), _values(second)
    return len(values) == len(others) and all(map(lambda one, other: _is_same(one, other, compared), values, others))


def _values(function: FunctionType) -> list[Any]:
    """The values that are bound to a function: its defaults, and the variables of its closure."""
    values = [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
    for cell in function.__closure__ or ():
        try:
            values.append(cell.cell_contents)
        except ValueError:  # not assigned yet
            values.append(None)
    return values


def _is_equal(first: Any, second: Any) -> bool:
    try:
        return type(first) is type(second) and bool(first == second)
    except Exception:  # a comparison of the user's own
        return False
