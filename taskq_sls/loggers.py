"""The library's loggers: a handler, filter or formatter that raises does not reach the code that logs."""

from __future__ import annotations

import logging
import sys
from typing import Any

NAMES = (
    "delivery",
    "dispatch",
    "events",
    "metrics",
    "offline",
    "operations",
    "results",
    "scheduler",
    "serverless",
    "supervisor",
    "task",
    "web",
    "worker",
)
"""The loggers below ``taskq_sls``."""


class _Guarded(logging.Logger):
    def _log(
        self,
        level: int,
        msg: object,
        args: Any,
        exc_info: Any = None,
        extra: Any = None,
        stack_info: bool = False,
        stacklevel: int = 1,
    ) -> None:
        try:
            super()._log(level, msg, args, exc_info, extra, stack_info, stacklevel + 1)  # past this method
        except Exception as error:  # a line that is lost must not decide what becomes of a task
            _report(self.name, error)


def guard_loggers() -> None:
    """Let no fault of a handler out of the library's loggers, of whatever class the application makes loggers."""
    for name in NAMES:
        logger = logging.getLogger(f"taskq_sls.{name}")
        kind = type(logger)
        if not issubclass(kind, _Guarded):
            logger.__class__ = _Guarded if kind is logging.Logger else type(kind.__name__, (_Guarded, kind), {})


def _report(name: str, error: Exception) -> None:
    """As `logging` does for handlers that fail by its rules; where stderr is closed, nobody can read it."""
    if not logging.raiseExceptions:
        return
    try:
        sys.stderr.write(f"taskq: a log handler raised {type(error).__name__}: {error} (logger {name})\n")
    except Exception:
        return
