"""What the executor needs of a task, compiled once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from ..core.options import TaskOptions
from ..middleware.compose import Onion
from ..serialization import JsonSignature, Signature


class CompiledTask(NamedTuple):
    """A task, ready to run.

    Args:
        onion: the function inside its execute hooks.
        is_async: whether the function is a coroutine function; a plain one needs a thread, or a process.
        aliases: former names of the task.
    """

    name: str
    options: TaskOptions
    signature: Signature
    onion: Onion
    is_async: bool
    aliases: tuple[str, ...] = ()

    @property
    def killable(self) -> bool:
        """Whether a cancel may end the function: a coroutine is cancelled, a process killed, a thread only told."""
        return self.is_async or self.options.run_in == "process"


class Definition(NamedTuple):
    """What was registered under a task's name.

    Args:
        signature: compiled at registration, or at first use where an annotation names what is defined later.
        plan: the same for the executor; None for a task known by name only.
    """

    name: str
    options: TaskOptions
    signature: Callable[[], Signature | JsonSignature]
    plan: Callable[[], CompiledTask] | None
    middlewares: tuple[Any, ...]
    function: Callable[..., Any] | None
    wants_context: bool


FindTask = Callable[[str], CompiledTask | None]
