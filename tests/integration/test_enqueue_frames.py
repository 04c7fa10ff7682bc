"""The way from `enqueue` to AWS is short: a user's traceback of a failed send must be readable."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from botocore.client import BaseClient

import taskq_sls
from tests.support.aws_bench import AwsBench

LIBRARY = str(Path(taskq_sls.__file__).parent)

MAX_FRAMES = 9


def test_a_plain_enqueue_has_at_most_nine_frames_of_the_library(
    make_aws_bench: Callable[..., AwsBench], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = make_aws_bench()

    @bench.app.task(name="job")
    def job(number: int) -> None: ...

    job.enqueue(1)  # finds the queue and makes the client
    original: Any = BaseClient._make_api_call  # botocore's own, which all calls go through
    stacks: list[list[str]] = []

    def record(client: Any, operation: str, params: dict[str, Any]) -> Any:
        frames = [frame for frame in traceback.extract_stack() if frame.filename.startswith(LIBRARY)]
        stacks.append([f"{Path(frame.filename).name}:{frame.name}" for frame in frames])
        return original(client, operation, params)

    monkeypatch.setattr(BaseClient, "_make_api_call", record)
    job.enqueue(2)

    [stack] = stacks
    assert stack[0] == "task.py:enqueue"
    assert len(stack) <= MAX_FRAMES, stack
