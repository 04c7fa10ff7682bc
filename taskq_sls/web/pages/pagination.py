"""Links to the rest of a search for tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from .components import time
from .html import Given, Html, link, tag
from .search import SearchResult


def next_links(page: str, query: Mapping[str, Given], found: SearchResult) -> list[Html]:
    """Return links to the rest of the search, and a note on the part that was searched.

    Args:
        query: of the page; its cursors are replaced.
    """
    parts: list[Html] = []
    if found.read and found.cursor is not None:
        oldest = datetime.fromtimestamp(int(found.cursor.partition("#")[0]) / 1000, UTC)
        parts.append(
            tag(
                "p",
                f"Searched {found.read} tasks, back to ",
                time(oldest),
                ". Older tasks were not searched.",
                class_="muted",
            )
        )
    if found.names:
        parts.append(task_names(f"Searched {len(found.names)} of {found.total} task names", found.names))
    links = []
    if found.cursor is not None:
        links.append(link("Older tasks", page, **{**query, "cursor": found.cursor}))
    if found.after is not None:
        links.append(link("Search the next names", page, **{**query, "cursor": None, "after": found.after}))
    if links:
        parts.append(tag("p", [[entry, " "] for entry in links], class_="pagination"))
    return parts


def task_names(text: str, names: Sequence[str]) -> Html:
    """Return the searched names, folded under `text`."""
    return tag("details", tag("summary", text), tag("ul", [tag("li", name) for name in names]), class_="muted")
