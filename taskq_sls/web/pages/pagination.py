"""Where a look for tasks ended, and the ways to go on with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from .components import time
from .html import Given, Html, link, tag
from .search import SearchResult


def next_links(page: str, query: Mapping[str, Given], found: SearchResult) -> list[Html]:
    """What a look has not looked at, and the ways to go on.

    Args:
        query: of the page; what it says of where to go on from is replaced.
    """
    parts: list[Html] = []
    if found.read and found.cursor is not None:
        oldest = datetime.fromtimestamp(int(found.cursor.partition("#")[0]) / 1000, UTC)
        parts.append(
            tag(
                "p",
                f"{found.read} tasks were looked at, back to ",
                time(oldest),
                "; older ones were not.",
                class_="muted",
            )
        )
    if found.names:
        parts.append(task_names(f"Looked for among {len(found.names)} of {found.total} names of tasks", found.names))
    ways = []
    if found.cursor is not None:
        ways.append(link("Older tasks", page, **{**query, "cursor": found.cursor}))
    if found.after is not None:
        ways.append(link("Look among the next names", page, **{**query, "cursor": None, "after": found.after}))
    if ways:
        parts.append(tag("p", [[way, " "] for way in ways], class_="further"))
    return parts


def task_names(text: str, names: Sequence[str]) -> Html:
    """Which names a look asked for, for who wants to know."""
    return tag("details", tag("summary", text), tag("ul", [tag("li", name) for name in names]), class_="muted")
