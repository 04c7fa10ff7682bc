"""The comparison as a picture: bars of processor time per task, on a logarithmic scale."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from .table import Row

WIDTH, LEFT, RIGHT, LINE, BAR = 860, 300, 90, 24, 15
OURS, OTHERS = "#0f766e", "#94a3b8"
PANELS = (
    ("Sending, microseconds of processor time per task", "enqueue_many"),
    ("Working, no results kept", "worker, no results"),
    ("Working, results in DynamoDB", "worker, recording"),
)


def draw(rows: Sequence[Row]) -> str:
    """An SVG that reads on light and dark pages."""
    parts: list[str] = []
    top = 34
    scale = _scale([row for row in rows for _, prefix in PANELS if row.what.startswith(prefix)])
    for title, prefix in PANELS:
        chosen = [row for row in rows if row.what.startswith(prefix)]
        if not chosen:
            continue
        parts.append(f'<text class="head" x="12" y="{top}">{escape(title)}</text>')
        top += 14
        for name, value, ours in _bars(chosen):
            length = (WIDTH - LEFT - RIGHT) * scale(value)
            fill = OURS if ours else OTHERS
            parts.append(
                f'<text x="{LEFT - 8}" y="{top + 12}" text-anchor="end">{escape(name)}</text>'
                f'<rect x="{LEFT}" y="{top}" width="{length:.1f}" height="{BAR}" rx="2" fill="{fill}"/>'
                f'<text x="{LEFT + length + 6:.1f}" y="{top + 12}">{value:,.0f}</text>'
            )
            top += LINE
        top += 24
    style = (
        "text{font:12px system-ui,sans-serif;fill:#334155}.head{font-weight:600;font-size:13px}"
        "@media(prefers-color-scheme:dark){text{fill:#e2e8f0}}"
    )
    title = "Processor time per task, side by side with the alternatives (logarithmic scale, shorter is better)"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top}" role="img"><title>{title}</title>'
        f"<style>{style}</style>{''.join(parts)}"
        f'<text x="12" y="{top - 8}">Logarithmic scale, shorter is better. benchmarks/results/latest.md has all.</text>'
        "</svg>\n"
    )


def _bars(rows: Sequence[Row]) -> list[tuple[str, float, bool]]:
    bars = {row.what: (f"taskq_sls: {row.what}", row.ours.median, True) for row in rows}
    bars |= {row.against: (row.against, row.theirs.median, False) for row in rows if row.theirs is not None}
    return sorted(bars.values(), key=lambda bar: bar[1])


def _scale(rows: Sequence[Row]):  # type: ignore[no-untyped-def]  # a plain function of a figure
    values = [
        value for row in rows for value in (row.ours.median, row.theirs.median if row.theirs else row.ours.median)
    ]
    low, high = math.log(min(values) / 2), math.log(max(values))
    return lambda value: (math.log(value) - low) / (high - low)
