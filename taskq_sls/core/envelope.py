"""Limits of an envelope's fields. A message within them can be recorded, encoded again and shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MAX_LABELS_BYTES = 4_096
"""Most bytes of all labels of a task, names and values, in UTF-8. Labels share the 400 KB of an item with the result.

Checked at enqueue. Messages and schedules of versions without this limit are still read and passed on."""

MAX_RUN = 100_000
"""Highest run. Each redrive adds one, so no real message comes near it."""

MAX_TIME = 253_402_300_800
"""The year 10000 in epoch seconds: upper bound of the times and counters in an envelope."""

MIN_TIME = 1e-6
"""Smallest time above 0, in seconds: DynamoDB refuses numbers below 1e-130."""

MAX_TEXT: Mapping[str, int] = {"task": 200, "parent": 100, "unique_key": 200, "payload": 1_024}
"""Most characters of fields that are parts of keys, or are recorded."""


def label_problem(labels: Mapping[Any, Any], most: int | None = MAX_LABELS_BYTES) -> str | None:
    """The reason why labels cannot be sent or recorded, or None. It contains no values: some may be redacted.

    Args:
        most: limit of their bytes; None for messages that are read or passed on.
    """
    size = 0
    for name, value in labels.items():
        if not isinstance(name, str) or not isinstance(value, str):
            kind = type(value if isinstance(name, str) else name).__name__
            return f"labels must map text to text; {name!r:.80} or its value is of type {kind}"
        if not name:
            return "a label has an empty name; give it one"
        try:
            size += _utf8_bytes(name) + _utf8_bytes(value)
        except UnicodeEncodeError:
            return f"the label {name!r:.80} has half a surrogate pair, which UTF-8 cannot encode; clean the text"
    if most is None or size <= most:
        return None
    return f"labels come to {size:,} bytes, above the limit of {most:,}; put large values into the arguments"


def time_problem(value: float) -> str | None:
    """The reason why a time or counter cannot be recorded, or None."""
    if value == 0 or MIN_TIME <= value < MAX_TIME:
        return None
    return f"neither 0 nor from {MIN_TIME:f} to {MAX_TIME - 1}"


def _utf8_bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())
