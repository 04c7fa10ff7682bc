"""The messages between a parent and its child: pickled tuples of plain values, each after its length."""

from __future__ import annotations

import enum
import pickle
import struct
from typing import Any

_HEADER = struct.Struct("!4sQ")

_MARK = b"\xf7tq1"
"""Begins every message, so that other bytes in between are noticed: code may write to any descriptor that it finds."""

MAX_BYTES = 1 << 30
"""Largest size of one message, in bytes."""


class MessageKind(enum.Enum):
    """The first field of every message. Parent and child are always of the same version."""

    # To the child.
    RUN = enum.auto()
    STOP_REASON = enum.auto()
    END = enum.auto()
    # To the parent. All but the first three end a task.
    BEGAN = enum.auto()
    PROGRESS = enum.auto()
    LOG = enum.auto()
    RETURNED = enum.auto()
    RESULT_REJECTED = enum.auto()
    FAILED = enum.auto()
    INTERRUPTED = enum.auto()
    # Made by the parent: the process ended, or was killed because it sent bytes that do not belong to its task.
    CRASHED = enum.auto()
    GARBLED = enum.auto()


class FrameError(Exception):
    """The bytes are not a message, or the message is too large."""


def frame(value: Any) -> bytes:
    """The bytes of one message.

    Raises:
        FrameError: it is larger than `MAX_BYTES`.
    """
    body = pickle.dumps(value)
    if len(body) > MAX_BYTES:
        raise FrameError(
            f"a message of {len(body):,} bytes is too large to pass between a worker and its child process; the limit "
            f"is {MAX_BYTES:,}. Pass a reference to the data (a file, an object in S3) instead"
        )
    return _HEADER.pack(_MARK, len(body)) + body


class FrameReader:
    """Assembles messages from the bytes that arrive.

    Args:
        size: number of fields of a message.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._data = bytearray()

    def feed(self, data: bytes) -> None:
        self._data += data

    def next(self) -> Any:
        """The next whole message, or None.

        Raises:
            FrameError: the bytes are not a message.
        """
        if len(self._data) < _HEADER.size:
            return None
        mark, length = _HEADER.unpack_from(self._data)
        if mark != _MARK or length > MAX_BYTES:
            raise FrameError(f"bytes that are no message: {bytes(self._data[: _HEADER.size])!r}")
        end = _HEADER.size + length
        if len(self._data) < end:
            return None
        try:
            value = pickle.loads(self._data[_HEADER.size : end])
        except Exception as error:
            raise FrameError(f"a message that cannot be read: {type(error).__name__}: {error}") from error
        if not isinstance(value, tuple) or len(value) != self._size:
            raise FrameError(f"a message of another form: {type(value).__name__}")
        del self._data[:end]
        return value
