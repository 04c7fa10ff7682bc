"""The library's loggers: errors of handlers, filters and formatters do not reach the logging code; long lines are cut."""

from __future__ import annotations

import logging
import sys
import traceback
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

MAX_TEXT = 16_384
"""Most characters of a message, a traceback or another text in a log line. Longer ones lose their middle."""


def shortened(text: str) -> str:
    """The text, or its beginning and end with the number of characters cut between them."""
    if len(text) <= MAX_TEXT:
        return text
    half = MAX_TEXT // 2
    return f"{text[:half]} [{len(text) - 2 * half:,} characters cut] {text[-half:]}"


class _Guarded(logging.Logger):
    def __setattr__(self, name: str, value: Any) -> None:
        # `dictConfig` disables every logger that it does not name. These can be silenced by their level.
        super().__setattr__(name, False if name == "disabled" else value)

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
            super()._log(level, msg, args, exc_info, extra, stack_info, stacklevel + 1)  # skip this method
        except Exception as error:  # a lost log line must not change the outcome of a task
            _report(self.name, error)

    def handle(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.WARNING:
            _shorten(record)
        super().handle(record)


def _shorten(record: logging.LogRecord) -> None:
    """Cut long texts: exceptions of tasks are part of messages, fields and tracebacks, and may have any length."""
    message = record.getMessage()
    if len(message) > MAX_TEXT:
        record.msg, record.args = shortened(message), ()
    for name, value in vars(record).items():
        if type(value) is str and len(value) > MAX_TEXT:
            setattr(record, name, shortened(value))
    if record.exc_info and record.exc_info[1] is not None:
        trace = "".join(traceback.format_exception(record.exc_info[1])).rstrip()
        if len(trace) > MAX_TEXT:
            record.exc_info, record.exc_text = None, shortened(trace)


def guard_loggers() -> None:
    """Catch errors of handlers in the library's loggers, whatever class the application uses for loggers."""
    for name in NAMES:
        logger = logging.getLogger(f"taskq_sls.{name}")
        kind = type(logger)
        if not issubclass(kind, _Guarded):
            logger.__class__ = _Guarded if kind is logging.Logger else type(kind.__name__, (_Guarded, kind), {})


def _report(name: str, error: Exception) -> None:
    """Write to stderr, unless it is closed, as `logging` does for handlers that fail."""
    if not logging.raiseExceptions:
        return
    try:
        sys.stderr.write(f"taskq: a log handler raised {type(error).__name__}: {error} (logger {name})\n")
    except Exception:
        return
