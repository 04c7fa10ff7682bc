"""What all pages have around them."""

from __future__ import annotations

from ..auth import Principal
from . import assets
from .html import NOTHING, Html, link, tag
from .view import View

NAVIGATION = (
    ("./", "Overview"),
    ("tasks", "Tasks"),
    ("schedules", "Schedules"),
    ("dead-letters", "Dead letters"),
)


def document(app: str, view: View, principal: Principal | None, mark: str | None = None) -> Html:
    """A whole page.

    Args:
        mark: entity tag of the part that changes.
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
        tag("link", rel="stylesheet", href=assets.STYLE.address),
        tag("script", src=assets.SCRIPT.address, defer=True),
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


def crumb(text: str, page: str, /, **query: str) -> Html:
    """The way back to the page that led here."""
    return tag("p", Html("&larr; "), link(text, page, **query), class_="crumb")
