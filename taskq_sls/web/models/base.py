"""Types that several models share."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field

TaskName = Field(examples=["shop.tasks:resize"], max_length=200)


class RequestBody(BaseModel):
    """The body of a request. Unknown fields are refused."""

    # Strict, as the schema says: false is not a number, and 0 not a boolean.
    model_config = ConfigDict(extra="forbid", strict=True)


def _check_text(value: Any) -> Any:
    # pydantic would take a number for seconds of the epoch: 2026 would be a time in 1970.
    if isinstance(value, int | float) or (isinstance(value, str) and value.replace(".", "").strip("+- ").isdigit()):
        raise ValueError("a time is ISO 8601 with its zone, such as 2026-11-22T00:00:00Z")
    return value


Timestamp = Annotated[AwareDatetime, Field(strict=False), BeforeValidator(_check_text)]
"""A time in a request: ISO 8601 with its zone."""
