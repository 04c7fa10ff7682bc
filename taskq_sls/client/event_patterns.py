"""EventBridge patterns: checked where they are declared, and evaluated as EventBridge evaluates them.

A pattern is an object of fields; each is an object again, or a list of alternatives: plain values and
``{"operator": operand}``. All fields must match, and of a list any alternative. A field of an event that is an array
matches by any of its elements; two fields of objects in one array must match in the same element.

EventBridge's own rule has matched the event before, so this code accepts more if the documentation leaves a case open:
numbers are compared by value, and `anything-but` matches null.
"""

from __future__ import annotations

import json
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..core.number_checks import MAX_FLOAT, is_number
from ..errors import ConfigError

MAX_PATTERN_CHARACTERS = 4096
"""Longest pattern of a rule, in characters of JSON (EventBridge API reference, PutRule)."""

MAX_NUMBER = 5e9
"""Numeric matching works from -5.0e9 to 5.0e9 (EventBridge user guide, numeric matching)."""

_HIGHER: dict[str, Callable[[Any, Any], bool]] = {">": operator.gt, ">=": operator.ge}
_LOWER: dict[str, Callable[[Any, Any], bool]] = {"<": operator.lt, "<=": operator.le}
_COMPARISONS = {"=": operator.eq, **_HIGHER, **_LOWER}


def check_pattern(where: str, pattern: Mapping[str, Any]) -> dict[str, Any]:
    """The pattern as a new value of plain JSON.

    Args:
        where: the declaration, for error messages; the field's name is appended.

    Raises:
        ConfigError: it is not a pattern, is too long, or uses an operator that is not evaluated here.
    """
    checked = _fields(where, pattern)
    length = len(json.dumps(checked, separators=(",", ":")))
    if length > MAX_PATTERN_CHARACTERS:
        raise ConfigError(
            f"{where}: the pattern has {length} characters of JSON and EventBridge allows {MAX_PATTERN_CHARACTERS}; match fewer "
            "values, by a prefix for example, or declare several routes"
        )
    return checked


def matches(pattern: Mapping[str, Any], event: Mapping[str, Any]) -> bool:
    """True if a checked pattern matches an event, as parsed from JSON."""
    return _object_matches(pattern, event, [event])


# -- checking ---------------------------------------------------------------------------------------------------


def _fields(where: str, pattern: object) -> dict[str, Any]:
    if not isinstance(pattern, Mapping) or not pattern:
        raise ConfigError(f"{where}: {_short(pattern)} must be an object with at least one field, as in EventBridge")
    return {name: _field(where, name, wanted) for name, wanted in pattern.items()}


def _field(where: str, name: object, wanted: object) -> Any:
    if not isinstance(name, str) or not name or "." in name or name.startswith("$"):
        raise ConfigError(
            f"{where}: field {name!r} must be the name of one field, without '.': nest objects instead, and "
            "declare several routes instead of '$or'"
        )
    where = f"{where}.{name}"
    if isinstance(wanted, Mapping):
        return _fields(where, wanted)
    if not isinstance(wanted, list | tuple) or not wanted:
        raise ConfigError(
            f"{where}: {_short(wanted)} must be a list of at least one alternative, such as [{_short(wanted)}]"
        )
    return [_alternative(where, alternative) for alternative in wanted]


def _alternative(where: str, wanted: object) -> Any:
    if not isinstance(wanted, Mapping):
        if wanted is None or isinstance(wanted, str | bool) or _is_number(wanted):
            return wanted
        raise ConfigError(
            f"{where}: {_short(wanted)} must be text, a number, True, False, None or {{operator: operand}}"
        )
    if len(wanted) != 1:
        raise ConfigError(f"{where}: {_short(wanted)} must name one operator: {_KNOWN}")
    [(name, operand)] = wanted.items()
    if name not in _CHECKS:
        raise ConfigError(f"{where}: operator {name!r} is not supported; use {_KNOWN}")
    return {name: _CHECKS[name](f"{where}: {name}", operand)}


def _affix(where: str, operand: object) -> str:
    if not isinstance(operand, str) or not operand:
        raise ConfigError(f'{where}: {_short(operand)} must be text that is not empty; {{"exists": true}} is any value')
    return operand


def _exists(where: str, operand: object) -> bool:
    if not isinstance(operand, bool):
        raise ConfigError(f"{where}: {_short(operand)} must be True or False")
    return operand


def _anything_but(where: str, operand: object) -> Any:
    if isinstance(operand, Mapping):
        if len(operand) != 1 or next(iter(operand)) not in ("prefix", "suffix"):
            raise ConfigError(f"{where}: {_short(operand)} must be {{'prefix': text}} or {{'suffix': text}}")
        [(name, affix)] = operand.items()
        return {name: _affix(f"{where}: {name}", affix)}
    values = list(operand) if isinstance(operand, list | tuple) else [operand]
    if not values or not (all(isinstance(value, str) for value in values) or all(map(_is_number, values))):
        raise ConfigError(
            f"{where}: {_short(operand)} must be text or a number, or a list of only text or only numbers"
        )
    return values


