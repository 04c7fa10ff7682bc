"""Resources that an account has already: named by parameters in place of being made."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from typing import Any

from ...errors import ConfigError
from .document import Document, mapped, plain, section
from .emitter import Tag, Text

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
    parameters[id] = {"Type": "String", "Description": f"What exists already: {REFERRED_TO[type]}"}
    parameters[f"{id}Arn"] = {
        "Type": "String",
        "AllowedPattern": "arn:[a-z-]+:[a-z0-9]+:.+",
        "Description": f"ARN of {id}",
    }
    if type == "AWS::SQS::Queue":
        parameters[f"{id}Name"] = {"Type": "String", "MaxLength": 80, "Description": f"Name of {id}"}
