"""A backlog of a million tasks against one of ten thousand. Ten minutes by itself, so it runs only where it is named."""

from __future__ import annotations

from ..endpoints import Endpoints
from ..table import Row
from .growth import backlog


def rows(endpoints: Endpoints, rounds: int) -> list[Row]:
    """Processor time per task, and peak memory; once, however many rounds the others run."""
    return backlog(endpoints, 1, 10_000, 1_000_000)
