"""A template between its rendering and its text: sections and resources as they can be changed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ...errors import ConfigError
from .emitter import Commented, Tag, Text

Document = dict[str, Any]


def plain(value: Any) -> Any:
    """A value without the comments above it."""
    while isinstance(value, Commented):
        value = value.value
    return value


def section(document: Document, name: str) -> dict[str, Any]:
    """A section of the template, created if it is missing."""
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


_REFERENCE = re.compile(r"\$\{([^!}][^}]*)\}")


def check_references(document: Document, place: str) -> None:
    """Check that a template refers only to parameters, resources, conditions and mappings that it has.

    Args:
        place: origin of the template; the start of error messages.

    Raises:
        ConfigError: a reference points to nothing in it.
    """
    names = {kind: set(plain(document.get(kind, {}))) for kind in ("Parameters", "Resources", "Conditions", "Mappings")}
    # SAM creates resources of its own; their names begin with that of their function.
    transformed = tuple(
        name
        for name, resource in plain(document["Resources"]).items()
        if str(plain(resource).get("Type")).startswith("AWS::Serverless::")
    )
    for where, kind, name in _references(document):
        if not isinstance(name, str):
            raise ConfigError(f"{place}: {where} refers to {name!r:.80}, which is no name")
        known = names["Resources"] | names["Parameters"] if kind == "Values" else names[kind]
        made = kind in ("Values", "Resources") and name.startswith(transformed)
        if name not in known and not made and not name.startswith("AWS::"):
            raise ConfigError(f"{place}: {where} refers to {name!r}, which is no longer in the template or never was")


def _references(document: Document) -> Iterator[tuple[str, str, Any]]:
    """Places that refer to something, the section that must have it, and its name. "Values" are
    resources and parameters.
    """
    for part in ("Resources", "Outputs", "Conditions", "Globals"):
        for id, value in plain(document.get(part, {})).items():
            where, value = f"{part}.{id}", plain(value)
            if part in ("Resources", "Outputs") and isinstance(value, Mapping):
                # Properties may have the same names, and then mean something else.
                if "Condition" in value:
                    yield where, "Conditions", value["Condition"]
                for name in _as_list(value.get("DependsOn", [])):
                    yield where, "Resources", name
            for kind, name in _inside(value, conditions=part == "Conditions"):
                yield where, kind, name


def _inside(value: Any, *, conditions: bool = False) -> Iterator[tuple[str, Any]]:
    value = plain(value)
    if isinstance(value, Tag):
        if value.name == "Condition":
            yield "Conditions", value.value
            return
        value = {"Ref" if value.name == "Ref" else f"Fn::{value.name}": value.value}
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if conditions and key == "Condition":
                yield "Conditions", inner
            else:
                yield from _of_key(key, plain(inner), conditions)
    elif isinstance(value, list | tuple) and not isinstance(value, Text):
        for inner in value:
            yield from _inside(inner, conditions=conditions)


def _of_key(key: Any, inner: Any, conditions: bool) -> Iterator[tuple[str, Any]]:
    """References in a function or a property. A function without the name that it needs refers to None."""
    first, *rest = _as_list(inner) or [None]
    if key in ("Ref", "Fn::GetAtt"):
        kind = "Resources" if key == "Fn::GetAtt" else "Values"
        yield kind, first.partition(".")[0] if isinstance(first, str) else first
    elif key == "Fn::Sub":
        text = first.text if isinstance(first, Text) else first
        given = plain(rest[0]) if rest else {}
        if not isinstance(text, str) or not isinstance(given, Mapping):
            yield "Resources", inner
            return
        for name in _REFERENCE.findall(text):
            if name not in given:
                id, attribute, _ = name.partition(".")
                yield "Resources" if attribute else "Values", id
        yield from _inside(given)
    elif key in ("Fn::If", "Fn::FindInMap"):
        yield "Conditions" if key == "Fn::If" else "Mappings", first
        yield from _inside(rest)
    else:
        yield from _inside(inner, conditions=conditions)


def _as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) and not isinstance(value, Text | Tag) else [value]
