"""Filters that several routes take."""

from __future__ import annotations

from collections.abc import Sequence

from ...app import TaskQ
from ...redaction import hidden
from ..problems import ProblemError


def read_labels(app: TaskQ, given: Sequence[str]) -> dict[str, str]:
    """Labels from ``name=value``.

    Raises:
        ProblemError: one is not of that form, or its values are hidden: who may not see them may not guess either.
    """
    labels = {}
    for one in given:
        name, equals, value = one.partition("=")
        if not equals or not name:
            raise ProblemError("invalid", f"label {one!r:.80} must be name=value")
        if hidden(name, app.log_redaction):
            raise ProblemError("invalid", f"label {name!r:.80} is hidden: nothing is found by it")
        labels[name] = value
    return labels
