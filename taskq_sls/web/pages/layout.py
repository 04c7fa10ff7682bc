"""The layout of all pages: head, navigation, live part, style sheet and script."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import Response

from ..auth import Principal
from .html import NOTHING, Html, link, tag

NAVIGATION = (
    ("./", "Overview"),
    ("tasks", "Tasks"),
    ("schedules", "Schedules"),
    ("dead-letters", "Dead letters"),
)


class View(NamedTuple):
    """One page.

    Args:
        title: also its heading.
        page: its entry in the navigation.
        before, live, after: its content. The script reloads `live` every `every` seconds.
        every: 0 if nothing changes by itself.
        status: of the answer.
    """

    title: str
    page: str
    before: Html = NOTHING
    live: Html = NOTHING
    after: Html = NOTHING
    every: int = 0
    status: int = 200


class Asset(NamedTuple):
    name: str
    media_type: str
    content: bytes

    @property
    def address(self) -> str:
        """The relative address. It holds a hash of the content, so that browsers may cache the file for ever."""
        return f"{self.name}?v={hashlib.sha256(self.content).hexdigest()[:12]}"


def _read(name: str, media_type: str) -> Asset:
    return Asset(name, media_type, Path(__file__).with_name(name).read_bytes())


STYLE = _read("dashboard.css", "text/css")
SCRIPT = _read("dashboard.js", "text/javascript")

ASSETS = {f"/{file.name}": file for file in (STYLE, SCRIPT)}


async def asset(request: Request) -> Response:
    """Serve an asset. It needs no login."""
    found = ASSETS[request.scope["path"]]
    headers = {"Cache-Control": "public, max-age=31536000, immutable"}
    return Response(found.content, media_type=found.media_type, headers=headers)


def document(app: str, view: View, principal: Principal | None, mark: str | None = None) -> Html:
    """Return a whole page.

    Args:
        mark: entity tag of the live part.
    """
    body = tag(
        "body",
        tag("a", "Skip to the content", href="#content", class_="skip"),
        _header(app, view, principal),
        tag("main", tag("h1", view.title), view.before, _live(view, mark), view.after, id="content", tabindex="-1"),
    )
    return Html("<!doctype html>" + tag("html", _head(app, view), body, lang="en"))


def _head(app: str, view: View) -> Html:
    return tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", f"{view.title} - {app}"),
        tag("link", rel="icon", href="data:,"),
        tag("link", rel="stylesheet", href=STYLE.address),
        tag("script", src=SCRIPT.address, defer=True),
    )


def _header(app: str, view: View, principal: Principal | None) -> Html:
    if principal is None:
        return tag("header", tag("p", app, class_="app"))
    entries = [
        tag("li", tag("a", text, href=page, aria_current="page" if page == view.page else None))
        for page, text in NAVIGATION
    ]
    return tag(
        "header",
        tag("p", app, class_="app"),
        tag("nav", tag("ul", entries), aria_label="Pages"),
        tag("div", tag("span", principal.name, class_="who"), _logout(principal), class_="account"),
    )


def _logout(principal: Principal) -> Html:
    if principal.by != "cookie":
        return NOTHING
    return tag("form", tag("button", "Log out", class_="quiet"), method="post", action="logout")


def _live(view: View, mark: str | None) -> Html:
    if not view.every:
        return view.live
    switch = tag(
        "p",
        tag(
            "label",
            tag("input", type="checkbox", id="live-switch", checked=True, autocomplete="off"),
            f" Update every {view.every} seconds",
        ),
        " ",
        tag("span", role="status", id="live-status", class_="muted"),
        class_="live-switch",
        hidden=True,
    )
    return tag("div", switch, tag("div", view.live, id="live", data_every=view.every, data_mark=mark))


def breadcrumb(text: str, page: str, /, **query: str) -> Html:
    return tag("p", Html("&larr; "), link(text, page, **query), class_="breadcrumb")
