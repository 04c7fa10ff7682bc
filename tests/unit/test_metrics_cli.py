"""``taskq metrics``."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from taskq_sls import TaskQ
from taskq_sls.cli import main
from taskq_sls.cli.metrics import sparkline
from taskq_sls.core.flow import drive
from taskq_sls.metrics.counters import BUCKETS, MINUTE, CounterKey, Counters
from taskq_sls.testing import in_memory

NOW = 1_800_000_000

MODULE = "metrics_command_app"

COUNTERS = Counters(
    started=12,
    succeeded=9,
    failed=1,
    retried=2,
    duration=6.0,
    longest=0.75,
    waits=10,
    wait=5.0,
    histogram=tuple(12 if bucket == 7 else 0 for bucket in range(BUCKETS)),
)


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TaskQ]:
    (tmp_path / f"{MODULE}.py").write_text(
        'from taskq_sls import TaskQ\napp = TaskQ("shop")\n\n@app.task\ndef resize() -> None: ...\n'
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("TASKQ_APP", f"{MODULE}:app")
    sys.modules.pop(MODULE, None)
    module = __import__(MODULE)
    with in_memory(module.app, start=NOW + 30) as memory:
        for time, task in ((NOW - 5 * MINUTE, f"{MODULE}:resize"), (NOW - 2 * MINUTE, "old.module:gone")):
            drive(memory.results.metrics.add("shop", CounterKey(MINUTE, time, task, "default"), COUNTERS))
        yield module.app
    sys.modules.pop(MODULE, None)


def run(capsys: pytest.CaptureFixture[str], *words: str, status: int = 0) -> str:
    assert main(["metrics", *words]) == status
    return capsys.readouterr().out


def test_what_happened_is_shown_over_time_by_task_and_by_queue(app: TaskQ, capsys: pytest.CaptureFixture[str]) -> None:
    lines = run(capsys).splitlines()
    assert lines[0] == "2027-01-15T07:00:00.000Z to 2027-01-15T08:01:00.000Z, 1m00s a column"
    assert [line.split()[0] for line in lines[2:5]] == ["succeeded", "failed", "p95"]
    rows = [line.split() for line in lines]
    assert ["01-15", "07:55Z", "12", "9", "2", "1", "0.625s", "0.737s", "0.750s", "0.500s"] in rows
    assert ["all", "24", "18", "4", "2", "0.625s", "0.737s", "0.750s", "0.500s"] in rows
    assert [row[0] for row in rows if row and row[0] in (f"{MODULE}:resize", "old.module:gone", "default")] == [
        f"{MODULE}:resize",
        "old.module:gone",
        "default",
    ]


def test_one_task_is_named_by_its_function_or_in_full_also_when_it_is_gone(
    app: TaskQ, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "old.module" not in run(capsys, "--task", "resize")
    assert "resize" not in run(capsys, "--task", "old.module:gone")
    assert main(["metrics", "--task", "resise"]) == 2
    assert "did you mean" in capsys.readouterr().err


def test_programs_read_the_same_as_json(app: TaskQ, capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(run(capsys, "--since", "10m", "--step", "5m", "--json"))
    assert (found["since"], found["step"]) == ("2027-01-15T07:50:00.000Z", 300)
    assert [(point["time"][11:16], point["started"]) for point in found["points"]] == [
        ("07:50", 0),
        ("07:55", 24),
        ("08:00", 0),
    ]
    assert (found["totals"]["failed"], found["totals"]["p50"], found["totals"]["mean_wait"]) == (2, 0.625, 0.5)
    assert [one["task"] for one in found["tasks"]] == [f"{MODULE}:resize", "old.module:gone"]
    assert [one["queue"] for one in found["queues"]] == ["default"]


def test_where_nothing_was_counted_the_command_says_why_that_may_be(
    app: TaskQ, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["metrics", "--queue", "other"]) == 1
    assert "TASKQ_METRICS=off" in capsys.readouterr().err


def test_a_step_that_is_no_whole_minute_is_refused(app: TaskQ, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["metrics", "--step", "90s"]) == 2
    assert "whole minutes" in capsys.readouterr().err


def test_a_line_is_as_high_as_its_values_in_what_the_terminal_can_show(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="utf-8"))
    assert sparkline([0, 1, 4, 8]) == " ▂▅█"
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
    assert sparkline([0, 1, 4, 8]) == " :+@"
    assert sparkline([]) == ""
