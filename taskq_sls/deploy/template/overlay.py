"""An overlay: an account's changes to a rendered template, merged by section and logical id.

Mappings are merged key by key, everything else is replaced, and null removes its key. So the template can
be rendered again at any time, and ``--check`` still works.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ...errors import ConfigError
from .document import Document, check_references, plain
from .emitter import Commented, Tag

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

DEEPEST = 50
"""Levels of an overlay's values; a YAML alias can make a value contain itself."""


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
        kind = "empty" if found is None else type(found).__name__
        raise ConfigError(f"--overlay {file}: it is {kind}, and must map sections to what they get")
    for name, content in found.items():
        if name not in SECTIONS:
            raise ConfigError(f"--overlay {file}: section {name!r} is unknown; use {', '.join(SECTIONS)}")
        expected, kind = (str, "text") if name == "Description" else (Mapping, "a mapping")
        if not isinstance(content, expected):
            raise ConfigError(f"--overlay {file}: section {name} must be {kind}")
        _check_values(content, f"--overlay {file}: {name}")
    return dict(found)


def _check_values(value: Any, place: str, depth: int = 0) -> None:
    """Refuse a value that no template can hold. A null removes its key in a mapping, and is refused elsewhere."""
    if depth > DEEPEST:
        raise ConfigError(f"{place}: it is nested deeper than {DEEPEST} levels, or holds itself")
    if isinstance(value, Tag):
        _check_values(value.value, f"{place}.!{value.name}", depth + 1)
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            if not isinstance(key, str | int):
                raise ConfigError(f"{place}: the key {key!r} is of type {type(key).__name__}; put it in quotes")
            if inner is not None:
                _check_values(inner, f"{place}.{key}" if depth < 5 else place, depth + 1)
    elif isinstance(value, list):
        for inner in value:
            _check_values(inner, place, depth + 1)
    elif not isinstance(value, str | bool | int | float) or (isinstance(value, float) and not math.isfinite(value)):
        raise ConfigError(f"{place}: {value!r:.80} is no text, number, boolean, list or mapping")


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
        if "Type" in resource and not isinstance(type, str):
            raise ConfigError(f"--overlay {file}: the Type of resource {name} must be text")
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
    check_references(merged, f"--overlay {file}")
    return merged


def _merged(base: Any, change: Any) -> Any:
    if isinstance(base, Commented):
        return base._replace(value=_merged(base.value, change))
    if not isinstance(change, Mapping):
        return change
    # A function in its long form, such as Fn::If, is a value like that of a short tag.
    merges = isinstance(base, Mapping) and not any(key == "Ref" or str(key).startswith("Fn::") for key in change)
    found = dict(base) if merges else {}
    for key, value in change.items():
        if value is None:
            found.pop(key, None)
        else:
            found[key] = _merged(found.get(key), value)
    return found


def _near(name: str, known: Mapping[str, Any]) -> list[str]:
    import difflib

    return difflib.get_close_matches(name, known, 3)


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The mapping of `pairs`; the last of two values for a key would silently replace the first."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {next(name for name in names if names.count(name) > 1)!r} is there twice")
    return found


def _parsed(file: Path, text: str) -> Any:
    if file.suffix == ".json":
        try:
            return json.loads(text, object_pairs_hook=_without_duplicates)
        except (ValueError, RecursionError) as error:
            raise ConfigError(f"--overlay {file}: it is not JSON: {error}") from None
    try:
        import yaml
    except ImportError:
        raise ConfigError(
            f"--overlay {file}: reading YAML needs PyYAML: pip install 'taskq-sls[cli]'; or write the overlay as .json"
        ) from None

    # A Version such as 2012-10-17 is text to CloudFormation, and no date.
    resolvers = {
        letter: [pair for pair in pairs if pair[0] != "tag:yaml.org,2002:timestamp"]
        for letter, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    loader_of_tags: Any = type("Loader", (yaml.SafeLoader,), {"yaml_implicit_resolvers": resolvers})

    def tag(loader: yaml.SafeLoader, suffix: str, node: yaml.Node) -> Tag:
        if isinstance(node, yaml.ScalarNode):
            return Tag(suffix, loader.construct_scalar(node))
        if isinstance(node, yaml.SequenceNode):
            return Tag(suffix, loader.construct_sequence(node, deep=True))
        assert isinstance(node, yaml.MappingNode)
        return Tag(suffix, loader.construct_mapping(node, deep=True))

    def mapping(loader: yaml.SafeLoader, node: yaml.MappingNode) -> Iterator[dict[Any, Any]]:
        try:
            _without_duplicates([(str(key.value), None) for key, _ in node.value])
        except ValueError as error:
            raise yaml.constructor.ConstructorError(None, None, str(error), node.start_mark) from None
        yield from loader.construct_yaml_map(node)

    loader_of_tags.add_multi_constructor("!", tag)
    loader_of_tags.add_constructor("tag:yaml.org,2002:map", mapping)
    try:
        return yaml.load(text, loader_of_tags)  # a SafeLoader
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise ConfigError(f"--overlay {file}: it is not YAML: {' '.join(str(error).split())}") from None
