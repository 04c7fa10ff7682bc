"""Worker processes that are killed, paused and stopped, and what is known of them and of their runs afterwards."""

from __future__ import annotations

import io
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from taskq_sls.core.flow import drive
from taskq_sls.results.records import TaskRecord
from tests.support.aws_bench import AwsBench, Wire

ROOT = Path(__file__).parents[2]
MODULE = "tests.support.chaos_app"

LAG = 4.0
"""Seconds that a busy machine may need between an event and what it is followed by."""


@dataclass(eq=False)
class Child:
    """A worker process.

    Attributes:
        killed_at: epoch seconds at which it was dead, if it was killed or told twice to stop.
        pauses: from when to when it was stopped by SIGSTOP, in epoch seconds.
    """

    process: subprocess.Popen[bytes]
    log: Path
    killed_at: float | None = None
    pauses: list[tuple[float, float]] = field(default_factory=list)
    signalled: bool = False

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def paused(self) -> bool:
        return bool(self.pauses) and self.pauses[-1][1] == float("inf")

    @property
    def ready(self) -> bool:
        return "worker_started" in self.actions

    @property
    def stopping(self) -> bool:
        return "worker_stopping" in self.actions

    @property
    def actions(self) -> Counter[str]:
        """How often each kind of event was logged."""
        lines = [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]
        return Counter(line.get("action", "") for line in lines)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(60)
        self.killed_at = time.time()

    def terminate(self) -> None:
        self.signalled = True
        self.process.send_signal(signal.SIGTERM)

    def pause(self) -> None:
        self.signalled = True
        self.process.send_signal(signal.SIGSTOP)
        self.pauses.append((time.time(), float("inf")))

    def resume(self) -> None:
        self.pauses[-1] = (self.pauses[-1][0], time.time())
        self.process.send_signal(signal.SIGCONT)

    def terminate_at_once(self) -> None:
        """Two SIGTERMs; returns when it has ended."""
        self.terminate()
        # Two signals at once would be seen as one. One that has nothing to wait for does not say that it stops.
        heard = time.monotonic() + 5
        while not self.stopping and self.process.poll() is None and time.monotonic() < heard:
            time.sleep(0.05)
        self.terminate()
        self.process.wait(60)
        self.killed_at = time.time()


class Run(NamedTuple):
    """One time a function was entered. `how` is ``returned``, ``raised``, or None if no end was seen."""

    id: str
    task: str
    attempt: int
    pid: int
    began: float
    ended: float | None
    how: str | None


