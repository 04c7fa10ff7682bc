"""CloudFormation's functions, as values of the emitter."""

from __future__ import annotations

import hashlib
import re
from typing import Any

from ...core.function_settings import SUBSTITUTIONS
from .emitter import Tag, Text

NO_VALUE = Tag("Ref", "AWS::NoValue")
"""Leaves the property out."""

_PLACE = re.compile(rf"\$\{{(?:{'|'.join(SUBSTITUTIONS)})\}}")


def resource(type: str, properties: dict[str, Any], **attributes: Any) -> dict[str, Any]:
    """A resource; `attributes` are those beside its properties, such as ``DependsOn``."""
    return {"Type": type, **attributes, "Properties": properties}


def ref(name: str) -> Tag:
    """A parameter's value, or a resource's identifier (``!Ref``)."""
    return Tag("Ref", name)


def attribute(resource: str, name: str) -> Tag:
    """An attribute of a resource, such as ``Arn``."""
    return Tag("GetAtt", f"{resource}.{name}")


def arn_of(resource: str) -> Tag:
    """The ARN of a resource."""
    return attribute(resource, "Arn")


def sub(text: str) -> Tag:
    """Text with ``${Name}`` replaced."""
    return Tag("Sub", text)


def sub_lines(text: str) -> Tag:
    """Text of several lines with ``${Name}`` replaced."""
    return Tag("Sub", Text(text))


def literal(text: str) -> str:
    """Text with ``${`` escaped for use within `sub`."""
    return text.replace("${", "${!")


def filled(value: Any) -> Any:
    """A declared value; the stack fills in ``SUBSTITUTIONS`` in its texts, and every other ``${`` is literal."""
    if isinstance(value, dict):
        return {name: filled(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [filled(item) for item in value]
    if not isinstance(value, str) or not _PLACE.search(value):
        return value
    return sub(re.sub(rf"\$\{{(?!(?:{'|'.join(SUBSTITUTIONS)})\}})", "${!", value))


def either(condition: str, yes: Any, no: Any) -> Tag:
    """One of two values."""
    return Tag("If", [condition, yes, no])


def regional_arn(service: str, rest: str) -> Tag:
    """The ARN of something in the stack's own account and region."""
    return sub(f"arn:${{AWS::Partition}}:{service}:${{AWS::Region}}:${{AWS::AccountId}}:{rest}")


_SIMPLE = re.compile(r"[a-z][a-z0-9]*(-[a-z][a-z0-9]*)*")


def queue_id(queue: str) -> str:
    """The start of a queue's ids: ``Default``, ``ImagesSlow``, ``LedgerFifo``.

    It is the name itself if every word begins with a small letter. Other names get a hash, so that ``a_b`` and ``a-b``
    differ. It depends on this name alone, so that a new queue does not rename, and thereby replace, another.
    """
    plain = queue.removesuffix(".fifo")
    simple = _SIMPLE.fullmatch(plain) and not plain.endswith("-fifo")
    fifo = "Fifo" if queue.endswith(".fifo") else ""
    return f"{_camel(plain)}{fifo}{'' if simple else _hash(queue)}"


def schedule_id(name: str) -> str:
    """The id of a declared schedule, ``d-{app}.{slug}-{hash}``: the hash keeps it apart from others."""
    return f"{_camel(name.partition('.')[2])}Schedule"


def route_id(name: str) -> str:
    """The id of a rule that sends events to a task."""
    return f"{_camel(name)}Rule{_hash(name)}"


def _camel(name: str) -> str:
    return "".join(word[0].upper() + word[1:] for word in re.split(r"[^A-Za-z0-9]+", name) if word)


def _hash(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:6].upper()
