"""Limits of a record, the same in every backend, so that tests in memory meet the limits of the table."""

from __future__ import annotations

from pydantic_core import to_json

from ..core.context import Progress
from ..core.message import ErrorInfo
from ..errors import PayloadTooLarge
from .records import Call, PastAttempt

MAX_RESULT_BYTES = 350_000
"""Largest result as JSON, in UTF-8 bytes: DynamoDB's limit of 400 KB per item, less the other attributes."""

MAX_MESSAGE_BYTES = 16 * 1024
"""An error's text is cut to this many UTF-8 bytes; the end is dropped."""

MAX_TRACEBACK_BYTES = 64 * 1024
"""A traceback is cut to this many UTF-8 bytes; the beginning is dropped, since the cause is at the end."""

MAX_NAME_BYTES = 1024
"""An error's type and a progress note are cut to this many UTF-8 bytes."""

MAX_CALL_BYTES = 400
"""Largest recorded arguments, as JSON in UTF-8 bytes: most items stay under 1 KB, and so cost one write unit."""

MAX_PAST_ERROR_BYTES = 200
"""An earlier attempt's error is cut to this many UTF-8 bytes."""

CUT = "[... cut ...]"


def check_result(id: str, result_json: str | None) -> None:
    """Check that a result fits an item.

    Raises:
        PayloadTooLarge: it is over :data:`MAX_RESULT_BYTES`.
    """
    if size := oversize(result_json):
        raise PayloadTooLarge(
            f"the result of task {id} is {size:,} bytes as JSON; a record holds at most {MAX_RESULT_BYTES:,} "
            "(DynamoDB's limit is 400 KB per item). Return less, return a reference to where the data is, "
            "or set a bucket (TASKQ_BUCKET)"
        )


def oversize(result_json: str | None) -> int:
    """The bytes of a result that does not fit an item; 0 if it fits."""
    # A character takes at most 4 bytes, so small results need not be encoded to be measured.
    if result_json is None or len(result_json) <= MAX_RESULT_BYTES // 4:
        return 0
    size = len(result_json.encode())
    return size if size > MAX_RESULT_BYTES else 0


def fit_call(call: Call | None) -> str | None:
    """The arguments as JSON text; None if they are too large or cannot be encoded as UTF-8."""
    if call is None:
        return None
    try:
        encoded = to_json({"args": call[0], "kwargs": call[1]})
    except ValueError:
        return None
    return encoded.decode() if len(encoded) <= MAX_CALL_BYTES else None


def fit_past(attempt: int, started_at: float, ended_at: float, error: ErrorInfo | None) -> PastAttempt:
    """A failed attempt as its record keeps it."""
    text = "" if error is None else _head(f"{error.type}: {error.message}", MAX_PAST_ERROR_BYTES)
    return PastAttempt(attempt, started_at, ended_at, text)


def fit_error(error: ErrorInfo) -> ErrorInfo:
    """The error with its texts cut to fit a record, and without characters that UTF-8 cannot encode."""
    return ErrorInfo(
        _head(error.type, MAX_NAME_BYTES),
        _head(error.message, MAX_MESSAGE_BYTES),
        _tail(error.traceback, MAX_TRACEBACK_BYTES),
    )


def fit_progress(progress: Progress) -> Progress | None:
    """The progress with its note cut; None if DynamoDB cannot store its numbers, and the write leaves it out."""
    done, total, note = progress
    try:
        if not _storable(done) or not (total is None or _storable(total)):
            return None
        return Progress(float(done), None if total is None else float(total), note and _head(note, MAX_NAME_BYTES))
    except (TypeError, ValueError, AttributeError):  # not of the types that `TaskContext.progress` lets pass
        return None


def _storable(value: float) -> bool:
    # DynamoDB's numbers go from 1e-130 to 1e+125 and know neither NaN nor infinity.
    return value == 0 or 1e-100 < abs(value) < 1e100


def _head(text: str, limit: int) -> str:
    encoded = _utf8(text)
    if len(encoded) <= limit:
        return encoded.decode()
    return encoded[: limit - len(CUT)].decode(errors="ignore") + CUT


def _tail(text: str, limit: int) -> str:
    encoded = _utf8(text)
    if len(encoded) <= limit:
        return encoded.decode()
    return CUT + encoded[len(CUT) - limit :].decode(errors="ignore")


def _utf8(text: str) -> bytes:
    # A file name in an error message may hold half of a surrogate pair.
    return text.encode(errors="backslashreplace")
