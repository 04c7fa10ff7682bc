"""A template between its rendering and its text: sections and resources as they can be changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from .emitter import Commented, Tag, Text

Document = dict[str, Any]


def plain(value: Any) -> Any:
    """A value without the comments above it."""
    while isinstance(value, Commented):
        value = value.value
    return value


def section(document: Document, name: str) -> dict[str, Any]:
    """A section of the template, made where there is none."""
    if name not in document:
        document[name] = {}
    found: dict[str, Any] = plain(document[name])
    return found


def resources_of(document: Document, type: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Logical id and properties of each resource of a type."""
    for name, noted in section(document, "Resources").items():
        resource = plain(noted)
        if resource["Type"] == type:
            yield name, plain(resource.setdefault("Properties", {}))


def mapped(value: Any, change: Callable[[Any], Any]) -> Any:
    """A copy of `value` in which `change` was applied to everything, from the inside to the outside."""
    if isinstance(value, Commented):
        return value._replace(value=mapped(value.value, change))
    if isinstance(value, Tag):
        inner = value.value if isinstance(value.value, Text) else mapped(value.value, change)
        return change(value._replace(value=inner))
    if isinstance(value, Text):
        return value
    if isinstance(value, Mapping):
        return change({key: mapped(inner, change) for key, inner in value.items()})
    if isinstance(value, list | tuple):
        return change([mapped(inner, change) for inner in value])
    return change(value)
