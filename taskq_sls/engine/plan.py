"""What the executor needs of a task, compiled once."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from ..core.options import TaskOptions
from ..middleware.compose import Onion
from ..serialization import Signature


class Plan(NamedTuple):
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


PlanOf = Callable[[str], Plan | None]
