"""Keys, attributes and indexes of the table, and the limits of a record. These names are stable.

A task is the item ``pk = T#<id>``, ``sk = META``; its attributes are the fields of :class:`~taskq_sls.results.records.TaskRecord` under their own names
(``result`` holds the JSON text, or ``result_key`` the key of its object in the bucket), ``ttl`` is epoch seconds. Empty
fields are left out, and so is a cancel flag that is not set.

A locked unique key is the item ``pk = U#<task name>#<key>``, ``sk = LOCK``, with ``id`` and ``queue`` of the task that holds
it, ``locked_at``, ``confirmed`` once its message was accepted, and ``ttl``.

A worker's report is the item ``pk = R#<app>``, ``sk = <worker id>``: :mod:`~taskq_sls.results.dynamodb.workers`.

The counters of a task in a minute or an hour are the item ``pk = M#<app>#<shard>``,
``sk = <span>#<time>#<task>#<queue>``: :mod:`~taskq_sls.results.dynamodb.counters`.

Only tasks are in indexes. Two sparse indexes project keys only, each over 8 shards, so that no state and no task becomes one
hot partition:

- ``by-status``: ``status_shard`` = ``S#<status>#<shard>``, ``status_time`` = ``<milliseconds>#<id>``, when the task entered
  the state. Holds RETRYING and the terminal states.
- ``by-task``: ``task_shard`` = ``N#<task>#<shard>``, ``task_time`` = ``<milliseconds>#<id>`` of the enqueue. Set by the first
  write and never changed.
"""

from __future__ import annotations

import zlib
from typing import Any, NamedTuple

from pydantic_core import to_json

from ..core.context import Progress
from ..core.message import ErrorInfo
from ..core.states import TERMINAL, State
from ..errors import PayloadTooLarge
from .records import Call, PastAttempt

Item = dict[str, dict[str, Any]]
"""Attribute names to low-level attribute values, such as ``{"status": {"S": "QUEUED"}}``."""

PARTITION_KEY = "pk"
SORT_KEY = "sk"
RECORD = "META"
LOCK = "LOCK"
TTL_ATTRIBUTE = "ttl"

SHARDS = 8
"""Partitions per state and per task name; each takes 1,000 writes a second (DynamoDB developer guide)."""

MAX_MILLISECOND = 9_999_999_999_999
"""The largest time of 13 digits, in the year 2286."""

INDEXED_STATES = TERMINAL | {State.RETRYING}


class Index(NamedTuple):
    """A global secondary index: its name and its two key attributes."""

    name: str
    shard: str
    time: str


STATUS_INDEX = Index("by-status", "status_shard", "status_time")
TASK_INDEX = Index("by-task", "task_shard", "task_time")
INDEXES = (STATUS_INDEX, TASK_INDEX)


def record_key(id: str) -> Item:
    return {PARTITION_KEY: {"S": f"T#{id}"}, SORT_KEY: {"S": RECORD}}


def lock_key(task: str, key: str) -> Item:
    """The primary key of a unique key's lock. Task names have no ``#``."""
    return {PARTITION_KEY: {"S": f"U#{task}#{key}"}, SORT_KEY: {"S": LOCK}}


def id_of(item: Item) -> str:
    id: str = item[PARTITION_KEY]["S"][2:]
    return id


def status_keys(status: State, at: float, id: str) -> Item:
    """Keys in the status index of a task that entered `status` at `at`, in epoch seconds."""
    return {
        STATUS_INDEX.shard: {"S": status_shards(status)[_shard(id)]},
        STATUS_INDEX.time: {"S": time_key(at, id)},
    }


def task_keys(task: str, at: float, id: str) -> Item:
    """Keys in the name index of a task that was enqueued at `at`, in epoch seconds."""
    return {TASK_INDEX.shard: {"S": task_shards(task)[_shard(id)]}, TASK_INDEX.time: {"S": time_key(at, id)}}


def status_shards(status: State) -> list[str]:
    return [f"S#{status}#{shard}" for shard in range(SHARDS)]


def task_shards(task: str) -> list[str]:
    return [f"N#{task}#{shard}" for shard in range(SHARDS)]


def time_key(at: float, id: str) -> str:
    """Text that sorts by time in whole milliseconds, then by id."""
    return f"{time_bound(at)}#{id}"


def time_bound(at: float) -> str:
    """Text that sorts before every :func:`time_key` of this millisecond and after all earlier ones."""
    return f"{min(max(int(at * 1000), 0), MAX_MILLISECOND):013d}"


def _shard(id: str) -> int:
    # Python's hash differs between processes.
    return zlib.crc32(id.encode()) % SHARDS


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
