"""CloudFormation's functions, as values of the emitter."""

from __future__ import annotations

import re
from typing import Any

from ...core.function_settings import SUBSTITUTIONS
from .emitter import Tag, Text

NO_VALUE = Tag("Ref", "AWS::NoValue")
"""Leaves the property out."""

_PLACE = re.compile(rf"\$\{{(?:{'|'.join(SUBSTITUTIONS)})\}}")


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
