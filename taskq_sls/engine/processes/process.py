"""The parent's side of one child process: starting it, talking to it, ending it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import weakref
from typing import Any

from ...core.context import Progress, TaskContext
from ...errors import TaskCrashed
from . import log_records
from .frames import FrameError, FrameReader, frame

NOTICE_SECONDS = 1.0
"""How long a cancelled task may take to see ``ctx.cancelled`` before its process is asked to end."""

KILL_SECONDS = 2.0
"""How long a process that was asked to end may take before it is killed. Below what a stopping worker waits."""

LOOK_SECONDS = 1.0
"""How often to look whether a process has ended although somebody else keeps its connection open."""

# The library may stand on a path that only this process has: so the path comes first.
_BOOT = """
import json, socket, sys
connection = socket.socket(fileno=int(sys.argv[1]))
setup = json.loads(connection.makefile("rb", 0).readline())
sys.path[:] = setup["path"]
from taskq_sls.engine.processes.child import main
main(connection, int(sys.argv[2]), setup["levels"])
"""


class ChildProcess:
    """A process that waits for tasks.

    Attributes:
        idle_since: when its last task ended, by the loop's clock.
        served: whether it has had a task before the present one.
        began: whether it has begun with the present one.
        stopping: whether its end was asked for; then it is given no further task.

    Raises:
        TaskCrashed: it could not be started.
    """

    def __init__(self) -> None:
        self.idle_since = 0.0
        self.served = self.began = False
        self.stopping = False
        self._asked = False
        self._may_be_told = False
        self._timers: list[asyncio.TimerHandle] = []
        self._inbox = FrameReader(4)
        self._serial = 0  # of its present task; it comes back with every answer
        self._socket, theirs = socket.socketpair()
        # Nothing is ever written to it: its end tells the child's kernel, if need be, that this process is gone.
        lifeline, self._lifeline = os.pipe()
        # So that the flags of this interpreter (-W, -X, -O, ...) hold in the child.
        flags: list[str] = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]  # not in typeshed
        try:
            self._process = subprocess.Popen(
                [sys.executable, *flags, "-c", _BOOT, str(theirs.fileno()), str(lifeline)],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno(), lifeline],
                process_group=0,
            )
        except OSError as error:
            self._socket.close()
            os.close(self._lifeline)
            raise TaskCrashed(f"a child process could not be started: {error}") from error
        finally:
            theirs.close()
            os.close(lifeline)
        # Whatever happens to its owner: no child is left behind.
        self._finalizer = weakref.finalize(self, _end_now, self._process, self._socket, self._lifeline)
        setup = {"path": sys.path, "levels": log_records.levels()}
        with contextlib.suppress(OSError):  # it has ended already; the first task will see it
            self._socket.sendall(json.dumps(setup).encode() + b"\n")
        self._socket.setblocking(False)

    @property
    def alive(self) -> bool:
        return self._finalizer.alive and self._process.poll() is None

    async def converse(self, request: dict[str, Any], context: TaskContext) -> tuple[str, Any]:
        """Have it run a task.

        Returns:
            What became of it: ``done`` and the result's JSON, ``unfit`` and why, ``failed`` or ``interrupted`` and the
            packed exception; ``crashed`` and the exit status, as subprocess gives it; or ``garbled`` and why, where
            it was killed over an answer that is not to this task. Unless the process goes on to serve, it has ended.
        """
        loop = asyncio.get_running_loop()
        self.began = False
        self._serial += 1
        watch = loop.call_later(LOOK_SECONDS, self._look, loop)
        self._timers = [watch]
        try:
            await loop.sock_sendall(self._socket, frame(("run", self._serial, request)))
            self._may_be_told = True
            while True:
                word, serial, value, progress = await self._receive(loop)
                if word == "log":
                    with contextlib.suppress(Exception):  # a record of classes that exist only over there
                        log_records.write(value)
                    continue
                if serial != self._serial:
                    if word == "progress":  # its other thread sent it after the answer
                        continue
                    raise FrameError(f"an answer to request {serial}, where {self._serial} was sent")
                if progress is not None:
                    context._execution.report_progress(Progress(*progress))
                if word == "began":
                    self.began = True
                elif word != "progress":
                    reply = word, value
                    break
        except FrameError as error:
            if not self._may_be_told:  # the request could not be sent
                raise
            await self._reap()
            reply = "garbled", str(error)
        except (EOFError, OSError):
            reply = "crashed", await self._reap()
        finally:
            self._may_be_told = False
            for timer in self._timers:
                timer.cancel()
            self._timers = []
        if self.stopping:
            await self._reap()
        return reply

    def stop(self, reason: str | None) -> None:
        """Make its task end, on the loop's thread: by a word first where a user cancelled it, then by signals.

        Args:
            reason: the attempt's stop reason; None for the time limit.
        """
        loop = asyncio.get_running_loop()
        if not self._may_be_told:  # it has not got its task yet
            self.stopping = True
            self.kill()
        elif reason == "cancelled" and not self.stopping:
            self.stopping = True
            self._tell("told", reason)
            self._timers.append(loop.call_later(NOTICE_SECONDS, self._ask_to_end, loop, reason))
        else:
            self.stopping = True
            self._ask_to_end(loop, reason)

    def kill(self) -> None:
        """End it and all that it has started, at once."""
        self.stopping = True
        _signal(self._process, signal.SIGKILL)

    def close(self) -> None:
        """End it and wait for that."""
        self.stopping = True
        self._finalizer()

    def _ask_to_end(self, loop: asyncio.AbstractEventLoop, reason: str | None) -> None:
        if self._asked:
            return
        self._asked = True
        self._tell("end", reason)
        _signal(self._process, signal.SIGTERM)
        self._timers.append(loop.call_later(KILL_SECONDS, self.kill))

    def _tell(self, word: str, reason: str | None) -> None:
        with contextlib.suppress(OSError):  # gone, or so busy that it does not listen: the signals reach it
            self._socket.send(frame((word, self._serial, reason)))

    async def _receive(self, loop: asyncio.AbstractEventLoop) -> Any:
        while (message := self._inbox.next()) is None:
            data = await loop.sock_recv(self._socket, 1 << 16)
            if not data:
                raise EOFError
            self._inbox.feed(data)
        return message

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        """Whether it has ended, and a process that it forked keeps the connection open."""
        if self._process.returncode is not None:
            return
        ended = os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if ended is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)
            return
        self._timers[0] = loop.call_later(LOOK_SECONDS, self._look, loop)

    async def _reap(self) -> int:
        """Kill what is left of it, and wait until it has ended; its exit status."""
        self.kill()
        pause = 0.001
        while (status := self._process.poll()) is None:
            await asyncio.sleep(pause)
            pause = min(0.05, pause * 2)
        self._finalizer()
        return status


def how_it_ended(status: int) -> str:
    """An exit status in words."""
    if status >= 0:
        return f"exit status {status}"
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = str(-status)
    hint = "; the system kills processes when memory runs out" if -status == signal.SIGKILL else ""
    return f"signal {name} ({signal.strsignal(-status)}{hint})"


def _signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    if process.returncode is None:  # else its number may be another's by now
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, number)


def _end_now(process: subprocess.Popen[bytes], connection: socket.socket, lifeline: int) -> None:
    _signal(process, signal.SIGKILL)
    process.wait()
    connection.close()
    os.close(lifeline)
