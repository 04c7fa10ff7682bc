"""The demo's results as text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .survey import Survey

ROWS = 10
"""Rows of each ranking."""


@dataclass
class _Total:
    name: str
    packages: int = 0
    files: int = 0
    lines: int = 0
    functions: int = 0
    unparsed: int = 0

    def add(self, survey: Survey) -> None:
        self.packages += 1
        self.files += survey.files
        self.lines += survey.lines
        self.functions += survey.functions
        self.unparsed += survey.unparsed


def report(surveys: Sequence[Survey], seconds: float) -> str:
    """Totals, the largest packages with their sub-packages, and the longest functions.

    Args:
        seconds: how long all of it took.
    """
    everything = _Total("total")
    by_package: dict[str, _Total] = {}
    for survey in surveys:
        name = survey.package.partition(".")[0]
        everything.add(survey)
        by_package.setdefault(name, _Total(name)).add(survey)
    largest = sorted(by_package.values(), key=lambda total: (-total.lines, total.name))[:ROWS]
    longest = sorted(
        (survey.longest for survey in surveys if survey.longest),
        key=lambda function: (-function.lines, function.place),
    )[:ROWS]
    parts = [
        "",
        *_table(
            ("package", "files", "lines", "functions"),
            [(total.name, total.files, total.lines, total.functions) for total in [*largest, everything]],
        ),
        "",
        *_table(
            ("longest function", "lines", "place"),
            [(function.name, function.lines, function.place) for function in longest],
        ),
        "",
        f"{len(surveys)} tasks, {len(surveys)} results, in {seconds:.1f} s",
    ]
    if everything.unparsed:
        parts.append(f"{everything.unparsed} files could not be parsed; their lines are counted, their functions not")
    return "\n".join(parts)


def _table(head: Sequence[str], rows: Iterable[Sequence[str | int]]) -> list[str]:
    """Aligned columns, numbers to the right."""
    rows = list(rows)
    cells = [list(head), *([f"{value:,}" if isinstance(value, int) else value for value in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    right = [bool(rows) and isinstance(rows[0][column], int) for column in range(len(head))]
    lines = [
        "  ".join(
            cell.rjust(width) if to_right else cell.ljust(width)
            for cell, width, to_right in zip(row, widths, right, strict=True)
        ).rstrip()
        for row in cells
    ]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return lines
