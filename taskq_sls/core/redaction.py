"""Masks secret values of tasks, by their names, in records, pages, logs and errors."""

from __future__ import annotations

import base64
import contextlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

MASK = "[redacted]"
"""The text in place of a secret value."""

MIN_SECRET_LENGTH = 4
"""Shortest secret that is masked in the text of exceptions. Shorter ones occur in other words."""

MAX_DEPTH = 200
"""Levels of containers that are searched. Deeper values are masked: a value may contain itself."""

Names = frozenset[str]

_PYDANTIC_INPUT = re.compile(r"input_value=.*(?=, input_type=)", re.DOTALL)
"""The value in the text of a pydantic ValidationError. pydantic cuts its middle, so it cannot be found by its text."""


def redact(value: Any, names: Names, depth: int = 0) -> Any:
    """A copy of `value` in which all values under one of `names` are masked, at any depth.

    Args:
        names: from `redacted_names`.
        depth: depth of `value` in the shown value.
    """
    if not names or not isinstance(value, Mapping | list | tuple | str):
        return value
    if isinstance(value, str):
        inner = _parsed(value, names)
        return value if inner is None or redact(inner, names, depth + 1) == inner else MASK
    if depth > MAX_DEPTH:
        return MASK
    if isinstance(value, Mapping):
        return {
            key: MASK if is_redacted(key, names) else redact(inner, names, depth + 1) for key, inner in value.items()
        }
    return [redact(inner, names, depth + 1) for inner in value]


def redact_arguments(
    args: Sequence[Any], kwargs: Mapping[str, Any], names: Names, parameters: Sequence[str] | None
) -> tuple[list[Any], dict[str, Any]]:
    """The arguments of a task with secret values masked.

    Args:
        parameters: the parameter names of `args`; None if they are unknown. Then all of `args` are masked if there are
            any `names`.
    """
    if not names:
        return list(args), dict(kwargs)
    if parameters is None:
        return [MASK for _ in args], redact(kwargs, names)
    # Arguments beyond the parameters are masked too: their names are unknown.
    known = [*parameters[: len(args)], *[None] * (len(args) - len(parameters))]
    shown = [
        MASK if name is None or is_redacted(name, names) else redact(value, names)
        for name, value in zip(known, args, strict=True)
    ]
    return shown, redact(kwargs, names)


def mask_values(text: str, values: Iterable[str]) -> str:
    """`text` with the values from `secret_values` masked, also as Python and JSON quote them, and with pydantic's inputs
    masked.
    """
    forms = {
        form
        for value in values
        for form in (
            value,
            repr(value)[1:-1],
            ascii(value)[1:-1],
            json.dumps(value)[1:-1],
            json.dumps(value, ensure_ascii=False)[1:-1],
        )
    }
    for form in sorted(forms, key=len, reverse=True):
        text = text.replace(form, MASK)
    return _PYDANTIC_INPUT.sub(f"input_value={MASK}", text)


def may_quote(value: object, names: Names) -> bool:
    """True if an error may quote `value`. With names to mask, this is a number, or a text that contains none of them."""
    # The exact types, since a class of the user may have any text.
    if not names or value is None or type(value) in (bool, int, float):
        return True
    return type(value) is str and not _mentions(value, names)


def outline(value: object) -> str:
    """The type of an unexpected value, and the names in a mapping. For errors: its values may be secret."""
    kind = type(value).__name__
    return f"{kind} with {', '.join(map(repr, value))[:200] or 'nothing'}" if isinstance(value, Mapping) else kind


def secret_values(given: Any, names: Names, within: bool = False, depth: int = 0) -> Iterator[str]:
    """The secret texts and numbers in `given`, of `MIN_SECRET_LENGTH` characters or more, as a message may contain them.

    Args:
        given: a mapping, or a value inside of one.
        within: True if all of `given` is secret.
    """
    if depth > MAX_DEPTH:
        return
    if isinstance(given, Mapping):
        for name, value in given.items():
            if within:
                yield from secret_values(name, names, within, depth + 1)
            yield from secret_values(value, names, within or is_redacted(name, names), depth + 1)
    elif isinstance(given, list | tuple):
        for value in given:
            yield from secret_values(value, names, within, depth + 1)
    elif within and _is_long_scalar(given):
        yield str(given)
        if isinstance(given, str):
            yield from _bytes_in(given)
    elif isinstance(given, str) and (inner := _parsed(given, names)) is not None:
        yield from secret_values(inner, names, within, depth + 1)


def _is_long_scalar(value: object) -> bool:
    return isinstance(value, str | int | float) and type(value) is not bool and len(str(value)) >= MIN_SECRET_LENGTH


def contains_mask(value: Any) -> bool:
    """True if the mask is anywhere in `value`, for example because it was copied from shown values."""
    if isinstance(value, Mapping):
        return any(contains_mask(inner) for inner in value.values())
    if isinstance(value, list | tuple):
        return any(contains_mask(inner) for inner in value)
    return isinstance(value, str) and MASK in value


def is_redacted(name: object, names: Names) -> bool:
    """True if values under `name` are masked. Upper and lower case are equal, and so are ``-`` and ``_``."""
    return isinstance(name, str) and _plain(name) in names


def redacted_names(names: Iterable[str]) -> Names:
    """Names in the form that `redact` compares."""
    return frozenset(map(_plain, names))


def _parsed(text: str, names: Names) -> Any:
    """The JSON object or array in `text`, if one of `names` occurs in it; else None."""
    if text.lstrip()[:1] not in ("{", "[") or not _mentions(text, names):
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _bytes_in(text: str) -> Iterator[str]:
    """If `text` is base64, which is how bytes are sent, the bytes as text and as Python shows them."""
    try:
        data = base64.b64decode(text.encode("ascii"), b"-_", validate=True)
    except ValueError:
        return
    if len(data) >= MIN_SECRET_LENGTH:
        yield repr(data)[2:-1]
        with contextlib.suppress(UnicodeDecodeError):
            yield data.decode()


def _mentions(text: str, names: Names) -> bool:
    plain = _plain(text)
    return any(name in plain for name in names)


def _plain(name: str) -> str:
    return name.casefold().replace("-", "_")
