"""Times as callers give them."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AwareDatetime, BeforeValidator, Field


def _written(value: Any) -> Any:
    # pydantic would take a number for seconds of the epoch, and so the year 2026 for a moment of 1970.
    if isinstance(value, int | float) or (isinstance(value, str) and value.replace(".", "").strip("+- ").isdigit()):
        raise ValueError("a time is ISO 8601 with its zone, such as 2026-11-22T00:00:00Z")
    return value


Timestamp = Annotated[AwareDatetime, Field(strict=False), BeforeValidator(_written)]
"""A time, ISO 8601 with its zone."""
