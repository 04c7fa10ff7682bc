"""Where a task's record lives in the table: keys, attributes and indexes. These names are stable.

One table, so that other kinds of item can join later. A task is the item ``pk = T#<id>``, ``sk = META``;
its attributes are the fields of :class:`~taskq_sls.results.records.TaskRecord` under their own names
(``result`` holds the JSON text, or ``result_key`` the key of its object in the bucket), ``ttl`` is epoch seconds. Empty fields are left out; the cancel flag is
there only when set.

A unique key that is taken is the item ``pk = U#<task name>#<key>``, ``sk = LOCK``, with ``id`` and ``queue`` of
the task that holds it, ``locked_at``, ``confirmed`` once its message was accepted, and ``ttl``. It is in no index.

A worker that reports itself is the item ``pk = R#<app>``, ``sk = <worker id>``, in no index; its attributes:
:mod:`~taskq_sls.results.dynamodb.workers`.

What a task did in a minute or an hour is the item ``pk = M#<app>#<shard>``, ``sk = <span>#<time>#<task>#<queue>``, in no
index: :mod:`~taskq_sls.results.dynamodb.counters`.

Two sparse indexes that project keys only, each spread over 8 shards so that no state and no task becomes
one hot partition:

- ``by-status``: ``status_shard`` = ``S#<status>#<shard>``, ``status_time`` = ``<milliseconds>#<id>`` of the
  moment the state was entered. Held in RETRYING and the terminal states only.
- ``by-task``: ``task_shard`` = ``N#<task>#<shard>``, ``task_time`` = ``<milliseconds>#<id>`` of the enqueue.
  Set by the first write and never changed.
"""

from __future__ import annotations

import zlib
from typing import Any, NamedTuple

from ..core.states import TERMINAL, State

Item = dict[str, dict[str, Any]]
"""Attribute names to low-level attribute values, such as ``{"status": {"S": "QUEUED"}}``."""

PARTITION_KEY = "pk"
SORT_KEY = "sk"
RECORD = "META"
LOCK = "LOCK"
TTL_ATTRIBUTE = "ttl"

SHARDS = 8
"""Partitions per state and per task name; each takes 1,000 writes a second (DynamoDB developer guide)."""

LAST_MILLISECOND = 9_999_999_999_999
"""The largest time of 13 digits, in the year 2286."""

INDEXED_STATES = TERMINAL | {State.RETRYING}
"""States that the status index holds."""


class Index(NamedTuple):
    """A global secondary index: its name and its two key attributes."""

    name: str
    shard: str
    time: str


STATUS_INDEX = Index("by-status", "status_shard", "status_time")
TASK_INDEX = Index("by-task", "task_shard", "task_time")
INDEXES = (STATUS_INDEX, TASK_INDEX)


def record_key(id: str) -> Item:
    """The primary key of a task's record."""
    return {PARTITION_KEY: {"S": f"T#{id}"}, SORT_KEY: {"S": RECORD}}


def lock_key(task: str, key: str) -> Item:
    """The primary key of a unique key's lock; task names hold no ``#``."""
    return {PARTITION_KEY: {"S": f"U#{task}#{key}"}, SORT_KEY: {"S": LOCK}}


def id_of(item: Item) -> str:
    """The task id in a primary key."""
    id: str = item[PARTITION_KEY]["S"][2:]
    return id


def status_keys(status: State, at: float, id: str) -> Item:
    """Keys in the status index of a task that entered `status` at `at` (epoch seconds)."""
    return {
        STATUS_INDEX.shard: {"S": status_shards(status)[_shard(id)]},
        STATUS_INDEX.time: {"S": time_key(at, id)},
    }


def task_keys(task: str, at: float, id: str) -> Item:
    """Keys in the name index of a task that was enqueued at `at` (epoch seconds)."""
    return {TASK_INDEX.shard: {"S": task_shards(task)[_shard(id)]}, TASK_INDEX.time: {"S": time_key(at, id)}}


def status_shards(status: State) -> list[str]:
    """The partitions of a state in the status index."""
    return [f"S#{status}#{shard}" for shard in range(SHARDS)]


def task_shards(task: str) -> list[str]:
    """The partitions of a task name in the name index."""
    return [f"N#{task}#{shard}" for shard in range(SHARDS)]


def time_key(at: float, id: str) -> str:
    """Sorts by time, then by id, as text: digits of equal width. Whole milliseconds, rounded down."""
    return f"{time_bound(at)}#{id}"


def time_bound(at: float) -> str:
    """Sorts before every :func:`time_key` of this millisecond and behind all earlier ones."""
    return f"{min(max(int(at * 1000), 0), LAST_MILLISECOND):013d}"


def _shard(id: str) -> int:
    # Python's own hash differs from process to process.
    return zlib.crc32(id.encode()) % SHARDS
