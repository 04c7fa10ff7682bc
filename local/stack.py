"""The demo's environment: an AWS endpoint, the app's resources, and a worker process."""

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
from taskq_sls.core.flow import call_sync
from taskq_sls.deploy.provision import provision
from taskq_sls.local_aws.stack import LocalStack

STOPPING = 15.0
"""Seconds after SIGTERM in which a worker may finish its tasks, before it is killed."""

LOG_LINES = 20
"""Lines of a failed worker's log that are shown."""


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
    """``taskq worker`` as a child process; its log goes to a file. A context manager, for the main thread.

    Args:
        target: the app, as ``module:attribute``.
        arguments: further ones of the command.
    """

    def __init__(self, target: str, *arguments: str) -> None:
        # Short polls, since a stopping worker waits for those that are open.
        self._command = [sys.executable, "-m", "taskq_sls", "worker", target, "--poll-wait", "1", *arguments]
        self._log = tempfile.NamedTemporaryFile(prefix="taskq-worker-", suffix=".log")  # noqa: SIM115  # closed in stop()
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def exit_status(self) -> int | None:
        """The exit status (for a signal its negative number), or None while it runs."""
        return None if self._child is None else self._child.poll()

    def log(self) -> str:
        """The last lines of its log."""
        lines = Path(self._log.name).read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(lines[-LOG_LINES:])

    def __enter__(self) -> WorkerProcess:
        try:
            with _signals_held():
                self._child = subprocess.Popen(
                    self._command,
                    stdin=subprocess.DEVNULL,
                    stdout=self._log,
                    stderr=subprocess.STDOUT,
                    cwd=Path(__file__).resolve().parent.parent,
                    # Ctrl-C reaches this process only, which then stops the worker in order.
                    start_new_session=True,
                )
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def _stop(self) -> None:
        """Send SIGTERM, so that it finishes or releases its messages; SIGKILL if that takes too long."""
        try:
            if self._child is not None and self._child.poll() is None:
                self._child.terminate()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._child.wait(STOPPING)
        finally:  # also when a second Ctrl-C ends the wait
            if self._child is not None and self._child.poll() is None:
                os.killpg(self._child.pid, signal.SIGKILL)
                self._child.wait()
            self._log.close()


@contextlib.contextmanager
def _signals_held() -> Iterator[None]:
    """Defer SIGINT and SIGTERM: between a fork and its assignment they would lose the child."""
    came: list[int] = []
    before = {
        number: signal.signal(number, lambda number, _: came.append(number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if came:
        signal.raise_signal(came[0])
