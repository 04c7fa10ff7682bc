"""The pytest plugin: the fixture ``taskq_memory``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .memory import InMemory


@pytest.fixture
def taskq_memory() -> Iterator[Callable[..., InMemory]]:
    """``memory = taskq_memory(app)``: the app in memory until the test ends. Arguments as `in_memory`."""
    from .memory import in_memory

    with ExitStack() as stack:

        def put(app: Any, **options: Any) -> InMemory:
            return stack.enter_context(in_memory(app, **options))

        yield put
