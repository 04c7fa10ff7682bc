"""Sends log records from a child to its parent, whose handlers write them."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Callable
from typing import Any

from ...logs import CurrentTask

_PLAIN = (str, int, float, bool, type(None))

Levels = dict[str, int]


def levels() -> Levels:
    """The levels of this process's loggers, by name; that of the root logger is under ""."""
    found = {"": max(logging.root.level, logging.root.manager.disable)}
    for name, logger in list(logging.root.manager.loggerDict.items()):
        if isinstance(logger, logging.Logger) and logger.level:
            found[name] = logger.level
    return found


def forward(levels: Levels, send: Callable[[bytes], None]) -> Forwarder:
    """In the child: send every record that the parent would write, and write none here. Returns the handler for that."""
    handler = Forwarder(levels, send)
    handler.addFilter(CurrentTask())
    forward_only(handler)
    return handler


def forward_only(handler: Forwarder) -> None:
    """In the child: replace all handlers by `handler`, also those that a module has set up."""
    for logger in list(logging.root.manager.loggerDict.values()):
        if isinstance(logger, logging.Logger):
            logger.handlers, logger.propagate = [], True
    logging.root.handlers = [handler]
    for name, level in handler.levels.items():
        logging.getLogger(name or None).setLevel(level)


class Forwarder(logging.Handler):
    """Sends records to the parent.

    Attributes:
        levels: of the parent's loggers.
    """

    def __init__(self, levels: Levels, send: Callable[[bytes], None]) -> None:
        super().__init__()
        self.levels = levels
        self._send = send

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._send(_pack(record))
        except Exception:
            self.handleError(record)


def _pack(record: logging.LogRecord) -> bytes:
    fields: dict[str, Any] = {**vars(record), "msg": record.getMessage(), "args": None, "exc_info": None}
    if record.exc_info and record.exc_info[1] is not None:
        fields["exc_text"] = logging.Formatter().formatException(record.exc_info)
    try:
        packed = pickle.dumps(fields)
        pickle.loads(packed)
    except Exception:
        return pickle.dumps(
            {name: value if isinstance(value, _PLAIN) else str(value) for name, value in fields.items()}
        )
    return packed


def write(packed: bytes) -> None:
    """In the parent: write a record with the handlers of its logger."""
    record = logging.makeLogRecord(pickle.loads(packed))
    logger = logging.getLogger(record.name)
    if logger.isEnabledFor(record.levelno):
        logger.handle(record)
