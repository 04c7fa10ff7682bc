"""A template between its rendering and its text: sections and resources as they can be changed."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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


REFERRED_TO = {
    "AWS::SQS::Queue": "the queue's URL",
    "AWS::DynamoDB::Table": "the table's name",
    "AWS::S3::Bucket": "the bucket's name",
}
"""Types that can be there already, and the value of a reference to one (CloudFormation's Ref)."""


def use_existing(document: Document, ids: Sequence[str]) -> Document:
    """The document with resources replaced by parameters: one of the same name, its ARN, and of a queue its name.

    Args:
        ids: logical ids of a queue, a dead-letter queue, the table or the bucket.

    Raises:
        ConfigError: there is no such resource, or it is of another type.
    """
    for id in dict.fromkeys(ids):
        _replace(document, id)
    document = name_by_parameters(document, ids)
    if ids:
        _drop_unused(document, "Conditions", ("Globals", "Resources", "Outputs"))
        _drop_unused(document, "Parameters", ("Globals", "Resources", "Outputs", "Conditions"))
    return document


def name_by_parameters(document: Document, ids: Sequence[str]) -> Document:
    """The document with the attributes of resources that exist already replaced by their parameters."""

    def by_parameter(value: Any) -> Any:
        if isinstance(value, Tag) and value.name == "GetAtt" and isinstance(value.value, str):
            id, _, attribute = value.value.partition(".")
            return Tag("Ref", id + _suffix(attribute)) if id in ids else value
        if isinstance(value, Tag) and isinstance(value.value, Text):
            return value._replace(value=value.value._replace(text=by_parameter(value.value.text)))
        if isinstance(value, str):
            return re.sub(
                r"\$\{(\w+)\.(\w+)\}",
                lambda found: f"${{{found[1]}{_suffix(found[2])}}}" if found[1] in ids else found[0],
                value,
            )
        return value

    changed: Document = mapped(document, by_parameter) if ids else document
    return changed


def _suffix(attribute: str) -> str:
    return attribute.removeprefix("Queue")  # of QueueName; Arn stays


def _drop_unused(document: Document, name: str, users: Iterable[str]) -> None:
    """Remove conditions or parameters that only a removed resource used: `sam validate --lint` refuses them."""
    words: set[str] = set()

    def collect(value: Any) -> Any:
        text = value.text if isinstance(value, Text) else value.value if isinstance(value, Tag) else value
        if isinstance(text, str | Text):
            words.update(re.findall(r"\w+", text if isinstance(text, str) else text.text))
        return value

    for user in users:
        mapped(plain(document[user]), collect)
    found = section(document, name)
    for unused in found.keys() - words:
        del found[unused]


def _replace(document: Document, id: str) -> None:
    resources = section(document, "Resources")
    if id not in resources:
        near = difflib.get_close_matches(id, resources, 3) or list(resources)
        raise ConfigError(f"--existing {id}: there is no such resource; did you mean {', '.join(near)}?")
    type = plain(resources[id])["Type"]
    if type not in REFERRED_TO:
        raise ConfigError(f"--existing {id}: it is an {type}; only {', '.join(REFERRED_TO)} can be there already")
    del resources[id]
    parameters = section(document, "Parameters")
    parameters[id] = {"Type": "String", "Description": f"An existing resource: {REFERRED_TO[type]}"}
    parameters[f"{id}Arn"] = {
        "Type": "String",
        "AllowedPattern": "arn:[a-z-]+:[a-z0-9]+:.+",
        "Description": f"ARN of {id}",
    }
    if type == "AWS::SQS::Queue":
        parameters[f"{id}Name"] = {"Type": "String", "MaxLength": 80, "Description": f"Name of {id}"}
