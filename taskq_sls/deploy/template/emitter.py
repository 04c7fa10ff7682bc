"""Values as YAML text, with comments and CloudFormation's short tags (``!Ref``, ``!Sub``).

Small on purpose: mappings, lists and scalars in block style, and short values in flow style. Equal values
give equal text.
"""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

WIDTH = 118
"""Columns of a comment line, and of a tag's list that is still written in one line."""

INDENT = "  "

_PLAIN = re.compile(r"[A-Za-z_/][\w./:*@+-]*( [\w./:*@+(-][\w./:*@+()-]*)*", re.ASCII)
_RESERVED = frozenset({"true", "false", "yes", "no", "on", "off", "null", "y", "n"})


class Tag(NamedTuple):
    """A value under a tag: ``!name value``."""

    name: str
    value: Any


class Text(NamedTuple):
    """Text of several lines, written unchanged; or `folded`: written in lines, read as one."""

    text: str
    folded: bool = False


class Commented(NamedTuple):
    """A value with a comment above its key or list entry.

    Args:
        note: the comment; written at its first use in a document only.
        title: a heading above it, after an empty line.
    """

    note: str
    value: Any
    title: str | None = None


def dump(document: Mapping[str, Any]) -> str:
    """A document as YAML."""
    return "\n".join(_Writer().mapping(document, "")) + "\n"


class _Writer:
    """Writes one document, and remembers the comments it has written."""

    def __init__(self) -> None:
        self._said: set[str] = set()

    def mapping(self, mapping: Mapping[str, Any], indent: str) -> list[str]:
        lines: list[str] = []
        for key, value in mapping.items():
            value = self._comments(value, indent, lines)
            lines += self._entry(f"{indent}{_scalar(key)}:", value, indent + INDENT)
        return lines

    def _list(self, values: Sequence[Any], indent: str) -> list[str]:
        lines: list[str] = []
        for value in values:
            value = self._comments(value, indent, lines)
            if not isinstance(value, Mapping) or not value:
                lines += self._entry(f"{indent}-", value, indent + INDENT)
                continue
            inner = self.mapping(value, indent + INDENT)
            first = next(number for number, line in enumerate(inner) if not line.lstrip().startswith("#"))
            # The comment of the first key is written above the dash.
            lines += [line.removeprefix(INDENT) for line in inner[:first]]
            lines += [f"{indent}- {inner[first].lstrip()}", *inner[first + 1 :]]
        return lines

    def _comments(self, value: Any, indent: str, lines: list[str]) -> Any:
        while isinstance(value, Commented):
            if value.title is not None:
                lines += ["", f"{indent}# {value.title} ".ljust(WIDTH, "-")]
            if value.note and value.note not in self._said:
                self._said.add(value.note)
                lines += [f"{indent}# {line}" for line in textwrap.wrap(value.note, WIDTH - len(indent) - 2)]
            value = value.value
        return value

    def _entry(self, start: str, value: Any, inner: str) -> list[str]:
        """A key or a dash, and its value."""
        if isinstance(value, Tag):
            short = _inline(value)
            if short is not None and (isinstance(value.value, str) or len(start) + len(short) < WIDTH):
                return [f"{start} {short}"]
            return self._entry(f"{start} !{value.name}", value.value, inner)
        if isinstance(value, Text):
            lines = value.text.rstrip("\n").split("\n")
            return [f"{start} {'>-' if value.folded else '|'}", *(f"{inner}{line}".rstrip() for line in lines)]
        if isinstance(value, Mapping) and value:
            return [start, *self.mapping(value, inner)]
        if isinstance(value, list | tuple) and value:
            return [start, *self._list(value, inner)]
        return [f"{start} {_inline(value)}"]


def _inline(value: Any) -> str | None:
    """The value in one line; None if it needs several."""
    if isinstance(value, Commented | Text):
        return None
    if isinstance(value, Tag):
        short = _inline(value.value)
        return None if short is None else f"!{value.name} {short}"
    if isinstance(value, Mapping):
        return "{}" if not value else None
    if isinstance(value, list | tuple):
        shorts = [_inline(item) for item in value]
        return None if None in shorts else f"[{', '.join(short for short in shorts if short is not None)}]"
    return _scalar(value)


def _scalar(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        # YAML 1.1 takes an exponent for a number only after a point.
        text = repr(value)
        return str(int(value)) if value.is_integer() and "e" not in text else re.sub(r"^(-?\d+)e", r"\1.0e", text)
    if isinstance(value, int):
        return str(value)
    if not isinstance(value, str):
        raise TypeError(f"a template holds no {type(value).__name__}: {value!r:.80}")
    if _PLAIN.fullmatch(value) and not value.endswith(":") and ": " not in value and value.lower() not in _RESERVED:
        return value
    if '"' in value and value.isprintable():
        return "'{}'".format(value.replace("'", "''"))
    quoted = json.dumps(value, ensure_ascii=False)
    return "".join(character if character.isprintable() else f"\\U{ord(character):08X}" for character in quoted)
