"""Frees the unique key of a task that is over."""

from __future__ import annotations

from collections.abc import Awaitable

from ...core.message import Message
from ...results.base import free_unique_key
from ..attempt import Engine
from .base import Observer


class UniqueKeys(Observer):
    """Frees a key whatever ended the task. Its end is stored by then, so no key is freed too early."""

    def message_done(self, engine: Engine, message: Message) -> Awaitable[None] | None:
        if message.unique_key is None:
            return None
        return free_unique_key(engine.results, message.task, message.unique_key, message.id)
