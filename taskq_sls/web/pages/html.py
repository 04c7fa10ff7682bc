"""HTML as values. All text is escaped, so that no name, argument or error of a task becomes markup.

There is no template library: it would more than double the time that the pages add to a cold start, and type checkers
cannot read templates.
"""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from urllib.parse import urlencode


class Html(str):
    """Text that is markup. Only this module may create it from values that came from outside."""

    __slots__ = ()


Child = str | int | float | None | Iterable["Child"]
"""Content of an element; None is left out."""

Attribute = str | int | float | bool | None
"""Value of an attribute: True writes only the name, False and None leave it out."""

NOTHING = Html("")

VOID = frozenset({"br", "hr", "img", "input", "link", "meta", "circle", "line", "path", "polyline", "rect"})
"""Elements without content."""


def tag(name: str, /, *children: Child, **attributes: Attribute) -> Html:
    """Return an element. In names of attributes a ``_`` at the end is dropped, others become ``-``."""
    written = "".join(map(_attribute, attributes.items()))
    if name in VOID:
        return Html(f"<{name}{written}/>")
    return Html(f"<{name}{written}>{markup(children)}</{name}>")


def markup(child: Child) -> Html:
    if isinstance(child, Html):
        return child
    if child is None:
        return NOTHING
    if isinstance(child, str | int | float):
        return Html(escape(str(child)))
    return Html("".join(map(markup, child)))


Given = str | int | float | list[str] | None
"""Value of a query parameter; a list repeats the parameter."""


def address(page: str, /, **query: Given) -> str:
    """Return the relative address of a page with a query. All pages are in one folder, at any base path."""
    given = {name: value for name, value in query.items() if value not in (None, "", [])}
    # A lone surrogate cannot be in an address, and no id or name contains one.
    return f"{page}?{urlencode(given, doseq=True, errors='replace')}" if given else page


def link(text: Child, page: str, /, **query: Given) -> Html:
    return tag("a", text, href=address(page, **query))


def _attribute(item: tuple[str, Attribute]) -> str:
    name, value = item
    if value is None or value is False:
        return ""
    name = "viewBox" if name == "viewbox" else name.rstrip("_").replace("_", "-")  # spelled so in SVG
    return f" {name}" if value is True else f' {name}="{escape(str(value))}"'
