"""Logical ids for queues and schedules: letters and digits, and different for different names."""

from __future__ import annotations

import hashlib
import re

_SIMPLE = re.compile(r"[a-z][a-z0-9]*(-[a-z][a-z0-9]*)*")


def queue_id(queue: str) -> str:
    """The start of a queue's ids: ``Default``, ``ImagesSlow``, ``LedgerFifo``.

    It is the name itself if every word begins with a small letter. Other names get a hash, so that ``a_b`` and ``a-b``
    differ. It depends on this name alone, so that a new queue does not rename, and thereby replace, another.
    """
    plain = queue.removesuffix(".fifo")
    simple = _SIMPLE.fullmatch(plain) and not plain.endswith("-fifo")
    fifo = "Fifo" if queue.endswith(".fifo") else ""
    return f"{_camel(plain)}{fifo}{'' if simple else _hash(queue)}"


def schedule_id(name: str) -> str:
    """The id of a declared schedule, ``d-{app}.{slug}-{hash}``: the hash keeps it apart from others."""
    return f"{_camel(name.partition('.')[2])}Schedule"


def route_id(name: str) -> str:
    """The id of a rule that sends events to a task."""
    return f"{_camel(name)}Rule{_hash(name)}"


def _camel(name: str) -> str:
    return "".join(word[0].upper() + word[1:] for word in re.split(r"[^A-Za-z0-9]+", name) if word)


def _hash(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:6].upper()
