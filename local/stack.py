"""What the demo needs around it: an AWS endpoint, the app's resources, and a worker in a process of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from taskq_sls import TaskQ
from taskq_sls.aws.blocking import BlockingAws
from taskq_sls.flow import call_sync
from taskq_sls.offline.stack import LocalStack
from taskq_sls.provisioning import provision

STOPPING = 15.0
"""Seconds a worker gets to finish what it holds after SIGTERM, before it is killed."""

LOG_LINES = 20
"""Lines of a worker's log that are shown when it failed."""


@contextlib.contextmanager
def endpoint(app: TaskQ) -> Iterator[None]:
    """An AWS endpoint on a free loopback port, with the app's queues and table, for this process and its children."""
    for name in [name for name in os.environ if name.startswith("TASKQ_")]:
        del os.environ[name]  # they name the user's own resources
    with LocalStack():
        port = BlockingAws(app.clock)
        try:
            call_sync("provision", provision(port, app.settings, list(app.queues.values())))
        finally:
            call_sync("close", port.close())
        yield


class WorkerProcess:
    """``taskq worker`` as a child process; its log goes to a file. A context manager.

    Args:
        target: the app, as ``module:attribute``.
        arguments: further ones of the command.
    """

    def __init__(self, target: str, *arguments: str) -> None:
        self._log = tempfile.NamedTemporaryFile(prefix="taskq-worker-", suffix=".log")  # noqa: SIM115  # closed in __exit__
        # Short polls, since a stopping worker waits for those that are open.
        command = [sys.executable, "-m", "taskq_sls", "worker", target, "--poll-wait", "1", *arguments]
        self._child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            cwd=Path(__file__).resolve().parent.parent,
            # Ctrl-C reaches this process only, which then stops the worker in order.
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def exit_status(self) -> int | None:
        """How it ended (a signal as its negative number), or None while it runs."""
        return self._child.poll()

    def log(self) -> str:
        """The last lines it wrote."""
        lines = Path(self._log.name).read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(lines[-LOG_LINES:])

    def stop(self) -> None:
        """SIGTERM, so that it finishes and gives back what it holds; SIGKILL for its group if that takes too long."""
        if self._child.poll() is None:
            self._child.terminate()
            try:
                self._child.wait(STOPPING)
            except subprocess.TimeoutExpired:
                os.killpg(self._child.pid, signal.SIGKILL)
                self._child.wait()

    def __enter__(self) -> WorkerProcess:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.stop()
        finally:
            self._log.close()
