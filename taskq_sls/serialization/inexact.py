"""The error of one value, before its parameter is known."""

from __future__ import annotations

import reprlib

from ..core.safe_text import qualname


class Inexact(Exception):
    """A value does not fit its annotation, or would not come back from JSON as the same value.

    Attributes:
        value: the offending value; inside a container, the element.
        why: the reason, in words.
        fix: how to mend it.
        path: its place inside the value that was passed, such as ``[3]['name']``.
    """

    def __init__(self, value: object, why: str, fix: str) -> None:
        self.value = value
        self.why = why
        self.fix = fix
        self.path = ""
        super().__init__(why)

    def inside(self, step: object) -> Inexact:
        """The same error, for the container that has the value at `step`."""
        self.path = f"[{shortened(step)}]{self.path}"
        return self

    def explain(self, subject: str) -> str:
        """One sentence for people; `subject` names the parameter or the result."""
        return f"{subject}{self.path} got {shortened(self.value)}: {self.why}; {self.fix}"

    def explain_without_value(self, subject: str) -> str:
        """The same without the value, and without the texts of pydantic and of hooks of its class, which may quote it."""
        return f"{subject} got a {qualname(type(self.value))} that does not fit it, and is not shown; {self.fix}"


class _ShortRepr(reprlib.Repr):
    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = 80


_SHORT = _ShortRepr()


def shortened(value: object) -> str:
    """The repr of `value`, at most about a line long; never raises."""
    try:
        return str.__str__(_SHORT.repr(value))
    except BaseException:  # a repr of the caller's own, or an int with more digits than Python prints
        return f"<{qualname(type(value))}>"
