"""The demo as a user runs it: a process that starts a server and a worker, and leaves nothing behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

MARK = "DEMO_TEST_MARK"

pytestmark = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds left processes through /proc")


def start(*arguments: str, **environment: str) -> tuple[subprocess.Popen[str], str]:
    """The demo, and the mark that all its processes inherit."""
    mark = uuid.uuid4().hex
    demo = subprocess.Popen(
        [sys.executable, "-m", "local.demo", *arguments],
        cwd=ROOT,
        env={**os.environ, MARK: mark, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    return demo, mark


@contextmanager
def ended(demo: subprocess.Popen[str]) -> Iterator[None]:
    try:
        yield
    finally:
        demo.kill()
        demo.communicate()


def processes_with(mark: str) -> list[int]:
    wanted = f"{MARK}={mark}".encode()
    found = []
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            if wanted in (directory / "environ").read_bytes().split(b"\0"):
                found.append(int(directory.name))
        except OSError:
            continue  # it has ended, or is another user's
    return found


def test_the_demo_prints_every_result_and_leaves_no_process() -> None:
    demo, mark = start("json", "email", "email.mime", "--processes", "1")
    with ended(demo):
        output, errors = demo.communicate(timeout=90)

    assert (demo.returncode, errors) == (0, "")
    assert "3 packages, one task each" in output
    assert "3/3 tasks in" in output
    assert "3 tasks, 3 results" in output
    assert "\r" not in output
    # Sub-packages are counted with their package.
    assert re.search(r"^email +\d\d ", output, re.MULTILINE)
    assert re.search(r"^_make_iterencode +\d+  json/encoder.py:\d+$", output, re.MULTILINE)
    assert processes_with(mark) == []


def test_a_failed_task_is_named_with_its_error_and_the_exit_status_is_1() -> None:
    demo, mark = start("json", "no_such_package", "--processes", "1")
    with ended(demo):
        _, errors = demo.communicate(timeout=90)

    assert demo.returncode == 1
    assert "1 of 2 tasks did not succeed" in errors
    assert "no_such_package: " in errors
    assert "FileNotFoundError: the standard library in" in errors
    assert processes_with(mark) == []


def test_variables_that_name_real_resources_do_not_lead_the_demo_there() -> None:
    elsewhere = "http://127.0.0.1:9"
    demo, _ = start(
        "json",
        "--processes",
        "1",
        AWS_ENDPOINT_URL_SQS=elsewhere,
        AWS_PROFILE="no-such-profile",
        TASKQ_QUEUE_URLS=f'{{"default": "{elsewhere}/queue"}}',
        TASKQ_TABLE="production",
    )
    with ended(demo):
        output, errors = demo.communicate(timeout=90)

    assert (demo.returncode, errors) == (0, "")
    assert "1 tasks, 1 results" in output


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_demo_stops_its_worker_and_server(number: signal.Signals) -> None:
    demo, mark = start("--processes", "1")
    with ended(demo):
        assert demo.stdout is not None
        assert "packages, one task each" in demo.stdout.readline()
        demo.send_signal(number)
        _, errors = demo.communicate(timeout=60)

    # With -m, Python ends by SIGINT itself where the exception, although caught, struck inside of an `exec` of a text.
    assert demo.returncode in (130, -signal.SIGINT)
    assert errors == "demo: interrupted; everything is stopped\n"
    assert processes_with(mark) == []
