"""The end of a process in which locks are held for ever and nobody reads stderr."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from typing import Any

import pytest

from taskq_sls.core import forced_end
from taskq_sls.core.forced_end import ShutdownWatchdog, stacks

END = """
import logging, threading
from taskq_sls.core.forced_end import end_process

logging.basicConfig()

def lock_everything() -> None:
    logging._lock.acquire()
    logging.getLogger().handlers[0].acquire()
    threading._active_limbo_lock.acquire()
    locked.set()

locked = threading.Event()
threading.Thread(target=lock_everything, daemon=True).start()
locked.wait()
end_process(7, "no way on", action="ended", logger="taskq_sls.test", with_stacks=True)
"""


def start(stderr: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", END], stderr=stderr, stdin=subprocess.DEVNULL)


def test_it_ends_and_says_why_although_every_lock_of_logging_is_taken() -> None:
    child = start(subprocess.PIPE)
    _, written = child.communicate(timeout=60)
    assert child.returncode == 7
    line, _, rest = written.decode().partition("\n")
    event = json.loads(line)
    assert event.pop("timestamp")
    assert event == {"level": "CRITICAL", "logger": "taskq_sls.test", "message": "no way on", "action": "ended"}
    assert "(MainThread), most recent call first:" in rest


def test_it_ends_although_nobody_reads_stderr() -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    try:
        while os.write(writing, b"x" * 512):
            continue
    except BlockingIOError:
        os.set_blocking(writing, True)
    try:
        assert start(writing).wait(60) == 7
    finally:
        os.close(reading)
        os.close(writing)


def test_it_ends_although_stderr_is_closed() -> None:
    child = subprocess.Popen(["/bin/sh", "-c", 'exec "$0" -c "$1" 2>&-', sys.executable, END])
    assert child.wait(60) == 7


LIMITED = """
import _thread, signal, sys, time
from taskq_sls.core import forced_end

def refuse(function, args):
    raise RuntimeError("can't start new thread")

_thread.start_new_thread = refuse
signal.signal(signal.SIGALRM, signal.SIG_IGN)
last_resort = forced_end.ShutdownWatchdog("no way on", action="ended", logger="taskq_sls.test")
last_resort.arm(0.01)
last_resort.cancel()
time.sleep(0.1)
print("alive", flush=True)
last_resort.arm(600)
{arm}
time.sleep(60)
"""


@pytest.mark.parametrize("arm", ["last_resort.arm(0.01)", "forced_end.exit_after(0.01, 7)"])
def test_it_ends_although_no_thread_can_be_started(arm: str) -> None:
    script = LIMITED.replace("{arm}", arm)
    child = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=50, check=False)
    assert (child.returncode, child.stdout) == (-signal.SIGALRM, "alive\n"), child.stderr


def test_stacks_name_threads_and_functions() -> None:
    release = threading.Event()
    thread = threading.Thread(target=release.wait, args=(60,), name="waiting-for-the-test")
    thread.start()
    try:
        text = stacks()
    finally:
        release.set()
        thread.join()
    assert "(waiting-for-the-test), most recent call first:" in text
    assert f'File "{__file__}"' in text
    assert "in test_stacks_name_threads_and_functions" in text


class Ends:
    """What `ShutdownWatchdog` would have ended the process with."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.statuses: list[int] = []
        self.ended = threading.Event()
        monkeypatch.setattr(forced_end, "end_process", self._end)

    def _end(self, status: int, message: str, **more: Any) -> None:
        self.statuses.append(status)
        self.ended.set()
        raise SystemExit  # of the thread


@pytest.fixture
def ends(monkeypatch: pytest.MonkeyPatch) -> Ends:
    return Ends(monkeypatch)


def last_resort() -> ShutdownWatchdog:
    return ShutdownWatchdog("too late", action="late", logger="taskq_sls.test")


def test_a_last_resort_ends_the_process_with_its_status(ends: Ends) -> None:
    last_resort().arm(0.01, 75)
    assert ends.ended.wait(60)
    assert ends.statuses == [75]


def test_the_earliest_time_counts_so_that_signal_after_signal_puts_nothing_off(ends: Ends) -> None:
    resort = last_resort()
    resort.arm(600)
    resort.arm(0.01, 2)
    resort.arm(600)
    assert ends.ended.wait(60)


def test_a_last_resort_that_was_cancelled_ends_nothing_until_it_is_armed_again(ends: Ends) -> None:
    resort = last_resort()
    resort.arm(0.3)
    resort.cancel()
    assert not resort.armed
    time.sleep(0.5)
    assert ends.statuses == []
    resort.arm(0.01, 3)
    assert ends.ended.wait(60)
    assert ends.statuses == [3]
