"""Values that nobody but the task may see: hidden by their names wherever tasks are shown."""

from __future__ import annotations

import base64
import contextlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

MASK = "[redacted]"
"""What stands in place of a hidden value."""

MIN_SECRET_LENGTH = 4
"""Characters of a hidden value that is looked for in the text of exceptions: shorter ones are parts of other words."""

MAX_DEPTH = 200
"""Levels of containers that are looked through; what lies deeper is hidden. A value may hold itself."""

Names = frozenset[str]

_PYDANTIC_INPUT = re.compile(r"input_value=.*(?=, input_type=)", re.DOTALL)
"""The value in the text of a pydantic ValidationError: cut in the middle, so that it cannot be found by itself."""


def redact(value: Any, names: Names, depth: int = 0) -> Any:
    """`value` with everything hidden that is stored under one of `names`, at any depth. `value` itself is not changed.

    Args:
        names: from `redacted_names`.
        depth: of `value` in what is shown.
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
    """The arguments of a task as they may be shown.

    Args:
        parameters: what each of `args` is for; None where nobody knows, in which case all of them are hidden as soon as
            anything is.
    """
    if not names:
        return list(args), dict(kwargs)
    if parameters is None:
        return [MASK for _ in args], redact(kwargs, names)
    # More arguments than parameters fit nothing: nobody knows what they are.
    known = [*parameters[: len(args)], *[None] * (len(args) - len(parameters))]
    shown = [
        MASK if name is None or is_redacted(name, names) else redact(value, names)
        for name, value in zip(known, args, strict=True)
    ]
    return shown, redact(kwargs, names)


def mask_values(text: str, values: Iterable[str]) -> str:
    """`text` without the values from `secret_values`, as they are or as Python and JSON write them in quotes, and without
    the inputs that pydantic quotes.
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
    """True if an error may quote `value`: with names to hide, only a number or a text in which none of them occurs. The
    inside of anything else is not known.
    """
    # A class of the caller's own may have any text.
    if not names or value is None or type(value) in (bool, int, float):
        return True
    return type(value) is str and not _mentions(value, names)


def outline(value: object) -> str:
    """The type of `value`, and the names in a mapping, for an error about something that is not expected: its values are
    not known, and may be secrets.
    """
    kind = type(value).__name__
    return f"{kind} with {', '.join(map(repr, value))[:200] or 'nothing'}" if isinstance(value, Mapping) else kind


def secret_values(given: Any, names: Names, within: bool = False, depth: int = 0) -> Iterator[str]:
    """The hidden values in `given` as a message could tell them: texts and numbers of `MIN_SECRET_LENGTH` characters or more.

    Args:
        given: a mapping, and what it holds.
        within: whether all of it is hidden.
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
    elif (
        within
        and isinstance(given, str | int | float)
        and type(given) is not bool
        and len(str(given)) >= MIN_SECRET_LENGTH
    ):
        yield str(given)
        if isinstance(given, str):
            yield from _bytes_in(given)
    elif isinstance(given, str) and (inner := _parsed(given, names)) is not None:
        yield from secret_values(inner, names, within, depth + 1)


def contains_mask(value: Any) -> bool:
    """Whether the mark of a hidden value is anywhere in it, as when it was copied from what was shown."""
    if isinstance(value, Mapping):
        return any(contains_mask(inner) for inner in value.values())
    if isinstance(value, list | tuple):
        return any(contains_mask(inner) for inner in value)
    return isinstance(value, str) and MASK in value


def is_redacted(name: object, names: Names) -> bool:
    """Whether what is stored under `name` is not shown: capitals do not count, and ``-`` is ``_``."""
    return isinstance(name, str) and _plain(name) in names


def redacted_names(names: Iterable[str]) -> Names:
    """Names as `redact` looks for them."""
    return frozenset(map(_plain, names))


def _parsed(text: str, names: Names) -> Any:
    """The object or array that `text` holds as JSON, or None; only if one of `names` occurs in it."""
    if text.lstrip()[:1] not in ("{", "[") or not _mentions(text, names):
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _bytes_in(text: str) -> Iterator[str]:
    """The bytes that `text` may be the base64 of, which is how they travel, as text and as Python writes them."""
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
