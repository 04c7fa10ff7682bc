"""Real worker processes over an app's module, for tests that look at them from outside."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from taskq_sls.core.flow import drive
from taskq_sls.core.states import State
from taskq_sls.results.records import TaskRecord
from tests.support.aws_bench import AwsBench


class WorkerProcesses:
    """Workers of the module ``shop_tasks`` in a folder of its own.

    Args:
        source: of the module; ``{name}`` is the app's name.
    """

    def __init__(self, bench: AwsBench, folder: Path, source: str) -> None:
        self.folder = folder
        self.app = bench.app
        self._children: list[subprocess.Popen[bytes]] = []
        (folder / "shop_tasks.py").write_text(source.replace("{name}", bench.app.name))

    def start(self, *options: str, stderr: int | None = None) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "taskq_sls", "worker", "shop_tasks:app", "--poll-wait", "1", *options]
        path = os.pathsep.join(filter(None, [str(self.folder), os.environ.get("PYTHONPATH")]))
        environment = {**os.environ, "PYTHONPATH": path, "PYTHONWARNINGS": "error::ResourceWarning"}
        with open(self.folder / "output", "ab") as log:
            child = subprocess.Popen(
                command,
                env=environment,
                cwd=self.folder,
                stdout=log,
                stderr=log if stderr is None else stderr,
                stdin=subprocess.DEVNULL,
            )
        self._children.append(child)
        return child

    def enqueue(self, task: str, *args: Any) -> str:
        return self.app.ref(f"shop_tasks:{task}").enqueue(*args).id

    def record(self, id: str) -> TaskRecord:
        record = self.app.results.get(id)
        assert record is not None
        return record

    def ended_as(self, id: str) -> State | None:
        record = self.app.results.get(id)
        return record.status if record is not None and record.status.terminal else None

    def path(self, name: str) -> Path:
        return self.folder / name

    def depth(self) -> tuple[int, ...]:
        return tuple(drive(self.app.services.blocking().broker.depth("default")))

    def output(self) -> str:
        return (self.folder / "output").read_text()

    def end(self) -> None:
        for child in self._children:
            if child.poll() is None:
                child.kill()
            child.wait()


def alive(process: int) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
