"""Starts a contender in its own environment and reads its report."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

from .endpoints import Endpoints
from .environments import ROOT, python_of

HERE = Path(__file__).resolve().parent / "contenders"

FILES = {
    "taskq_sls": "taskq.py",
    "bare": "bare.py",
    "taskiq": "taskiq_on_sqs.py",
    "celery": "celery_on_sqs.py",
    "dramatiq": "dramatiq_on_sqs.py",
}

BODY = 154
"""Bytes of the message of `add(1, 2)` here; the bare client sends as many."""


class Spread(NamedTuple):
    """The median of some figures, the lowest and the highest."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, figures: list[float]) -> Spread:
        return cls(statistics.median(figures), min(figures), max(figures))


def start(
    endpoints: Endpoints, contender: str, role: str, queue: str, *, tapped: bool = False, **options: Any
) -> subprocess.Popen[str]:
    """Start a contender's process."""
    order = {"queue": queue, "size": BODY, "tuned": False, **options}
    environment = {**os.environ, **endpoints.environment(tapped=tapped), "PYTHONWARNINGS": "ignore"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # or each contender would compile its imports again
    environment["PYTHONPATH"] = f"{HERE}{os.pathsep}{ROOT}" if contender == "taskq_sls" else str(HERE)
    return subprocess.Popen(
        [python_of(contender), str(HERE / FILES[contender]), role, json.dumps(order)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL if "BENCH_QUIET" in os.environ else sys.stderr,
        text=True,
    )


def finish(process: subprocess.Popen[str], timeout: float = 300) -> dict[str, Any]:
    """Wait for the contender's end; return its report."""
    try:
        output, _ = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise
    lines = [line for line in output.splitlines() if line.startswith("{")]
    if not lines:
        raise SystemExit(f"{' '.join(map(str, process.args))} ended with {process.returncode} and no figures")  # type: ignore[union-attr]  # a list
    figures: dict[str, Any] = json.loads(lines[-1])
    return figures


def run(endpoints: Endpoints, contender: str, role: str, queue: str, **options: Any) -> dict[str, Any]:
    """Run a contender to its end. The limit is five minutes, and five more for each hundred thousand tasks."""
    limit = 300 * (1 + options.get("tasks", 0) / 100_000)
    return finish(start(endpoints, contender, role, queue, **options), limit)


def cost(figures: dict[str, Any]) -> float:
    """Microseconds of processor time per task."""
    return float(figures["cpu"] / figures["tasks"] * 1e6)
