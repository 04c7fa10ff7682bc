"""A real job on this machine: survey Python's standard library, one task per package.

``python -m local.demo`` starts an AWS endpoint and a worker process, sends the tasks, waits for the results and
prints them. Exit status 0 only if every result came.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NoReturn

from taskq_sls import ResultTimeout, TaskError, TaskHandle, TaskQError, wait_all

from .progress import Progress
from .report import report
from .stack import WorkerProcess, endpoint
from .survey import Survey, packages, standard_library
from .tasks import app, survey

SLICE = 50
"""Tasks sent at once. Two slices run at a time, which keeps the worker busy and the queue short: moto scans a queue
from its start at each receive."""

PATIENCE = 120.0
"""Maximum seconds for one slice."""

LOOK = 1.0
"""Seconds between two checks that the worker is alive."""


class DemoFailed(Exception):
    """Some results are missing; the message names them with the reason."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo and return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m local.demo", description="Survey Python's standard library.")
    parser.add_argument("packages", nargs="*", help="only these; default: all of them")
    parser.add_argument("--processes", type=int, default=2, help="processes of the worker (default: 2)")
    options = parser.parse_args(argv)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        names = options.packages or packages(standard_library())
        if not names:
            raise DemoFailed(f"{standard_library()} holds no Python sources to survey")
        started = time.monotonic()
        surveys = run(names, options.processes)
        print(report(surveys, time.monotonic() - started))
    except (DemoFailed, TaskQError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("demo: interrupted; everything is stopped", file=sys.stderr)
        return 130
    return 0


def run(names: Sequence[str], processes: int) -> list[Survey]:
    """Start everything, survey the packages, stop everything.

    Raises:
        DemoFailed: tasks failed, or the worker ended.
    """
    with endpoint(app):
        print(f"{len(names)} packages, one task each; a worker with {processes} processes", flush=True)
        with (
            WorkerProcess("local.tasks:app", "--processes", str(processes)) as worker,
            Progress(len(names)) as progress,
        ):
            outcomes = list(_outcomes(names, worker, progress.show))
    failures = [
        f"  {name}: {outcome}" for name, outcome in zip(names, outcomes, strict=True) if isinstance(outcome, TaskError)
    ]
    if failures:
        raise DemoFailed("\n".join([f"{len(failures)} of {len(names)} tasks did not succeed:", *failures]))
    return [outcome for outcome in outcomes if isinstance(outcome, Survey)]


def _outcomes(names: Sequence[str], worker: WorkerProcess, show: Callable[[int], None]) -> Iterator[Survey | TaskError]:
    slices = [names[start : start + SLICE] for start in range(0, len(names), SLICE)]
    under_way: deque[list[TaskHandle[Survey]]] = deque()
    done = 0
    while slices or under_way:
        while slices and len(under_way) < 2:
            under_way.append(survey.enqueue_many([(name,) for name in slices.pop(0)]))
        handles = under_way.popleft()
        yield from _wait(handles, worker, partial(_show_after, show, done))
        done += len(handles)


def _show_after(show: Callable[[int], None], before: int, ended: int, total: int) -> None:
    show(before + ended)


def _wait(
    handles: Sequence[TaskHandle[Survey]], worker: WorkerProcess, on_progress: Callable[[int, int], None]
) -> Sequence[Survey | TaskError]:
    until = time.monotonic() + PATIENCE
    while True:
        try:
            return wait_all(handles, timeout=LOOK, on_progress=on_progress)
        except TaskError:
            return [_outcome(handle) for handle in handles]
        except ResultTimeout as timeout:
            if worker.exit_status is not None:
                raise DemoFailed(f"the worker ended with status {worker.exit_status}:\n{worker.log()}") from None
            if time.monotonic() >= until:
                raise DemoFailed(f"{timeout}\nthe worker's log ends:\n{worker.log()}") from None


def _outcome(handle: TaskHandle[Survey]) -> Survey | TaskError:
    try:
        return handle.result(timeout=0)
    except TaskError as error:
        return error


def _interrupt(number: int, frame: object) -> NoReturn:
    """SIGTERM cleans up as Ctrl-C does."""
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
