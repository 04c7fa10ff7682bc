"""Filters that several routes take."""

from __future__ import annotations

from collections.abc import Sequence

from ..problems import ProblemError


def read_labels(given: Sequence[str]) -> dict[str, str]:
    """Labels from ``name=value``.

    Raises:
        ProblemError: one is not of that form.
    """
    labels = {}
    for one in given:
        name, equals, value = one.partition("=")
        if not equals or not name:
            raise ProblemError("invalid", f"label {one!r:.80} must be name=value")
        labels[name] = value
    return labels
