"""HTML as values. What is not markup already is escaped, so that no name, argument or error of a task becomes markup.

Of our own, since a template library would more than double what the pages add to a cold start, and since a type checker
reads these.
"""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from urllib.parse import urlencode


class Html(str):
    """Text that is markup. Only this module makes it of anything that came from outside."""

    __slots__ = ()


Child = str | int | float | None | Iterable["Child"]
"""What an element may hold; None is nothing."""

Attribute = str | int | float | bool | None
"""The value of an attribute: True writes the bare name, False and None leave it out."""

NOTHING = Html("")

VOID = frozenset({"br", "hr", "img", "input", "link", "meta", "circle", "line", "path", "polyline", "rect"})
"""Elements without an end tag; those of SVG close themselves."""


def tag(name: str, /, *children: Child, **attributes: Attribute) -> Html:
    """An element. A ``_`` at the end of an attribute's name is dropped, others become ``-``."""
    written = "".join(map(_attribute, attributes.items()))
    if name in VOID:
        return Html(f"<{name}{written}/>")
    return Html(f"<{name}{written}>{markup(children)}</{name}>")


def markup(child: Child) -> Html:
    """Children, one after the other, as markup."""
    if isinstance(child, Html):
        return child
    if child is None:
        return NOTHING
    if isinstance(child, str | int | float):
        return Html(escape(str(child)))
    return Html("".join(map(markup, child)))


Given = str | int | float | list[str] | None
"""What a query has under a name; a list has it several times."""


def address(page: str, /, **query: Given) -> str:
    """A page and its query, relative to the page that names it: all pages lie in one folder, wherever that is."""
    given = {name: value for name, value in query.items() if value not in (None, "", [])}
    # A lone surrogate cannot travel in an address; no id or name that a lookup would find holds one.
    return f"{page}?{urlencode(given, doseq=True, errors='replace')}" if given else page


def link(text: Child, page: str, /, **query: Given) -> Html:
    """A link to another page."""
    return tag("a", text, href=address(page, **query))


def _attribute(item: tuple[str, Attribute]) -> str:
    name, value = item
    if value is None or value is False:
        return ""
    name = "viewBox" if name == "viewbox" else name.rstrip("_").replace("_", "-")  # SVG's own spelling
    return f" {name}" if value is True else f' {name}="{escape(str(value))}"'
