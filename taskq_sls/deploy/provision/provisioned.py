"""The results of provisioning."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Literal, NamedTuple, TypeVar

from ...aws.port import DENIED_CODES
from ...errors import AwsError


class Provisioned(NamedTuple):
    """One resource.

    Attributes:
        kind: ``queue``, ``table``, ``bucket`` or ``schedule group``.
        name: its physical name.
        action: ``created``, ``updated``, ...; ``exists`` means that nothing had to change.
        detail: the attributes that were set or changed, in words.
        missing: attributes that an app can do without and that the endpoint refused, each with the reason.
    """

    kind: Literal["queue", "table", "bucket", "schedule group"]
    name: str
    action: Literal["created", "exists", "updated"]
    detail: str = ""
    missing: tuple[str, ...] = ()


T = TypeVar("T")

NOT_IMPLEMENTED = 501
"""HTTP status with which S3's imitations answer operations that they do not have."""


async def unless_refused(missing: list[str], what: str, step: Awaitable[T]) -> T | None:
    """Await `step`. If the endpoint refuses it, add the name `what` and the reason to `missing` and return None.

    Raises:
        AwsError: the fault is one that may pass, or rights are missing.
    """
    try:
        return await step
    except AwsError as error:
        if not is_refused(error):
            raise
        missing.append(f"{what} ({error.code}: {error.message[:200]})")
        return None


def is_refused(error: AwsError) -> bool:
    """True if the endpoint does not take a request, however often and by whomever it is made."""
    if error.status == NOT_IMPLEMENTED:
        return True
    return 400 <= error.status < 500 and not error.transient and error.code not in DENIED_CODES
