"""Schedules of tasks: declared in code, and made while the program runs."""

from __future__ import annotations

from .declared import DeclaredSchedule, adeclared_specs, declared_specs
from .handle import ScheduleHandle
from .value import Schedule

__all__ = ["DeclaredSchedule", "Schedule", "ScheduleHandle", "adeclared_specs", "declared_specs"]
