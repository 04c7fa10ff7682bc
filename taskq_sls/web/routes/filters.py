"""Label filters."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ...client.app import App
from ...core.redaction import MASK, is_redacted
from ..problems import ProblemError

MASKED = f"a value is {MASK!r}, the mask of a redacted one: give the real value"


def read_labels(app: App, given: Sequence[str]) -> dict[str, str]:
    """Read labels of the form ``name=value``.

    Raises:
        ProblemError: a label has another form, or its values are redacted.
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
    """Refuse filters by redacted labels: a caller could guess their values.

    Raises:
        ProblemError: the values of a label are redacted.
    """
    for name in labels:
        if is_redacted(name, app.log_redaction):
            raise ProblemError("invalid", f"label {name!r:.80} is redacted, so it cannot be a filter")
