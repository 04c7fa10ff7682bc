"""The refusal of one value, before it is known which parameter it was meant for."""

from __future__ import annotations

import reprlib

from ..core.safe_text import qualname


class Inexact(Exception):
    """A value does not fit its annotation, or would come back from JSON as something else.

    Attributes:
        value: the offending value; inside a container, the element.
        why: what is wrong with it.
        fix: what to do about it.
        path: where it was found inside the value given, such as ``[3]['name']``.
    """

    def __init__(self, value: object, why: str, fix: str) -> None:
        self.value = value
        self.why = why
        self.fix = fix
        self.path = ""
        super().__init__(why)

    def inside(self, step: object) -> Inexact:
        """The same refusal, seen from the container that holds the value at `step`."""
        self.path = f"[{shortened(step)}]{self.path}"
        return self

    def explain(self, subject: str) -> str:
        """One sentence for people; `subject` names the parameter or the result."""
        return f"{subject}{self.path} got {shortened(self.value)}: {self.why}; {self.fix}"

    def explain_without_value(self, subject: str) -> str:
        """The same for a value that nobody may see; neither may what pydantic or a hook of its class says of it."""
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
