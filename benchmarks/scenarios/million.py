"""A backlog of a million tasks against one of ten thousand. Ten minutes by itself, so it runs only where it is named."""

from __future__ import annotations

from ..endpoints import Endpoints
from ..table import Row
from .growth import backlog


def rows(endpoints: Endpoints, rounds: int) -> list[Row]:
    """Peak memory, and processor time per task; once, however many rounds the others run.

    The cost has no target: what the endpoint does with a million messages is part of it.
    """
    return backlog(endpoints, 1, 10_000, 1_000_000, None)
