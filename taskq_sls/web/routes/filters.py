"""Filters that several routes take."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ...client.app import App
from ...core.redaction import is_redacted
from ..problems import ProblemError


def read_labels(app: App, given: Sequence[str]) -> dict[str, str]:
    """Labels from ``name=value``.

    Raises:
        ProblemError: one is not of that form, or its values are hidden.
    """
    labels = {}
    for label in given:
        name, equals, value = label.partition("=")
        if not equals or not name:
            raise ProblemError("invalid", f"label {label!r:.80} must be name=value")
        labels[name] = value
    check_shown(app, labels)
    return labels


def check_shown(app: App, labels: Iterable[str]) -> None:
    """Refuse to look for labels of these names.

    Raises:
        ProblemError: the values of one are hidden: who may not see them may not guess either.
    """
    for name in labels:
        if is_redacted(name, app.log_redaction):
            raise ProblemError("invalid", f"label {name!r:.80} is hidden: nothing is found by it")
