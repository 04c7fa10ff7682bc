"""What a parent and its child say to each other: pickled tuples of plain values, each behind its length."""

from __future__ import annotations

import pickle
import struct
from typing import Any

_LENGTH = struct.Struct("!Q")


def frame(value: Any) -> bytes:
    """The bytes of one message."""
    body = pickle.dumps(value)
    return _LENGTH.pack(len(body)) + body


class Inbox:
    """Puts messages together from the bytes that arrive."""

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, data: bytes) -> None:
        """Bytes have arrived."""
        self._data += data

    def next(self) -> Any:
        """The next whole message, or None."""
        if len(self._data) < _LENGTH.size:
            return None
        end = _LENGTH.size + _LENGTH.unpack_from(self._data)[0]
        if len(self._data) < end:
            return None
        value = pickle.loads(self._data[_LENGTH.size : end])
        del self._data[:end]
        return value
