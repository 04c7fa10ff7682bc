"""The library's loggers: a handler, filter or formatter that raises does not reach the code that logs, and no line is
longer than a log can take."""

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
"""Characters of a message, a traceback or another text in a line of the library; the middle of longer ones is cut."""


def shortened(text: str) -> str:
    """`text`, or its beginning and end with the number of characters that were cut between them."""
    if len(text) <= MAX_TEXT:
        return text
    half = MAX_TEXT // 2
    return f"{text[:half]} [{len(text) - 2 * half:,} characters cut] {text[-half:]}"


class _Guarded(logging.Logger):
    def __setattr__(self, name: str, value: Any) -> None:
        # `dictConfig` disables every logger that it does not name. A level is the way to silence these.
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
            super()._log(level, msg, args, exc_info, extra, stack_info, stacklevel + 1)  # past this method
        except Exception as error:  # a line that is lost must not decide what becomes of a task
            _report(self.name, error)

    def handle(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.WARNING:
            _shorten(record)
        super().handle(record)


def _shorten(record: logging.LogRecord) -> None:
    """Exceptions of tasks are quoted in messages, fields and tracebacks, and may have any length."""
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
