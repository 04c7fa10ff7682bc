"""What a form sends."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import parse_qs

from starlette.requests import Request

from ..problems import ProblemError

MAX_FIELDS = 1_000
"""Fields of one form."""


class Form:
    """The fields of a form; each may come several times."""

    def __init__(self, fields: Mapping[str, Sequence[str]]) -> None:
        self._fields = fields

    def all(self, name: str) -> list[str]:
        """All values of a field that are not empty."""
        return [value for value in self._fields.get(name, ()) if value]

    def text(self, name: str) -> str:
        """A field's value; empty where it is not there."""
        return next(iter(self._fields.get(name, ())), "")

    def line(self, name: str) -> str | None:
        """A field's value without blanks around it, or None where nothing is in it."""
        return self.text(name).strip() or None

    def number(self, name: str) -> float | None:
        """A number, or None where nothing is given.

        Raises:
            ProblemError: it is none.
        """
        text = self.line(name)
        try:
            return None if text is None else float(text)
        except ValueError:
            raise ProblemError("invalid", f"{name} {text!r:.40} is no number") from None

    def value(self, name: str, kind: type[list[Any]] | type[dict[str, Any]]) -> Any:
        """A JSON list or object, or None where nothing is given.

        Raises:
            ProblemError: it is none.
        """
        text = self.line(name)
        if text is None:
            return None
        try:
            # Python's reader takes NaN and Infinity, which are no JSON.
            found = json.loads(text, parse_constant=_refuse)
        except (ValueError, RecursionError) as error:
            raise ProblemError("invalid", f"{name} cannot be read as JSON: {error}") from None
        if not isinstance(found, kind):
            wanted = "a list, such as [1, 2]" if kind is list else 'an object, such as {"width": 200}'
            raise ProblemError("invalid", f"{name} must be {wanted}")
        return found


async def read_form(request: Request) -> Form:
    """The form that a request carries.

    Raises:
        ProblemError: it is none.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/x-www-form-urlencoded":
        raise ProblemError("bad-request", "a form was expected")
    try:
        text = (await request.body()).decode("ascii")
        return Form(parse_qs(text, keep_blank_values=True, max_num_fields=MAX_FIELDS))
    except ValueError:
        raise ProblemError("bad-request", "the form cannot be read") from None


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is no JSON")
