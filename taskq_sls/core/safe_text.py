"""Texts of values of the user's own classes, whose ``__str__``, ``__repr__`` and ``__module__`` may raise anything."""

from __future__ import annotations

import re
from typing import Any

_QUALNAME = type.__dict__["__qualname__"]


def qualname(kind: type) -> str:
    """The qualified name of a class, past a property of its metaclass."""
    return str.__str__(_QUALNAME.__get__(kind))


def class_name(kind: type) -> str:
    """The qualified name of a class, with its module unless that is builtins or __main__."""
    name = qualname(kind)
    try:
        module = kind.__module__
        own = isinstance(module, str) and module not in ("builtins", "__main__")
        return f"{str.__str__(module)}.{name}" if own else name
    except BaseException:  # a property of the metaclass
        return name


def text_of(value: Any) -> str:
    """``str(value)``, or a note that it cannot be shown."""
    return _shown(str, value)


def repr_of(value: Any) -> str:
    """``repr(value)``, or a note that it cannot be shown."""
    return _shown(repr, value)


def _shown(show: Any, value: Any) -> str:
    try:
        return str.__str__(show(value))  # of a subclass, the text alone
    except BaseException as broken:  # the code of the user's class runs here, and may even exit
        reason = class_name(type(broken))
        try:
            reason = f"{reason}: {str.__str__(str(broken))}"
        except BaseException:  # that of the exception may raise as well
            pass
        return f"<{class_name(type(value))}: it cannot be shown, {reason}>"


_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
"""C0 without tab and line feed, DEL, C1, and Unicode's line separators and text directions."""

_CONTROL_OR_BREAK = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


def escaped(text: str, *, one_line: bool = False) -> str:
    r"""`text` with every control character as ``\u001b``, which JSON can read too.

    Args:
        one_line: escape tabs and line feeds as well, for a cell of a table or the value of a field.
    """
    return (_CONTROL_OR_BREAK if one_line else _CONTROL).sub(lambda found: f"\\u{ord(found[0]):04x}", text)
