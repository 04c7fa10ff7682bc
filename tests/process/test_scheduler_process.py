"""Schedulers in processes of their own: several at once, killed and started again, stopped by signals."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from moto.scheduler.models import scheduler_backends

from taskq_sls import Queue
from taskq_sls.core.flow import drive
from taskq_sls.core.schedule_spec import ScheduleSpec
from taskq_sls.scheduler.firing import firing_id
from tests.support.aws_bench import AwsBench
from tests.support.waiting import until
from tests.support.worker_processes import WorkerProcesses

ROLE = "arn:aws:iam::123456789012:role/taskq-scheduler"

MakeBench = Callable[..., AwsBench]

TASKS = """
from pathlib import Path
from taskq_sls import Queue, TaskContext, TaskQ

app = TaskQ("{name}", queues=[Queue("default", visibility_timeout=5)])


@app.task
def tick(ctx: TaskContext) -> None:
    with open(Path(__file__).parent / "ticks", "a") as file:
        file.write(f"{ctx.id}\\n")
"""


class Schedulers(WorkerProcesses):
    """Schedulers, and workers, of the module ``shop_tasks``."""

    def __init__(self, bench: AwsBench, folder: Path) -> None:
        super().__init__(bench, folder, TASKS)
        services = bench.app.services.blocking()
        assert services.schedules is not None
        assert services.last_firings is not None
        self.store, self.last_firings, self.broker = services.schedules, services.last_firings, services.broker

    def start_scheduler(self, *, ready: int = 1) -> subprocess.Popen[bytes]:
        child = self._run("scheduler", "shop_tasks:app")
        until(lambda: self.output().count("scheduler_ready") >= ready)
        return child

    def _run(self, *command: str) -> subprocess.Popen[bytes]:
        path = os.pathsep.join(filter(None, [str(self.folder), os.environ.get("PYTHONPATH")]))
        environment = {**os.environ, "PYTHONPATH": path, "PYTHONWARNINGS": "error::ResourceWarning"}
        with open(self.folder / "output", "ab") as log:
            child = subprocess.Popen(
                [sys.executable, "-m", "taskq_sls", *command],
                env=environment,
                cwd=self.folder,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
            )
        self._children.append(child)
        return child

    def make(self, name: str, expression: str, *, misfire: str = "once", age: float = 0.0) -> None:
        """A schedule that was made so many seconds ago."""
        fields = {"name": name, "group": self.store.group, "at": "<aws.scheduler.scheduled-time>", "misfire": misfire}
        body = json.dumps({"v": 1, "task": "shop_tasks:tick", "schedule": fields})
        assert drive(self.store.create(ScheduleSpec(name, expression, "UTC", "default", body)))
        schedule = self.schedule(name)
        schedule.creation_date -= age
        schedule.last_modified_date -= age

    def schedule(self, name: str) -> Any:
        return scheduler_backends["123456789012"]["us-east-1"].schedule_groups[self.store.group].schedules[name]

    def first_task(self, name: str) -> str:
        """Id of the task that the first firing of a rate makes."""
        return firing_id(self.store.group, name, self.schedule(name).creation_date)

    def received(self) -> list[str]:
        """``name`` of each message in the queue, taken out."""
        names = []
        while deliveries := drive(self.broker.receive("default", max_messages=10, wait=0, visibility=60)):
            names += [json.loads(delivery.body)["schedule"]["name"] for delivery in deliveries]
            drive(self.broker.ack(deliveries))
        return names

    def last_fired(self) -> dict[str, float]:
        return drive(self.last_firings.read())


@pytest.fixture
def schedulers(make_aws_bench: MakeBench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Schedulers]:
    monkeypatch.setenv("TASKQ_SCHEDULE_ROLE_ARN", ROLE)
    made = Schedulers(make_aws_bench(Queue("default", visibility_timeout=5)), tmp_path)
    yield made
    made.end()


def test_two_schedulers_at_once_make_one_task_of_each_firing(schedulers: Schedulers) -> None:
    for number in range(5):
        schedulers.make(f"r-{number}", "rate(1 hour)")
    children = [schedulers._run("scheduler", "shop_tasks:app") for _ in range(2)]
    until(lambda: schedulers.output().count("scheduler_ready") == 2)
    until(lambda: len(schedulers.last_fired()) == 5)
    for child in children:
        child.send_signal(signal.SIGTERM)
    assert [child.wait(60) for child in children] == [0, 0]

    assert schedulers.start("--burst").wait(90) == 0

    ticks = Counter(schedulers.path("ticks").read_text().split())
    assert ticks == {schedulers.first_task(f"r-{number}"): 1 for number in range(5)}


def test_a_scheduler_that_was_killed_is_made_up_for_by_policy(schedulers: Schedulers) -> None:
    schedulers.make("r-before", "rate(1 hour)")
    first = schedulers.start_scheduler()
    until(lambda: "r-before" in schedulers.last_fired())
    first.send_signal(signal.SIGKILL)
    first.wait(60)
    assert schedulers.received() == ["r-before"]

    # Two and a half hours pass.
    schedulers.schedule("r-before").creation_date -= 9_000
    schedulers.schedule("r-before").last_modified_date -= 9_000
    for policy in ("skip", "once", "all"):
        schedulers.make(f"r-{policy}", "rate(1 hour)", misfire=policy, age=9_000)
        drive(schedulers.last_firings.record(f"r-{policy}", time.time() - 9_000, time.time()))
    schedulers.start_scheduler(ready=2)
    until(
        lambda: (
            {"r-once", "r-all"} <= schedulers.last_fired().keys()
            and schedulers.last_fired()["r-all"] > time.time() - 3_600
        )
    )

    assert Counter(schedulers.received()) == {"r-once": 1, "r-all": 2}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly_and_at_once(schedulers: Schedulers, number: int) -> None:
    schedulers.make("r-tick", "rate(1 minute)")
    child = schedulers.start_scheduler()

    child.send_signal(number)

    assert child.wait(30) == 0
    assert "scheduler_ended" in schedulers.output()
    assert "Traceback" not in schedulers.output()
    assert "ResourceWarning" not in schedulers.output()


# -- the local stack ---------------------------------------------------------------------------------------------------

TIMED = """
from pathlib import Path
from taskq_sls import TaskQ, rate