def _numeric(where: str, operand: object) -> list[Any]:
    parts = list(operand) if isinstance(operand, list | tuple) else []
    names, limits = parts[::2], parts[1::2]
    if len(names) != len(limits) or not (_is_comparison(names) or _is_range(names)):
        raise ConfigError(
            f'{where}: {_short(operand)} must be one comparison or a range, such as ["=", 5], ["<", 10] or '
            '[">", 0, "<=", 5]'
        )
    for limit in limits:
        if not _is_number(limit) or not -MAX_NUMBER <= limit <= MAX_NUMBER:
            raise ConfigError(f"{where}: {_short(limit)} must be a number from -5e9 to 5e9")
    if len(limits) == 2 and limits[0] >= limits[1]:
        raise ConfigError(f"{where}: no number is {names[0]} {limits[0]} and {names[1]} {limits[1]}")
    return parts


def _is_comparison(names: Sequence[object]) -> bool:
    return len(names) == 1 and isinstance(names[0], str) and names[0] in _COMPARISONS


def _is_range(names: Sequence[object]) -> bool:
    return (
        len(names) == 2 and all(isinstance(name, str) for name in names) and names[0] in _HIGHER and names[1] in _LOWER
    )


_CHECKS: dict[Any, Callable[[str, object], Any]] = {
    "prefix": _affix,
    "suffix": _affix,
    "anything-but": _anything_but,
    "exists": _exists,
    "numeric": _numeric,
}

_KNOWN = ", ".join(_CHECKS)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _is_number(value: object) -> bool:
    return is_number(value, -MAX_FLOAT, MAX_FLOAT)


# -- evaluating -------------------------------------------------------------------------------------------------


def _object_matches(
    pattern: Mapping[str, Any], chosen: Mapping[str, Any], everywhere: Sequence[Mapping[str, Any]]
) -> bool:
    """True if one object matches.

    Args:
        everywhere: the object and its siblings at the same path: a field is missing only if none of them has it.
    """
    for name, wanted in pattern.items():
        mine = _values(chosen, name)
        all_values = [value for owner in everywhere for value in _values(owner, name)]
        if isinstance(wanted, Mapping):
            # Without an object, all its fields are missing.
            objects = _objects(mine) or [{}]
            siblings = _objects(all_values)
            if not any(_object_matches(wanted, value, siblings) for value in objects):
                return False
        elif not any(_alternative_matches(option, _leaves(mine), _leaves(all_values)) for option in wanted):
            return False
    return True


def _values(owner: Mapping[str, Any], name: str) -> list[Any]:
    """The values of a field; arrays are flattened."""
    found: list[Any] = []
    todo = [owner[name]] if name in owner else []
    while todo:
        value = todo.pop()
        if isinstance(value, list):
            todo += value
        else:
            found.append(value)
    return found


def _objects(values: Sequence[Any]) -> list[Mapping[str, Any]]:
    return [value for value in values if isinstance(value, Mapping)]


def _leaves(values: Sequence[Any]) -> list[Any]:
    return [value for value in values if not isinstance(value, Mapping)]


def _alternative_matches(wanted: Any, mine: Sequence[Any], all_values: Sequence[Any]) -> bool:
    if not isinstance(wanted, Mapping):
        return any(_same(wanted, value) for value in mine)
    [(name, operand)] = wanted.items()
    if name == "exists":
        return bool(mine) if operand else not all_values
    return any(_OPERATORS[name](operand, value) for value in mine)


def _same(wanted: Any, value: Any) -> bool:
    # In Python True == 1; in JSON they differ.
    return bool(wanted == value) and isinstance(wanted, bool) == isinstance(value, bool)


def _begins(prefix: str, value: Any) -> bool:
    return isinstance(value, str) and value.startswith(prefix)


def _ends(suffix: str, value: Any) -> bool:
    return isinstance(value, str) and value.endswith(suffix)


def _is_anything_but(operand: Any, value: Any) -> bool:
    if isinstance(operand, Mapping):
        [(name, affix)] = operand.items()
        return not _OPERATORS[name](affix, value)
    return not any(_same(excluded, value) for excluded in operand)


def _is_in_range(operand: Sequence[Any], value: Any) -> bool:
    if not _is_number(value) or not -MAX_NUMBER <= value <= MAX_NUMBER:
        return False
    return all(_COMPARISONS[name](value, limit) for name, limit in zip(operand[::2], operand[1::2], strict=True))


_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "prefix": _begins,
    "suffix": _ends,
    "anything-but": _is_anything_but,
    "numeric": _is_in_range,
}
