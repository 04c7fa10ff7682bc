"""The command as a process: supervision, signals, the local stack, and pipes that break."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from taskq_sls.worker import supervisor
from taskq_sls.worker import worker_process as process_slot
from taskq_sls.worker.supervisor import CHILD_VARIABLE, Supervisor
from tests.support.waiting import until
from tests.support.worker_processes import alive

SHOP = """
import os, sys, time
from taskq_sls import TaskQ, Queue

app = TaskQ("shop", queues=[Queue("default", visibility_timeout=10)])

@app.task
def double(x: int) -> int:
    return 2 * x

@app.task
def where() -> int:
    return os.getpid()

@app.task
def hang() -> None:
    print("hanging", file=sys.stderr, flush=True)
    time.sleep(600)
"""

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "shop.py").write_text(SHOP)
    return tmp_path


@pytest.fixture
def environment() -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "TASKQ_", "PYTEST"))}
    nothing = {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull}
    return {**clean, **nothing, "AWS_EC2_METADATA_DISABLED": "true", "PYTHONUNBUFFERED": "1"}


@pytest.fixture
def start(directory: Path, environment: dict[str, str]) -> Iterator[Start]:
    """Starts a command whose lines can be read; ends what is left at the end of the test."""
    started: list[subprocess.Popen[str]] = []

    def start(*argv: str, **more: str) -> subprocess.Popen[str]:
        child = subprocess.Popen(
            [sys.executable, "-m", "taskq_sls", *argv],
            cwd=directory,
            env={**environment, **more},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(child)
        return child

    yield start
    for child in started:
        if child.poll() is None:
            child.kill()
        child.communicate(timeout=60)


def run(directory: Path, environment: dict[str, str], *argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "taskq_sls", *argv],
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


class Lines:
    """The lines that a process writes to stderr, read as they come so that it never waits for us."""

    def __init__(self, child: subprocess.Popen[str]) -> None:
        assert child.stderr is not None
        self._stream = child.stderr
        self._lines: list[str] = []
        self._more = threading.Condition()
        threading.Thread(target=self._read, daemon=True).start()

    def wait_for(self, words: str, count: int = 1, timeout: float = 60) -> list[str]:
        """The lines with `words`, once there are `count`."""
        with self._more:
            assert self._more.wait_for(lambda: len(self.having(words)) >= count, timeout), self._lines
            return self.having(words)

    def having(self, words: str) -> list[str]:
        return [line for line in self._lines if words in line]

    def _read(self) -> None:
        with contextlib.suppress(ValueError):  # closed at the end of the test
            for line in self._stream:
                with self._more:
                    self._lines.append(line)
                    self._more.notify_all()


# -- the supervisor, over small children ----------------------------------------------------------------------------


@pytest.fixture
def quick_restarts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_slot, "FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(process_slot, "MAX_PAUSE_SECONDS", 0.02)


class Children:
    """Small programs for a supervisor: each start leaves a line in a file."""

    def __init__(self, directory: Path) -> None:
        self._log = directory / "starts"

    def running(self, code: str) -> Callable[[int], list[str]]:
        """`code` knows `number` (of the process) and `nth` (of its start, from 1)."""
        prelude = (
            "import os, signal, sys, time; number = int(os.environ['TASKQ_WORKER_CHILD'])\n"
            f"with open({str(self._log)!r}, 'a') as log: log.write(f'{{number}}\\n')\n"
            f"nth = open({str(self._log)!r}).read().split().count(str(number))\n"
        )
        return lambda number: [sys.executable, "-c", prelude + code]

    @property
    def starts(self) -> list[int]:
        if not self._log.exists():
            return []
        return sorted(int(line) for line in self._log.read_text().split())


@pytest.fixture
def children(tmp_path: Path, quick_restarts: None) -> Children:
    return Children(tmp_path)


def test_a_burst_ends_when_all_processes_have_drained(children: Children) -> None:
    assert Supervisor(children.running("sys.exit(0)"), 3, burst=True).run() == 0
    assert children.starts == [0, 1, 2]


def test_a_process_that_asks_for_it_is_started_anew_at_once(children: Children) -> None:
    code = "sys.exit(75 if nth < 3 else 0)"
    assert Supervisor(children.running(code), 2, burst=True).run() == 0
    assert children.starts == [0, 0, 0, 1, 1, 1]


def test_a_process_that_crashes_is_started_again_and_the_others_go_on(
    children: Children, caplog: pytest.LogCaptureFixture
) -> None:
    code = "os.kill(os.getpid(), signal.SIGKILL) if number == 0 and nth < 3 else sys.exit(0)"
    assert Supervisor(children.running(code), 2, burst=True).run() == 0
    assert children.starts == [0, 0, 0, 1]
    assert [record.message.split(" after ")[0] for record in caplog.records if record.levelname == "ERROR"] == [
        "worker process 0 ended with signal SIGKILL",
        "worker process 0 ended with signal SIGKILL",
    ]


def test_a_process_that_cannot_work_stops_all_with_status_2(children: Children) -> None:
    code = "sys.exit(2) if number == 0 else time.sleep(60)"
    assert Supervisor(children.running(code), 2).run() == 2


def test_a_process_that_has_worked_for_long_is_started_again_whatever_its_status(
    children: Children, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "SETTLED_SECONDS", 0.0)
    assert Supervisor(children.running("os._exit(2 if nth == 1 else 0)"), 1, burst=True).run() == 0
    assert children.starts == [0, 0]


def test_a_process_that_the_system_refuses_is_started_later(
    children: Children, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = subprocess.Popen
    refused: list[Any] = []

    def refuse(*args: Any, **options: Any) -> subprocess.Popen[bytes]:
        if len(refused) < 2:
            refused.append(args)
            raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
        return start(*args, **options)

    monkeypatch.setattr(subprocess, "Popen", refuse)
    assert Supervisor(children.running("sys.exit(0)"), 1, burst=True).run() == 0
    assert (len(refused), children.starts) == (2, [0])


def test_a_signal_is_passed_on_and_all_are_waited_for(children: Children, tmp_path: Path) -> None:
    code = (
        "def stop(*_):\n"
        "    time.sleep(0.1 * number)\n"
        f"    open({str(tmp_path)!r} + f'/stopped{{number}}', 'w').close()\n"
        "    sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, stop)\n"
        f"ready = [{str(tmp_path)!r} + f'/ready{{one}}' for one in (0, 1)]\n"
        "open(ready[number], 'w').close()\n"
        "while number == 1 and not os.path.exists(ready[0]): time.sleep(0.01)\n"
        "if number == 1: os.kill(os.getppid(), signal.SIGTERM)\n"
        "time.sleep(60)"
    )
    assert Supervisor(children.running(code), 2).run() == 0
    assert sorted(path.name for path in tmp_path.glob("stopped*")) == ["stopped0", "stopped1"]
    assert children.starts == [0, 1]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("ends", ["signal.SIG_DFL", "lambda number, _: os._exit(128 + number)"])
def test_a_process_that_is_told_to_stop_while_it_starts_has_stopped(children: Children, number: int, ends: str) -> None:
    code = f"signal.signal({int(number)}, {ends})\nos.kill(os.getppid(), {int(number)})\ntime.sleep(60)"
    assert Supervisor(children.running(code), 1).run() == 0


def test_a_process_that_crashes_while_it_stops_is_told(children: Children) -> None:
    code = (
        "signal.signal(signal.SIGTERM, lambda *_: os.kill(os.getpid(), signal.SIGKILL))\n"
        "os.kill(os.getppid(), signal.SIGTERM)\n"
        "time.sleep(60)"
    )
    assert Supervisor(children.running(code), 1).run() == 1


def test_a_second_signal_is_passed_on_too(children: Children) -> None:
    code = (
        "got = []\n"
        "def handle(*_):\n"
        "    got.append(1)\n"
        "    if len(got) == 2: sys.exit(0)\n"
        "    os.kill(os.getppid(), signal.SIGINT)\n"
        "signal.signal(signal.SIGINT, handle)\n"
        "os.kill(os.getppid(), signal.SIGINT)\n"
        "while True: time.sleep(0.1)"
    )
    assert Supervisor(children.running(code), 1).run() == 0


def test_children_do_not_share_the_terminals_process_group(children: Children) -> None:
    code = "sys.exit(0 if os.getpgid(0) != os.getpgid(os.getppid()) else 2)"
    assert Supervisor(children.running(code), 1, burst=True).run() == 0


def test_a_child_that_ignores_the_stop_is_killed_where_a_limit_is_set(children: Children) -> None:
    code = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nos.kill(os.getppid(), signal.SIGTERM)\ntime.sleep(60)"
    assert Supervisor(children.running(code), 1, kill_after=0.2).run() == 1


def test_a_process_that_was_stopped_from_outside_is_replaced(children: Children) -> None:
    code = "os.kill(os.getppid(), signal.SIGTERM) or time.sleep(60) if nth == 2 else sys.exit(0)"
    Supervisor(children.running(code), 1).run()
    assert children.starts == [0, 0]


def test_a_change_of_a_python_file_restarts_the_processes(children: Children, tmp_path: Path) -> None:
    watched = tmp_path / "watched"
    watched.mkdir()
    code = (
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))\n"
        "if nth >= 3: os.kill(os.getppid(), signal.SIGTERM)\n"
        "for _ in range(600):\n"
        f"    open({str(watched)!r} + f'/code{{nth}}.py', 'a').write('#')\n"
        "    time.sleep(0.1)"
    )
    Supervisor(children.running(code), 1, watch=watched).run()
    # One more where a late change ends the third process before it has told that it is the third.
    assert len(children.starts) in (3, 4)


def test_a_process_that_cannot_start_waits_for_a_change_when_reloading(children: Children, tmp_path: Path) -> None:
    watched = tmp_path / "watched"
    watched.mkdir()
    code = "os.kill(os.getppid(), signal.SIGTERM) or time.sleep(60) if nth >= 2 else sys.exit(2)"
    ended = threading.Event()

    def edit() -> None:
        while not ended.wait(0.1) and not children.starts:
            continue
        while not ended.wait(0.1) and len(children.starts) < 2:
            (watched / "code.py").write_text(str(time.monotonic()))

    editing = threading.Thread(target=edit)
    editing.start()
    try:
        Supervisor(children.running(code), 1, watch=watched).run()
    finally:
        ended.set()
        editing.join()
    # One more where a late change ends the second process before it has told that it is the second.
    assert len(children.starts) in (2, 3)


# -- the local stack ------------------------------------------------------------------------------------------------


def variables(child: subprocess.Popen[str], last: str) -> dict[str, str]:
    """What the export lines say, up to that of `last`."""
    assert child.stdout is not None
    found: dict[str, str] = {}
    while last not in found:
        line = child.stdout.readline()
        assert line.startswith(("export ", "unset ")), line
        if line.startswith("export "):
            name, _, value = line.removeprefix("export ").strip().partition("=")
            found[name] = value
    return found


@pytest.fixture
def local(
    start: Start, environment: dict[str, str]
) -> Callable[..., tuple[subprocess.Popen[str], dict[str, str], Lines]]:
    def local(*argv: str) -> tuple[subprocess.Popen[str], dict[str, str], Lines]:
        child = start("local", "up", *argv, AWS_PROFILE="real")
        lines = Lines(child)
        found = {**environment, **variables(child, "TASKQ_APP" if argv else "AWS_EC2_METADATA_DISABLED")}
        lines.wait_for("ready")
        return child, found, lines

    return local


Local = Callable[..., tuple[subprocess.Popen[str], dict[str, str], Lines]]


def stop(child: subprocess.Popen[str], number: int) -> None:
    child.send_signal(number)
    assert child.wait(timeout=60) == 0


def test_a_bare_local_stack_answers_and_ends_with_ctrl_c(local: Local, directory: Path) -> None:
    child, found, _ = local()

    assert run(directory, {**found, "TASKQ_APP": "shop:app"}, "provision").returncode == 0
    assert run(directory, {**found, "TASKQ_APP": "shop:app"}, "doctor").returncode == 0
    stop(child, signal.SIGINT)


def test_a_local_worker_runs_what_is_enqueued_and_leaves_no_process_behind(local: Local, directory: Path) -> None:
    child, found, _ = local("--worker", "shop:app")

    answer = run(directory, found, "enqueue", "where", "--wait", "--timeout", "60")
    assert answer.returncode == 0, answer.stderr
    worker = int(answer.stdout)
    assert alive(worker)

    stop(child, signal.SIGTERM)
    assert not alive(worker)


def test_local_functions_run_what_is_enqueued_and_leave_no_process_behind(local: Local, directory: Path) -> None:
    child, found, _ = local("--lambda", "shop:app")

    answer = run(directory, found, "enqueue", "where", "--wait", "--timeout", "60", "--json")
    assert answer.returncode == 0, answer.stderr
    container = json.loads(answer.stdout)["result"]
    assert container != child.pid

    stop(child, signal.SIGINT)
    until(lambda: not alive(container))


def test_a_local_stack_that_is_killed_takes_its_worker_with_it(local: Local, directory: Path) -> None:
    child, found, _ = local("--worker", "shop:app")
    worker = int(run(directory, found, "enqueue", "where", "--wait", "--timeout", "60").stdout)

    child.kill()

    until(lambda: not alive(worker))


def test_a_local_stack_with_a_wrong_app_ends_with_one_line(directory: Path, environment: dict[str, str]) -> None:
    ended = run(directory, environment, "local", "up", "--worker", "shop:nothing")

    assert ended.returncode == 2
    assert ended.stderr.splitlines() == [
        "taskq: error: app 'shop:nothing': shop has no 'nothing'; did you mean shop:app?"
    ]


def test_a_task_that_does_not_stop_holds_the_local_stack_for_seconds_only(local: Local, directory: Path) -> None:
    child, found, lines = local("--worker", "shop:app")
    run(directory, found, "enqueue", "hang")
    lines.wait_for("hanging")

    stop(child, signal.SIGINT)

    assert lines.having("did not stop: killed") or lines.having("worker of shop ended")


def test_the_variables_of_a_local_stack_can_be_had_as_json(start: Start) -> None:
    child = start("local", "up", "--json", "--app", "shop:app")
    assert child.stdout is not None

    found = json.loads(child.stdout.readline())

    assert found["TASKQ_APP"] == "shop:app"
    assert found["TASKQ_BUCKET"] == "taskq-payloads"
    assert found["AWS_ENDPOINT_URL"].startswith("http://127.0.0.1:")


def test_a_taken_port_is_told(local: Local, directory: Path, environment: dict[str, str]) -> None:
    _, found, _ = local()
    port = found["AWS_ENDPOINT_URL"].rpartition(":")[2]

    ended = run(directory, environment, "local", "up", "--port", port)

    assert ended.returncode == 2
    assert f"cannot listen on 127.0.0.1:{port}" in ended.stderr
    assert "Traceback" not in ended.stderr


# -- workers --------------------------------------------------------------------------------------------------------


def test_worker_processes_share_the_queue_are_recycled_and_stop_together(
    local: Local, start: Start, directory: Path
) -> None:
    _, found, _ = local("--app", "shop:app")
    worker = start(
        "worker",
        "shop:app",
        "--processes",
        "2",
        "--max-tasks",
        "1",
        "--poll-wait",
        "1",
        "--log-format",
        "json",
        **found,
    )
    lines = Lines(worker)
    lines.wait_for("worker of shop started", count=2)

    first = run(directory, found, "enqueue", "where", "--wait", "--timeout", "60").stdout
    lines.wait_for("is recycled")
    second = run(directory, found, "enqueue", "where", "--wait", "--timeout", "60").stdout

    assert first != second
    stop(worker, signal.SIGTERM)
    assert not alive(int(first))
    assert not alive(int(second))


def test_a_worker_ends_with_ctrl_c_and_status_0(local: Local, start: Start) -> None:
    _, found, _ = local("--app", "shop:app")
    worker = start("worker", "shop:app", "--poll-wait", "1", "--log-format", "text", **found)
    lines = Lines(worker)
    lines.wait_for("worker of shop started")

    stop(worker, signal.SIGINT)

    assert not lines.having("Traceback")


def test_bad_input_of_a_supervised_worker_is_told_once(directory: Path, environment: dict[str, str]) -> None:
    ended = run(directory, environment, "worker", "shop:app", "--processes", "2", "--queues", "nope")

    assert ended.returncode == 2
    assert ended.stderr.count("queue 'nope' is not declared") == 1
    assert "Traceback" not in ended.stderr


def test_a_task_does_not_inherit_the_mark_of_a_supervised_process(local: Local, start: Start, directory: Path) -> None:
    (directory / "shop.py").write_text(
        SHOP + f"\n@app.task\ndef mark() -> bool:\n    return {CHILD_VARIABLE!r} in os.environ\n"
    )
    _, found, _ = local("--worker", "shop:app")

    assert run(directory, found, "enqueue", "mark", "--wait", "--timeout", "60").stdout == "false\n"


# -- pipes ----------------------------------------------------------------------------------------------------------


def test_a_reader_that_leaves_early_is_no_error(local: Local, directory: Path) -> None:
    _, found, _ = local("--app", "shop:app")
    read, write = os.pipe()
    os.close(read)
    try:
        ended = subprocess.run(
            [sys.executable, "-m", "taskq_sls", "provision"],
            cwd=directory,
            env=found,
            stdout=write,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    finally:
        os.close(write)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_ctrl_c_while_waiting_is_130_without_a_traceback(local: Local, start: Start) -> None:
    _, found, _ = local("--app", "shop:app")
    waiting = start("enqueue", "double", "--args", "[1]", "--wait", **found)
    lines = Lines(waiting)
    lines.wait_for("waiting")

    waiting.send_signal(signal.SIGINT)

    # To a shell both are 130. With -m, Python ends by the signal where it struck inside of an `exec` of a text, as when
    # a module with named tuples is imported, although the exception was caught.
    assert waiting.wait(timeout=60) in (130, -signal.SIGINT)
    assert not lines.having("Traceback")