app = TaskQ("shop")


@app.task(schedule=rate(minutes=1))
def tick() -> None:
    (Path(__file__).parent / "ticked").touch()
"""


@pytest.fixture
def local_up(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    (tmp_path / "timed.py").write_text(TIMED)
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "TASKQ_", "PYTEST"))}
    nothing = {
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    started = []

    def start(*options: str) -> subprocess.Popen[str]:
        log = open(tmp_path / "output", "ab")  # noqa: SIM115  # closed below, after the process has it
        child = subprocess.Popen(
            [sys.executable, "-m", "taskq_sls", "local", "up", *options],
            env={**clean, **nothing},
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
        log.close()
        started.append(child)
        return child

    yield start
    for child in started:
        if child.poll() is None:
            child.kill()
        child.communicate(timeout=30)


def test_a_thread_of_the_apps_module_does_not_keep_the_process(schedulers: Schedulers) -> None:
    with schedulers.path("shop_tasks.py").open("a") as module:
        module.write("\nimport threading, time\nthreading.Thread(target=time.sleep, args=(3600,)).start()\n")
    child = schedulers.start_scheduler()
    child.send_signal(signal.SIGTERM)
    assert child.wait(60) == 0
    assert "scheduler_exit_forced" in schedulers.output()


def test_the_local_stack_makes_and_fires_what_is_declared(
    local_up: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    child = local_up("--worker", "timed:app", "--json")
    assert child.stdout is not None
    variables = json.loads(child.stdout.readline())
    assert variables["TASKQ_SCHEDULE_GROUP"] == "shop"
    assert variables["TASKQ_SCHEDULE_ROLE_ARN"].startswith("arn:aws:iam::")

    until((tmp_path / "ticked").exists, 60)
    assert len(processes_in(tmp_path)) == 3

    child.send_signal(signal.SIGTERM)
    assert child.wait(60) == 0
    assert processes_in(tmp_path) == []


def test_a_local_stack_that_is_killed_takes_its_scheduler_with_it(
    local_up: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    child = local_up("--app", "timed:app")
    until(lambda: "scheduler_ready" in (tmp_path / "output").read_text(), 60)
    assert len(processes_in(tmp_path)) == 2

    child.kill()

    child.wait(60)
    until(lambda: processes_in(tmp_path) == [])


def processes_in(folder: Path) -> list[int]:
    """Processes whose working directory is `folder`."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and (entry / "cwd").readlink() == folder:
                found.append(int(entry.name))
    return found
