"""References in a template: by ``!Ref``, ``!GetAtt``, ``!Sub``, ``!If``, ``!FindInMap``, DependsOn and Condition."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from ...errors import ConfigError
from .document import Document, plain
from .emitter import Tag, Text

_REFERENCE = re.compile(r"\$\{([^!}][^}]*)\}")


def check_references(document: Document, place: str) -> None:
    """Check that a template refers only to parameters, resources, conditions and mappings that it has.

    Args:
        place: where it comes from; begins the message of an error.

    Raises:
        ConfigError: it refers to something else.
    """
    names = {kind: set(plain(document.get(kind, {}))) for kind in ("Parameters", "Resources", "Conditions", "Mappings")}
    # SAM makes resources of its own, whose names begin with that of their function.
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
