"""Log output of the commands: text in a terminal, JSON everywhere else.

Only the commands call `configure`. A program that embeds the library keeps its own logging, and may use the two
formatters.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, TextIO

from .core.context import running_task
from .core.loggers import shortened
from .core.redaction import Names
from .core.redaction import redact as redacted
from .core.safe_text import escaped
from .errors import ConfigError

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
FORMATS = ("auto", "text", "json", "none")

_NOISY = ("botocore", "boto3", "aiobotocore", "urllib3", "werkzeug", "watchfiles", "asyncio")
"""Libraries that log their internals at INFO."""

_STANDARD = frozenset(logging.LogRecord("", 0, "", 0, "", (), None).__dict__) | {"message", "asctime", "taskName"}
"""The attributes of every log record; all others were given by `extra`."""

_SHOWN = frozenset({"action", "task_id", "task_name", "duration", "delay", "reason", "traceback"})
"""Fields that a line of text shows in another place, or that its message contains."""


def configure(
    level: str | None = None, format: str = "auto", stream: TextIO | None = None, redact: Names = frozenset()
) -> None:
    """Send the log records of the process to one stream. A second call replaces the handlers of the first.

    Args:
        level: ``DEBUG``, ``INFO``, ``WARNING`` or ``ERROR``. Noisy libraries log from WARNING on, unless it is DEBUG.
            Default: INFO; unchanged if no handler is added.
        format: ``text``, ``json``, ``none`` (add no handler) or ``auto``. ``auto`` adds no handler if the root logger
            has one of the program's own; else text for a terminal, and JSON for anything else.
        stream: default stderr.
        redact: names of fields given by ``extra``; their values are masked (``app.log_redaction``).

    Raises:
        ConfigError: level or format is none of these.
    """
    level = level and level.upper()
    if level is not None and level not in LEVELS:
        raise ConfigError(f"log level {level!r}: use one of {', '.join(LEVELS)}")
    if format not in FORMATS:
        raise ConfigError(f"log format {format!r}: use one of {', '.join(FORMATS)}")
    root = logging.getLogger()
    for handler in root.handlers[:]:
        if isinstance(handler, _Handler):
            root.removeHandler(handler)
    has_handler = not all(isinstance(handler, logging.NullHandler) for handler in root.handlers)
    if format == "none" or (format == "auto" and has_handler):
        if level is not None:
            root.setLevel(level)
        return
    root.addHandler(_new_handler(format, stream or sys.stderr, redact))
    root.setLevel(level or "INFO")
    for name in _NOISY:
        logging.getLogger(name).setLevel(logging.NOTSET if level == "DEBUG" else logging.WARNING)


def _new_handler(format: str, stream: TextIO, redact: Names) -> logging.Handler:
    terminal = stream.isatty()
    handler = _Handler(stream)
    if format == "text" or (format == "auto" and terminal):
        handler.setFormatter(TextFormatter(terminal and not os.environ.get("NO_COLOR"), redact))
    else:
        handler.setFormatter(JsonFormatter(redact))
    if format == "auto":
        handler.addFilter(_not_written)
    handler.addFilter(CurrentTask())
    return handler


class _Handler(logging.StreamHandler[TextIO]):
    """The handler that `configure` adds, and removes when it is called again."""

    def handleError(self, record: logging.LogRecord) -> None:
        with contextlib.suppress(Exception):  # a closed stderr must not fail a task that logs
            super().handleError(record)


def _not_written(record: logging.LogRecord) -> bool:
    """True if no handler below the root logger has written the record to stdout or stderr."""
    logger = logging.root.manager.loggerDict.get(record.name)
    while isinstance(logger, logging.Logger) and logger is not logging.root:
        if any(_is_console(handler) and record.levelno >= handler.level for handler in logger.handlers):
            return False
        logger = logger.parent
    return True


def _is_console(handler: logging.Handler) -> bool:
    streams = (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__)
    return isinstance(handler, logging.StreamHandler) and handler.stream in streams


class CurrentTask(logging.Filter):
    """Adds id, name and attempt of the running task to the records that its code logs."""

    def filter(self, record: logging.LogRecord) -> bool:
        context = running_task()
        if context is not None and not hasattr(record, "task_id"):
            record.task_id = context.id
            record.task_name = context.task
            record.attempt = context.attempt
        return True


class JsonFormatter(logging.Formatter):
    """One JSON object per line.

    It has ``timestamp`` (ISO 8601, UTC), ``level``, ``logger``, ``message``, all fields given by ``extra``, and
    ``exception`` with the traceback as text. Values that JSON lacks are written as text.

    Args:
        redact: names of fields; their values are masked.
    """

    def __init__(self, redact: Names = frozenset()) -> None:
        super().__init__()
        self._redact = redact

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "timestamp": _iso(record.created),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **redacted(extras(record), self._redact),
        }
        if trace := _trace(record):
            line["exception"] = trace
        try:
            return json.dumps(line, allow_nan=False)
        except (TypeError, ValueError):
            return json.dumps({name: _plain(value) for name, value in line.items()})


class TextFormatter(logging.Formatter):
    """A line for a terminal: time, level, task name and id, message, and the other fields.

    The id is written in full, to be copied into ``taskq result``.

    Args:
        colour: mark levels and dim the rest with ANSI colours.
        redact: names of fields; their values are masked.
    """

    def __init__(self, colour: bool = False, redact: Names = frozenset()) -> None:
        super().__init__()
        self._colour = colour
        self._redact = redact

    def format(self, record: logging.LogRecord) -> str:
        fields = redacted(extras(record), self._redact)
        parts = [
            self._paint(datetime.fromtimestamp(record.created).strftime("%H:%M:%S"), "2"),
            self._paint(f"{record.levelname:<7}", _COLOURS.get(record.levelno, "0")),
            *self._source(record, fields),
        ]
        rest = escaped(" ".join(f"{name}={_text(value)}" for name, value in fields.items() if name not in _SHOWN))
        if rest:
            parts.append(self._paint(rest, "2"))
        line = " ".join(parts)
        if "traceback" in fields and record.exc_info is None:
            line += f"\n{escaped(str(fields['traceback']).rstrip())}"
        if trace := _trace(record):
            line += f"\n{escaped(trace)}"
        return line

    def _source(self, record: logging.LogRecord, fields: Mapping[str, Any]) -> list[str]:
        """Task name, task id and message; the logger's name too if it is not one of this library."""
        message = escaped(record.getMessage())
        logger = escaped(record.name, one_line=True)
        ours = record.name.partition(".")[0] == "taskq_sls"
        if "task_id" not in fields:
            return [message if ours else f"{logger}: {message}"]
        name = escaped(str(fields.get("task_name", "task")), one_line=True)
        message = message.removeprefix(name).lstrip(": ")
        return [
            name,
            self._paint(escaped(str(fields["task_id"]), one_line=True), "2"),
            message if ours else f"{logger}: {message}",
        ]

    def _paint(self, text: str, code: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self._colour and code != "0" else text


_COLOURS = {
    logging.DEBUG: "2",
    logging.INFO: "32",
    logging.WARNING: "33",
    logging.ERROR: "31",
    logging.CRITICAL: "1;31",
}


def extras(record: logging.LogRecord) -> dict[str, Any]:
    """The fields given by ``extra`` and by `CurrentTask`."""
    return {name: value for name, value in record.__dict__.items() if name not in _STANDARD}


def _trace(record: logging.LogRecord) -> str:
    parts = []
    if record.exc_info and record.exc_info[1] is not None:
        parts.append("".join(traceback.format_exception(record.exc_info[1])).rstrip())
    elif record.exc_text:  # a record from a child process
        parts.append(record.exc_text)
    if record.stack_info:
        parts.append(record.stack_info)
    return shortened("\n".join(parts))


def _iso(epoch: float) -> str:
    return datetime.fromtimestamp(epoch, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _text(value: Any) -> str:
    text = _string(value)
    return json.dumps(text) if not text or any(char.isspace() or char == '"' for char in text) else text


def _plain(value: Any) -> Any:
    """The value if JSON can represent it, else its text."""
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return _string(value)
    return value


def _string(value: Any) -> str:
    try:
        return str(value)
    except Exception as error:
        # A value that cannot be shown must not lose the log line.
        return f"<{type(value).__name__}: str() raised {type(error).__name__}>"
