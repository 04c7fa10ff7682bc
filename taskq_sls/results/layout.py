"""Keys, attributes and indexes of the table. These names are stable.

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
