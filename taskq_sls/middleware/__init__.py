"""Policies around dispatch and execution, one small file each."""

from .base import DispatchNext, ExecuteNext, Middleware
from .logging import StructuredLogging
from .time_limit import TimeLimit

__all__ = ["DispatchNext", "ExecuteNext", "Middleware", "StructuredLogging", "TimeLimit"]
