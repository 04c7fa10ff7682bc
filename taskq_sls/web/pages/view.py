"""What a page is: its title, what it shows, and which part of that changes while somebody looks."""

from __future__ import annotations

from typing import NamedTuple

from .html import NOTHING, Html


class View(NamedTuple):
    """One page.

    Args:
        title: what it is about; also its heading.
        page: the entry of the navigation that it belongs to.
        before, live, after: its content. `live` is asked for again while the page is looked at.
        every: seconds between two looks; 0 where nothing changes by itself.
        status: of the answer.
    """

    title: str
    page: str
    before: Html = NOTHING
    live: Html = NOTHING
    after: Html = NOTHING
    every: int = 0
    status: int = 200
