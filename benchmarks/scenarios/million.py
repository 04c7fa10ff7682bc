"""A backlog of a million tasks against one of ten thousand. It takes ten minutes, so it runs only if named."""

from __future__ import annotations

from ..endpoints import Endpoints
from ..table import Row
from .growth import backlog


def rows(endpoints: Endpoints, rounds: int) -> list[Row]:
    """Peak memory, and processor time per task; one round only.

    The cost has no target, because it includes the endpoint's work with a million messages.
    """
    return backlog(endpoints, 1, 10_000, 1_000_000, None)
