"""Policies beside the engine, one a file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .base import Observer as Observer
from .log_lines import LogLines
from .overlap import ScheduleOverlap
from .unique_keys import UniqueKeys

if TYPE_CHECKING:
    from ...metrics.meter import Meter


def observers(meter: Meter | None) -> list[Observer]:
    """The observers of every engine. A new policy is registered here.

    Args:
        meter: counts the attempts, or None.
    """
    registered: list[Observer] = [LogLines(), UniqueKeys(), ScheduleOverlap()]
    if meter is not None:
        from .metrics import AttemptMetrics  # an app that counts nothing does not need it

        registered.append(AttemptMetrics(meter))
    return registered
