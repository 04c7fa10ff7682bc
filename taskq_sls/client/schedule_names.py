"""Names of schedules: who made one, for which task, and which of that task's.

An app's name holds no ".", so that the start up to it tells whose a schedule is.
"""

from __future__ import annotations

import hashlib
import os
import re

from ..core.schedule_spec import DECLARED, RUNTIME
from ..scheduler.spec import MAX_NAME

_DIGEST, _RUNTIME_DIGEST = 8, 16
"""Hexadecimal digits that keep names apart: of the few declared in one app; of millions made at run time."""

_OTHER = re.compile(r"[^0-9a-zA-Z_.-]+")


def declared_prefix(app: str) -> str:
    """How the names of all schedules begin that an app declares."""
    return f"{DECLARED}{app}."


def runtime_prefix(app: str) -> str:
    """How the names of all schedules begin that an app makes at run time."""
    return f"{RUNTIME}{app}."


def declared_name(app: str, task: str, schedule: str | int) -> str:
    """The name of a schedule declared in code. Neither its expression nor its arguments change it.

    Args:
        schedule: its own name, or which of the task's unnamed ones it is, from 0.
    """
    kind = "name" if isinstance(schedule, str) else "ordinal"
    digest = hashlib.sha256(f"{task}\n{kind}\n{schedule}".encode()).hexdigest()[:_DIGEST]
    return _joined(declared_prefix(app), schedule if isinstance(schedule, str) else _function(task), digest)


def runtime_name(app: str, task: str, id: str | None) -> str:
    """The name of a schedule made at run time.

    Args:
        id: the caller's own, with which making it again is safe; None for a random name.
    """
    if id is None:
        return _joined(runtime_prefix(app), _function(task), os.urandom(_RUNTIME_DIGEST // 2).hex())
    digest = hashlib.sha256(f"{task}\n{id}".encode()).hexdigest()[:_RUNTIME_DIGEST]
    return _joined(runtime_prefix(app), id, digest)


def _function(task: str) -> str:
    return task.rpartition(":")[2]


def _joined(prefix: str, readable: str, digest: str) -> str:
    """As much of the readable part as there is room for, between the others."""
    room = MAX_NAME - len(prefix) - 1 - len(digest)
    slug = _OTHER.sub("-", readable)[:room].strip("-.")
    return f"{prefix}{slug or 'schedule'[:room]}-{digest}"
