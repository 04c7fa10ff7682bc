"""What provisioning answers."""

from __future__ import annotations

from typing import Literal, NamedTuple


class Provisioned(NamedTuple):
    """One resource.

    Attributes:
        kind: ``queue``, ``table``, ``bucket`` or ``schedule group``.
        name: its physical name.
        action: what was done; ``exists`` means nothing had to be.
        detail: what was set or changed, in words.
        missing: attributes that an app can do without and that the endpoint refused, each with the reason.
    """

    kind: Literal["queue", "table", "bucket", "schedule group"]
    name: str
    action: Literal["created", "exists", "updated"]
    detail: str = ""
    missing: tuple[str, ...] = ()
