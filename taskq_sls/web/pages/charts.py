"""Charts as SVG, drawn on the server, each with a table of its figures for screen readers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from .components import table
from .html import NOTHING, Html, tag

WIDTH, HEIGHT = 600, 160
"""Size in SVG units; browsers scale it to the page."""

LEFT, RIGHT, TOP, BOTTOM = 46, 6, 8, 20
"""Margins for the axes."""

MAX_TABLE_ROWS = 120
"""Rows of a chart's table, the latest ones."""

Format = Callable[[float], str]


class Line(NamedTuple):
    """Figures over time; None if there is no figure. `style` is a class of the style sheet."""

    name: str
    style: str
    values: Sequence[float | None]


def count(value: float) -> str:
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if value >= size:
            return f"{value / (1e3 if letter == 'k' else size):.3g}{letter}"
    return f"{value:.3g}" if value < 1000 else f"{value:,.0f}"


def chart(title: str, times: Sequence[float], lines: Sequence[Line], *, step: float, form: Format = count) -> Html:
    """Return a chart of lines over time; its scale begins at 0.

    Args:
        times: epoch seconds of the figures, evenly spaced.
        step: seconds between them.
        form: formats a figure.
    """
    top = _round_up(max((value for line in lines for value in line.values if value is not None), default=0.0))
    name = "chart-" + "".join(letter if letter.isalnum() else "-" for letter in title.lower())
    drawn = tag(
        "svg",
        tag("title", title, id=f"{name}-title"),
        tag("desc", _described(times, lines, form), id=f"{name}-text"),
        _grid(times, top, form),
        [_drawn(line, top, len(times)) for line in lines],
        viewbox=f"0 0 {WIDTH} {HEIGHT}",
        role="img",
        aria_labelledby=f"{name}-title {name}-text",
        class_="chart",
    )
    legend = tag(
        "ul", [tag("li", tag("span", class_=f"swatch {line.style}"), line.name) for line in lines], class_="legend"
    )
    figures = tag("details", tag("summary", f"{title}: figures"), _table(title, times, lines, form))
    return tag("figure", tag("figcaption", f"{title}, each {_step(step)}"), drawn, legend, figures)


def bar(share: float, style: str) -> Html:
    """Return a bar of 0 to 1, hidden from screen readers, which read the figure beside it."""
    width = round(100 * min(1.0, max(0.0, share)), 1)
    return tag(
        "svg",
        tag("rect", width=width, height=8, class_=style),
        viewbox="0 0 100 8",
        class_="bar",
        aria_hidden="true",
        preserveAspectRatio="none",
    )


def _described(times: Sequence[float], lines: Sequence[Line], form: Format) -> str:
    if not times:
        return "No figures."
    parts = []
    for line in lines:
        known = [value for value in line.values if value is not None]
        parts.append(
            f"{line.name}: maximum {form(max(known))}, last {form(known[-1])}" if known else f"{line.name}: no figures"
        )
    return f"From {_clock(times[0])} to {_clock(times[-1])} UTC. {'; '.join(parts)}."


def _grid(times: Sequence[float], top: float, form: Format) -> Html:
    parts = []
    for part in (0.0, 0.5, 1.0):
        y = _y(part * top, top)
        parts.append(tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y, class_="grid"))
        parts.append(tag("text", form(part * top), x=LEFT - 5, y=y + 3, text_anchor="end"))
    for place, anchor in ((0, "start"), (len(times) // 2, "middle"), (len(times) - 1, "end")):
        if times:
            x = _x(place, len(times))
            parts.append(tag("text", _clock(times[place]), x=x, y=HEIGHT - 5, text_anchor=anchor))
    return tag("g", parts, aria_hidden="true")


def _drawn(line: Line, top: float, total: int) -> Html:
    """Return a line with gaps for missing figures, and a dot for a figure between two gaps."""
    pieces: list[list[str]] = [[]]
    for place, value in enumerate(line.values):
        if value is None:
            pieces.append([])
        else:
            pieces[-1].append(f"{_x(place, total):.1f},{_y(value, top):.1f}")
    drawn = []
    for piece in filter(None, pieces):
        if len(piece) == 1:
            x, y = piece[0].split(",")
            drawn.append(tag("circle", cx=x, cy=y, r=2.5, class_=f"dot {line.style}"))
        else:
            drawn.append(tag("polyline", points=" ".join(piece), class_=f"line {line.style}"))
    return tag("g", drawn) if drawn else NOTHING


def _table(title: str, times: Sequence[float], lines: Sequence[Line], form: Format) -> Html:
    """Return the figures, latest first."""
    places = range(len(times) - 1, max(-1, len(times) - 1 - MAX_TABLE_ROWS), -1)
    rows = [
        (_clock(times[place]), *("-" if (value := line.values[place]) is None else form(value) for line in lines))
        for place in places
        if any(line.values[place] for line in lines)
    ]
    return table(title, ("Time (UTC)", *(line.name for line in lines)), rows, empty="No figures.")


def _x(place: int, total: int) -> float:
    return round(LEFT + (WIDTH - LEFT - RIGHT) * (place / max(1, total - 1)), 1)


def _y(value: float, top: float) -> float:
    return round(HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * value / top, 1)


def _round_up(value: float) -> float:
    """Return the end of an axis: 1, 2 or 5 times a power of ten, at least `value`."""
    if value <= 0:
        return 1.0
    size = 1.0
    while size < value:
        size *= 10
    while size >= value:
        size /= 10
    return next(size * step for step in (1, 2, 5, 10) if size * step >= value)


def _clock(time: float) -> str:
    return datetime.fromtimestamp(time, UTC).strftime("%d %b %H:%M")


def _step(seconds: float) -> str:
    for size, word in ((86_400, "day"), (3_600, "hour"), (60, "minute")):
        if seconds >= size:
            number = round(seconds / size)
            return word if number == 1 else f"{number} {word}s"
    return f"{seconds:.0f} seconds"
