"""Elements that several pages use: tables, lists, times, forms, alerts, links to the next page."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from .html import NOTHING, Attribute, Child, Given, Html, link, tag
from .search import SearchResult

MAX_JSON_CHARACTERS = 200_000
"""Characters of one value on a page."""


def table(caption: str, header: Sequence[Child], rows: Iterable[Sequence[Child]], *, empty: str = "None.") -> Html:
    """Return a table. On a phone each row becomes a card, and its cells repeat their headings."""
    # With roles, as some browsers drop those of tables with another layout.
    body = [
        tag(
            "tr",
            [tag("td", cell, role="cell", data_label=_text(name)) for name, cell in zip(header, row, strict=True)],
            role="row",
        )
        for row in rows
    ]
    if not body:
        return tag("p", empty, class_="muted")
    heads = tag("tr", [tag("th", name, scope="col", role="columnheader") for name in header], role="row")
    return tag(
        "table",
        tag("caption", caption),
        tag("thead", heads, role="rowgroup"),
        tag("tbody", body, role="rowgroup"),
        role="table",
    )


def definition_list(pairs: Iterable[tuple[str, Child]]) -> Html:
    """Return names and values; entries without a value are left out."""
    shown = [(name, value) for name, value in pairs if value not in (None, "", NOTHING)]
    return tag("dl", [tag("div", tag("dt", name), tag("dd", value)) for name, value in shown], class_="definitions")


def section(heading: str, *content: Child, id: str | None = None) -> Html:
    return tag("section", tag("h2", heading), content, id=id)


def time(moment: datetime | float | None, *, absent: str = "-") -> Html:
    """Return a time in UTC; the script adds the reader's own time as a hint."""
    if moment is None:
        return tag("span", absent, class_="muted")
    if not isinstance(moment, datetime):
        moment = datetime.fromtimestamp(moment, UTC)
    moment = moment.astimezone(UTC)
    return tag("time", moment.strftime("%Y-%m-%d %H:%M:%S"), datetime=moment.strftime("%Y-%m-%dT%H:%M:%SZ"))


def duration(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    if seconds < 0.0005:
        return "0 s"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"


def status(state: str, *, stalled: bool = False) -> Html:
    return tag("span", state, " (stalled)" if stalled else None, class_=f"state state-{state.lower()}")


def json_block(value: Any, *, label: str, id: str | None = None) -> Html:
    """Return a JSON value as a block. It can be scrolled by keyboard, so it needs a label."""
    text = value if isinstance(value, str) and id == "traceback" else json.dumps(value, indent=2, ensure_ascii=False)
    if len(text) > MAX_JSON_CHARACTERS:
        text = f"{text[:MAX_JSON_CHARACTERS]}\n... {len(text) - MAX_JSON_CHARACTERS:,} more characters: see the API or `taskq tasks show`"
    return tag("pre", text, tabindex="0", role="region", aria_label=label, id=id)


def error_block(type: str | None, message: str | None, traceback: str | None) -> Html:
    text = tag("p", tag("strong", type), f": {message or ''}", class_="error")
    return section("Error", text, json_block(traceback, label="Traceback", id="traceback") if traceback else NOTHING)


def labels(given: Mapping[str, str]) -> Html:
    if not given:
        return NOTHING
    return tag("span", [tag("code", f"{name}={value}", class_="label") for name, value in given.items()])


def action(page: str, text: str, fields: Mapping[str, Child], *, style: str | None = None, name: str = "") -> Html:
    """Return a form with one button.

    Args:
        name: of the changed thing, for screen readers, which read the button without its row.
    """
    hidden = [hidden_input(key, _text(value)) for key, value in fields.items()]
    button = tag("button", text, tag("span", f" {name}", class_="unseen") if name else None, class_=style)
    return tag("form", hidden, button, method="post", action=page, class_="inline")


def hidden_input(name: str, value: str) -> Html:
    return tag("input", type="hidden", name=name, value=value)


def field(
    text: str, name: str, value: str = "", *, hint: str | None = None, number: int = 1, **attributes: Attribute
) -> Html:
    """Return a labelled input; `number` counts the inputs with the same name."""
    id = f"field-{name}" if number == 1 else f"field-{name}-{number}"
    control = tag("input", id=id, name=name, value=value, aria_describedby=_hint_id(id, hint), **attributes)
    return _labelled(text, id, control, hint)


def area(text: str, name: str, value: str = "", *, hint: str | None = None, rows: int = 6) -> Html:
    id = f"field-{name}"
    # Browsers drop the first line break of a text area.
    control = tag(
        "textarea",
        f"\n{value}",
        id=id,
        name=name,
        rows=rows,
        spellcheck="false",
        aria_describedby=_hint_id(id, hint),
    )
    return _labelled(text, id, control, hint, style="field wide")


def choice(text: str, name: str, options: Sequence[tuple[str, str]], chosen: str) -> Html:
    entries = [tag("option", shown, value=value, selected=value == chosen) for value, shown in options]
    return _labelled(text, f"field-{name}", tag("select", entries, id=f"field-{name}", name=name))


def _labelled(text: str, id: str, control: Html, hint: str | None = None, *, style: str = "field") -> Html:
    small = tag("small", hint, id=_hint_id(id, hint)) if hint else None
    return tag("p", tag("label", text, for_=id), control, small, class_=style)


def _hint_id(id: str, hint: str | None) -> str | None:
    return f"{id}-hint" if hint else None


def alert(text: Child, *, bad: bool = False) -> Html:
    """Return a message that screen readers announce at once."""
    return tag("p", text, role="alert" if bad else "status", class_="alert bad" if bad else "alert")


def _text(child: Child) -> str:
    return "" if child is None else str(child)


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