class Fleet:
    """Worker processes over the chaos app."""

    def __init__(self, bench: AwsBench, folder: Path) -> None:
        self.bench = bench
        self.app = bench.app
        self.children: list[Child] = []
        self.stored = StoredSuccesses(bench)
        self._folder = folder
        self._runs = folder / "runs"

    def start(self, *options: str) -> Child:
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "CHAOS_APP": self.app.name,
            "CHAOS_QUEUES": ",".join(self.app.queues),
            "CHAOS_RUNS": str(self._runs),
        }
        command = [sys.executable, "-m", "taskq_sls", "worker", f"{MODULE}:app", "--poll-wait", "1", "--json", *options]
        log = self._folder / f"worker-{len(self.children)}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                command, env=environment, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )
        self.children.append(Child(process, log))
        return self.children[-1]

    def end(self) -> None:
        """End every process, whatever state it is in. For teardown."""
        for child in self.children:
            if child.process.poll() is None:
                child.process.kill()  # ends a paused one, too
            child.process.wait(30)

    def enqueue(self, task: str, *args: Any, queue: str | None = None) -> str:
        return self.enqueue_many(task, [args], queue)[0]

    def enqueue_many(self, task: str, calls: list[tuple[Any, ...]], queue: str | None = None) -> list[str]:
        ref = self.app.ref(f"{MODULE}:{task}", queue=queue or next(iter(self.app.queues)))
        return [handle.id for handle in ref.enqueue_many(calls)]

    def records(self, ids: Iterable[str]) -> dict[str, TaskRecord]:
        return self.app.results.get_many(ids)

    def settled(self, ids: Collection[str]) -> bool:
        """Whether all of these have ended, and no message is left."""
        if not self.drained():
            return False
        records = self.records(ids)
        return len(records) == len(ids) and all(record.status.terminal for record in records.values())

    def unsettled(self, ids: Collection[str]) -> str:
        """What is left, and how the workers are."""
        records = self.records(ids)
        left = {id: records.get(id) for id in ids if id not in records or not records[id].status.terminal}
        runs = [run for run in self.runs() if run.id in left]
        workers = {child.pid: (child.process.poll(), child.log.read_text()[-600:]) for child in self.children[-4:]}
        return f"depths {self.depths()}, records {left}, runs {runs}, the last workers {workers}"

    def depths(self) -> list[tuple[int, ...]]:
        """(visible, hidden, delayed) of every queue."""
        broker = self.app.services.blocking().broker
        return [tuple(drive(broker.depth(queue))) for queue in self.app.queues]

    def drained(self) -> bool:
        return all(depth == (0, 0, 0) for depth in self.depths())

    def dead_letters(self) -> Counter[str]:
        """Copies in the dead-letter queues, by task id; hides them."""
        broker = self.app.services.blocking().broker
        found: Counter[str] = Counter()
        for queue in self.app.queues:
            name = self.app.settings.dead_letter_queue(queue)
            while got := drive(broker.receive(name, max_messages=10, wait=0, visibility=600)):
                found.update(json.loads(delivery.body)["id"] for delivery in got)
        return found

    def runs(self) -> list[Run]:
        """All runs so far, by when they began."""
        if not self._runs.exists():
            return []
        began: dict[str, dict[str, Any]] = {}
        ends: dict[str, dict[str, Any]] = {}
        for text in self._runs.read_text().splitlines():
            line = json.loads(text)
            (began if line["what"] == "began" else ends)[line["run"]] = line
        return sorted(
            (
                Run(
                    line["id"],
                    line["task"],
                    line["attempt"],
                    line["pid"],
                    line["at"],
                    ends[run]["at"] if run in ends else None,
                    ends[run]["what"] if run in ends else None,
                )
                for run, line in began.items()
            ),
            key=lambda run: run.began,
        )

    def open_runs(self, child: Child) -> list[Run]:
        """What runs in a worker now."""
        return [run for run in self.runs() if run.pid == child.pid and run.ended is None]

    def overlaps(self, hold: float, grace: float) -> list[str]:
        """Runs of one task that overlapped although the earlier holder was alive and well."""
        broken = []
        for earlier, later in self._pairs():
            holder, successor = self._child(earlier), self._child(later)
            end = earlier.ended if earlier.ended is not None else holder.killed_at
            if end is None:
                # The exception that stops a thread may strike while the last line is written.
                if not holder.signalled:
                    broken.append(f"{earlier} has no end, in a worker that was left alone")
                continue
            if later.began >= end:
                continue
            # A lease that lasts is renewed when a third of it is over: no takeover can come before that much.
            zombie = any(start + hold / 2 + grace <= later.began <= stop + LAG for start, stop in holder.pauses)
            late = any(stop <= later.began <= stop + LAG for _, stop in successor.pauses)
            if not zombie and not late:
                broken.append(f"{later} began while {earlier} ran; pauses {holder.pauses}, killed {holder.killed_at}")
        return broken

    def repetitions(self) -> list[str]:
        """Runs after one that had returned, although the table had stored that, or the holder lived on to store it."""
        broken = []
        for earlier, later in self._pairs():
            if earlier.how != "returned" or earlier.ended is None or later.began < earlier.ended:
                continue
            stored_at = self.stored.at.get(earlier.id)
            if stored_at is not None and stored_at < later.began:
                broken.append(f"{later} began after {earlier}, whose success was stored at {stored_at}")
                continue
            holder, successor = self._child(earlier), self._child(later)
            # A busy table may not have stored it for seconds.
            killed = holder.killed_at is not None and holder.killed_at >= earlier.ended
            paused = any(start <= earlier.ended + LAG and stop >= earlier.began for start, stop in holder.pauses)
            late = any(stop <= later.began <= stop + LAG for _, stop in successor.pauses)
            if not killed and not paused and not late:
                broken.append(f"{later} began after {earlier}; killed {holder.killed_at}, pauses {holder.pauses}")
        return broken

    def taken_over(self) -> list[tuple[Run, Run]]:
        """Runs whose task was later run by another process, although the first was never seen to end in time."""
        return [
            (earlier, later)
            for earlier, later in self._pairs()
            if earlier.pid != later.pid and (earlier.ended is None or earlier.ended > later.began)
        ]

    def _pairs(self) -> Iterable[tuple[Run, Run]]:
        by_task: dict[str, list[Run]] = defaultdict(list)
        for run in self.runs():
            by_task[run.id].append(run)
        for runs in by_task.values():
            yield from itertools.combinations(runs, 2)

    def _child(self, run: Run) -> Child:
        return next(child for child in self.children if child.pid == run.pid)


class StoredSuccesses:
    """In front of the wire: notes when the table has stored that a task succeeded.

    Attributes:
        at: epoch seconds by task id, of the first success.
    """

    def __init__(self, bench: AwsBench) -> None:
        server = bench.server._running
        assert server is not None
        self._application = server._server.app
        self.at: dict[str, float] = {}
        server._server.app = self

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if not environ.get("HTTP_X_AMZ_TARGET", "").endswith(".UpdateItem"):
            return self._application(environ, start_response)
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        environ["wsgi.input"] = io.BytesIO(body)
        statuses: list[str] = []

        def begin(status: str, headers: Any, *more: Any) -> Any:
            statuses.append(status)
            return start_response(status, headers, *more)

        answer = self._application(environ, begin)
        if statuses and statuses[0].startswith("200") and b'"SUCCEEDED"' in body:
            self.at.setdefault(json.loads(body)["Key"]["pk"]["S"].removeprefix("T#"), time.time())
        return answer


class Trap:
    """Kills a worker at a request, ``before`` or ``after`` its effect; no answer ever comes.

    Args:
        operation: such as ``UpdateItem``.
        words: what the request's body must contain. It is the first such request.
    """

    def __init__(self, moment: str, operation: str, words: Collection[str], victim: Child) -> None:
        self.moment = moment
        self.victim = victim
        self._operation = operation
        self._words = [word.encode() for word in words]
        self._set = True

    def springs(self, operation: str, body: bytes) -> bool:
        if not self._set or operation != self._operation or not all(word in body for word in self._words):
            return False
        self._set = False
        return True


class TrappedWire:
    """In front of the wire: looks for the requests at which a worker dies."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._guard = threading.Lock()
        self.traps: list[Trap] = []

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        environ["wsgi.input"] = io.BytesIO(body)
        operation = environ.get("HTTP_X_AMZ_TARGET", "").rpartition(".")[2]
        with self._guard:
            sprung = [trap for trap in self.traps if trap.springs(operation, body)]
        if not sprung:
            return self._wire(environ, start_response)
        if sprung[0].moment == "after":
            self._wire(environ, lambda status, headers: None)
        sprung[0].victim.kill()
        raise ConnectionResetError
