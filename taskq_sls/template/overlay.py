"""An overlay: what an account wants changed in a rendered template, merged by section and logical id.

Mappings are merged key by key, everything else is replaced, and null removes what it stands for. So the template can
be rendered again at any time, and ``--check`` still works.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..errors import ConfigError
from .document import Document, plain
from .emitter import Noted, Tag, Text

SECTIONS = (
    "Description",
    "Metadata",
    "Parameters",
    "Rules",
    "Mappings",
    "Conditions",
    "Globals",
    "Resources",
    "Outputs",
)
"""Sections that an overlay may change (CloudFormation user guide, template anatomy)."""

_REFERENCE = re.compile(r"\$\{([^!}][^}]*)\}")


def load_overlay(file: Path) -> dict[str, Any]:
    """An overlay in YAML, with CloudFormation's short tags, or JSON.

    Raises:
        ConfigError: the file cannot be read, is no mapping, or has sections that a template lacks; or it is YAML, and
            PyYAML is not installed.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--overlay {file}: {error}") from None
    found = _parsed(file, text)
    if not isinstance(found, Mapping):
        raise ConfigError(f"--overlay {file}: it is {type(found).__name__}, and must map sections to what they get")
    for name, content in found.items():
        if name not in SECTIONS:
            raise ConfigError(f"--overlay {file}: section {name!r} is unknown; use {', '.join(SECTIONS)}")
        if name != "Description" and not isinstance(content, Mapping):
            raise ConfigError(f"--overlay {file}: section {name} must be a mapping")
    return dict(found)


def merge(document: Document, overlay: Mapping[str, Any], file: str) -> Document:
    """The document with an overlay merged in.

    Args:
        file: names the overlay in errors.

    Raises:
        ConfigError: a resource would be new without a Type, or change its Type; or something is referred to that is not
            there.
    """
    known = plain(document["Resources"])
    for name, resource in overlay.get("Resources", {}).items():
        if resource is None and name not in known:
            raise ConfigError(f"--overlay {file}: there is no resource {name} to remove")
        if resource is None:
            continue
        if not isinstance(resource, Mapping):
            raise ConfigError(f"--overlay {file}: resource {name} must be a mapping")
        type = resource.get("Type")
        if name not in known and type is None:
            near = ", ".join(_near(name, known)) or ", ".join(known)
            raise ConfigError(
                f"--overlay {file}: resource {name} is not in the template, which has {near}; or give a Type"
            )
        if name in known and type is not None and type != plain(known[name])["Type"]:
            raise ConfigError(
                f"--overlay {file}: resource {name} is an {plain(known[name])['Type']}, and cannot become an {type}"
            )
    merged: Document = _merged(document, overlay)
    _check_references(merged, file)
    return merged


def _merged(base: Any, change: Any) -> Any:
    if isinstance(base, Noted):
        return base._replace(value=_merged(base.value, change))
    if not isinstance(base, Mapping) or not isinstance(change, Mapping):
        return change
    found = dict(base)
    for key, value in change.items():
        if value is None:
            found.pop(key, None)
        else:
            found[key] = _merged(found[key], value) if key in found else value
    return found


def _check_references(document: Document, file: str) -> None:
    names = {kind: set(plain(document.get(kind, {}))) for kind in ("Parameters", "Resources", "Conditions", "Mappings")}
    for where, kind, name in _references(document):
        # SAM makes resources of its own, whose names begin with that of their function.
        made = kind == "Resources" and any(name.startswith(known) for known in names["Resources"])
        known = names["Resources"] | names["Parameters"] if kind == "Resources" else names[kind]
        if name not in known and not made and not name.startswith("AWS::"):
            raise ConfigError(
                f"--overlay {file}: {where} refers to {name!r}, which is no longer in the template or never was"
            )


def _references(document: Document) -> Iterator[tuple[str, str, str]]:
    """Where something is referred to, the section that must have it, and its name."""
    for part in ("Resources", "Outputs", "Conditions", "Globals"):
        for id, value in plain(document.get(part, {})).items():
            for kind, name in _inside(value, set()):
                yield f"{part}.{id}", kind, name


def _inside(value: Any, local: set[str]) -> Iterator[tuple[str, str]]:
    value = plain(value)
    if isinstance(value, Tag):
        value = {"Ref" if value.name in ("Ref", "Condition") else f"Fn::{value.name}": value.value} | (
            {"Condition": value.value} if value.name == "Condition" else {}
        )
        if "Condition" in value:
            yield "Conditions", value["Condition"]
            return
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _of_key(key, plain(inner), local)
    elif isinstance(value, list | tuple) and not isinstance(value, Text):
        for inner in value:
            yield from _inside(inner, local)


def _of_key(key: str, inner: Any, local: set[str]) -> Iterator[tuple[str, str]]:
    if key == "Ref" and isinstance(inner, str):
        yield "Resources", inner.partition(".")[0]
    elif key == "Fn::GetAtt":
        yield "Resources", (inner if isinstance(inner, str) else inner[0]).partition(".")[0]
    elif key == "Fn::Sub":
        text, given = (inner, {}) if isinstance(inner, str | Text) else (plain(inner[0]), plain(inner[1]))
        for name in _REFERENCE.findall(text.text if isinstance(text, Text) else text):
            if name not in given:
                yield "Resources", name.partition(".")[0]
        yield from _inside(given, local)
    elif key == "Fn::If":
        yield "Conditions", inner[0]
        yield from _inside(list(inner[1:]), local)
    elif key == "Fn::FindInMap":
        yield "Mappings", inner[0]
        yield from _inside(list(inner[1:]), local)
    elif key == "Condition" and isinstance(inner, str):
        yield "Conditions", inner
    elif key == "DependsOn":
        for name in [inner] if isinstance(inner, str) else inner:
            yield "Resources", name
    else:
        yield from _inside(inner, local)


def _near(name: str, known: Mapping[str, Any]) -> list[str]:
    import difflib

    return difflib.get_close_matches(name, known, 3)


def _parsed(file: Path, text: str) -> Any:
    if file.suffix == ".json":
        try:
            return json.loads(text)
        except ValueError as error:
            raise ConfigError(f"--overlay {file}: it is not JSON: {error}") from None
    try:
        import yaml
    except ImportError:
        raise ConfigError(
            f"--overlay {file}: reading YAML needs PyYAML: pip install 'taskq-sls[cli]'; or write the overlay as .json"
        ) from None

    loader_of_tags: Any = type("Loader", (yaml.SafeLoader,), {})

    def tag(loader: yaml.SafeLoader, suffix: str, node: yaml.Node) -> Tag:
        if isinstance(node, yaml.ScalarNode):
            return Tag(suffix, loader.construct_scalar(node))
        if isinstance(node, yaml.SequenceNode):
            return Tag(suffix, loader.construct_sequence(node, deep=True))
        assert isinstance(node, yaml.MappingNode)
        return Tag(suffix, loader.construct_mapping(node, deep=True))

    loader_of_tags.add_multi_constructor("!", tag)
    try:
        return yaml.load(text, loader_of_tags)  # a SafeLoader
    except yaml.YAMLError as error:
        raise ConfigError(f"--overlay {file}: it is not YAML: {' '.join(str(error).split())}") from None
