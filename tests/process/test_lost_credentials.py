"""A worker whose credentials come from a command that fails for a while."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from taskq_sls.core.states import State
from tests.support.aws_bench import AwsBench
from tests.support.waiting import until
from tests.support.worker_processes import WorkerProcesses

TASKS = """
from taskq_sls import Queue, TaskQ

app = TaskQ("{name}", queues=[Queue("default", visibility_timeout=5)])


@app.task
async def work() -> str:
    return "done"
"""

# Credentials that are over in a moment are asked for anew before every call.
CREDENTIALS = {"Version": 1, "AccessKeyId": "key", "SecretAccessKey": "secret", "SessionToken": "token"}
COMMAND = """#!/bin/sh
if [ -e {folder}/rubbish ]; then echo "login expired, see https://example.com"; exit 0; fi
printf '%s' '{credentials}' | sed "s/EXPIRY/$(date -u -d '+5 minutes' +%Y-%m-%dT%H:%M:%SZ)/"
"""


@pytest.fixture
def workers(
    make_aws_bench: Callable[..., AwsBench], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[WorkerProcesses]:
    made = WorkerProcesses(make_aws_bench(), tmp_path, TASKS)
    command = tmp_path / "credentials"
    command.write_text(
        COMMAND.replace("{folder}", str(tmp_path)).replace(
            "{credentials}", json.dumps({**CREDENTIALS, "Expiration": "EXPIRY"})
        )
    )
    command.chmod(0o755)
    config = tmp_path / "config"
    config.write_text(f"[profile commanded]\ncredential_process = {command}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    yield made
    made.end()


def test_a_credential_process_that_prints_rubbish_for_a_while_does_not_end_a_worker(
    workers: WorkerProcesses, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as environment:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
            environment.delenv(name, raising=False)
        environment.setenv("AWS_PROFILE", "commanded")
        worker = workers.start()
    first = workers.enqueue("work")
    until(lambda: workers.ended_as(first) is State.SUCCEEDED)

    workers.path("rubbish").touch()
    until(lambda: "poll_fault" in workers.output())
    assert worker.poll() is None
    workers.path("rubbish").unlink()

    second = workers.enqueue("work")
    until(lambda: workers.ended_as(second) is State.SUCCEEDED)
    assert "poll_fault_over" in workers.output()
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(60) == 0
