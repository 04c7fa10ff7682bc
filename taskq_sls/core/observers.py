"""Calls the hooks of observers. An exception in a hook is logged, and changes nothing."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

logger = logging.getLogger("taskq_sls.task")


class Observers:
    """The hooks of all observers, by name: one that no observer overrides costs nothing.

    Args:
        base: the class that has all hooks; observers override them.
    """

    def __init__(self, base: type, observers: Sequence[object] = ()) -> None:
        self._hooks: dict[str, tuple[Callable[..., Any], ...]] = {}
        for name, default in vars(base).items():
            if not name.startswith("_"):
                overridden = [each for each in observers if getattr(type(each), name) is not default]
                self._hooks[name] = tuple(getattr(each, name) for each in overridden)

    def notify(self, name: str, *args: object) -> None:
        """Call plain hooks."""
        for hook in self._hooks[name]:
            try:
                hook(*args)
            except Exception:
                _log_fault(hook)

    async def ask(self, name: str, engine: object, subject: object) -> Any:
        """Call hooks that may answer with an awaitable. Returns the first value that is not None, or None."""
        for hook in self._hooks[name]:
            try:
                answer = hook(engine, subject)
                if answer is not None and (value := await answer) is not None:
                    return value
            except Exception:
                _log_fault(hook)
        return None


def _log_fault(hook: Callable[..., Any]) -> None:
    logger.exception("%s raised, and is ignored", hook.__qualname__, extra={"action": "observer_fault"})
