"""The parent's side of one child process: starts it, runs tasks in it, ends it."""

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
from typing import Any, NamedTuple

from ...core.context import Progress, TaskContext
from ...errors import TaskCrashed
from . import log_records
from .frames import FrameError, FrameReader, MessageKind, frame

NOTICE_SECONDS = 1.0
"""Time that a cancelled task has to see ``ctx.cancelled`` before its function is interrupted."""

KILL_SECONDS = 2.0
"""Time that an interrupted function has to end before its process is killed. Shorter than a stopping worker waits."""

EXIT_CHECK_SECONDS = 1.0
"""Time between two checks if a process has ended. A process that it forked may keep its connection open."""

# The path comes first: the library may be on a path that only this process has.
_BOOT = """
import json, socket, sys
connection = socket.socket(fileno=int(sys.argv[1]))
setup = json.loads(connection.makefile("rb", 0).readline())
sys.path[:] = setup["path"]
from taskq_sls.engine.processes.child import main
main(connection, int(sys.argv[2]), setup["levels"])
"""


class Reply(NamedTuple):
    """How a task ended in its process.

    Args:
        kind: one of the last six of `MessageKind`.
        value: of RETURNED the result's JSON, of RESULT_REJECTED and GARBLED the reason, of FAILED and INTERRUPTED the
            packed exception, of CRASHED the exit status as subprocess gives it.
    """

    kind: MessageKind
    value: Any


class ChildProcess:
    """A process that waits for tasks.

    Attributes:
        idle_since: end of its last task, by the loop's clock.
        used: it has run a task before the present one.
        began: it has begun the present task.
        stopping: it is ending, and gets no further task.

    Raises:
        TaskCrashed: it could not be started.
    """

    def __init__(self) -> None:
        self.idle_since = 0.0
        self.used = self.began = False
        self.stopping = False
        self._end_requested = False
        self._has_task = False
        self._timers: list[asyncio.TimerHandle] = []
        self._reader = FrameReader(4)
        self._serial = 0  # of its present task; every answer contains it
        self._socket, theirs = socket.socketpair()
        # Never written to: when this process ends, its end of the pipe closes, which ends the child.
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
        # The child ends with this object, however that ends.
        self._finalizer = weakref.finalize(self, _end_now, self._process, self._socket, self._lifeline)
        setup = {"path": sys.path, "levels": log_records.levels()}
        with contextlib.suppress(OSError):  # it has ended already; the first task finds out
            self._socket.sendall(json.dumps(setup).encode() + b"\n")
        self._socket.setblocking(False)

    @property
    def alive(self) -> bool:
        return self._finalizer.alive and self._process.poll() is None

    async def run_task(self, request: dict[str, Any], context: TaskContext) -> Reply:
        """Run a task in the process. If the process is `stopping` after that, it has ended."""
        loop = asyncio.get_running_loop()
        self.began = False
        self._serial += 1
        self._timers = [loop.call_later(EXIT_CHECK_SECONDS, self._check_exit, loop)]
        try:
            await loop.sock_sendall(self._socket, frame((MessageKind.RUN, self._serial, request)))
            self._has_task = True
            end = await self._receive_reply(loop, context)
        except FrameError as error:
            if not self._has_task:  # the request could not be sent
                raise
            await self._reap()
            end = Reply(MessageKind.GARBLED, str(error))
        except (EOFError, OSError):
            end = Reply(MessageKind.CRASHED, await self._reap())
        finally:
            self._has_task = False
            for timer in self._timers:
                timer.cancel()
            self._timers = []
        if self.stopping:
            await self._reap()
        return end

    def stop(self, reason: str | None) -> None:
        """End its task. Called on the loop's thread. A task that a user cancelled first gets time to notice.

        Args:
            reason: the attempt's stop reason; None for the time limit.
        """
        loop = asyncio.get_running_loop()
        first, self.stopping = not self.stopping, True
        if not self._has_task:  # it has not received its task yet
            self.kill()
        elif reason == "cancelled" and first:
            self._send(MessageKind.STOP_REASON, reason)
            self._timers.append(loop.call_later(NOTICE_SECONDS, self._request_end, loop, reason))
        else:
            self._request_end(loop, reason)

    def kill(self) -> None:
        """Kill it and all processes that it has started."""
        self.stopping = True
        _signal(self._process, signal.SIGKILL)

    def close(self) -> None:
        """Kill it and wait for its end."""
        self.stopping = True
        self._finalizer()

    def _request_end(self, loop: asyncio.AbstractEventLoop, reason: str | None) -> None:
        if self._end_requested:
            return
        self._end_requested = True
        self._send(MessageKind.END, reason)
        _signal(self._process, signal.SIGTERM)
        self._timers.append(loop.call_later(KILL_SECONDS, self.kill))

    def _send(self, kind: MessageKind, reason: str | None) -> None:
        with contextlib.suppress(OSError):  # it has ended, or is too busy to read: the signals reach it
            self._socket.send(frame((kind, self._serial, reason)))

    async def _receive_reply(self, loop: asyncio.AbstractEventLoop, context: TaskContext) -> Reply:
        while True:
            kind, serial, value, progress = await self._receive(loop)
            if kind is MessageKind.LOG:
                with contextlib.suppress(Exception):  # a record of classes that exist only in the child
                    log_records.write(value)
                continue
            if serial != self._serial:
                if kind is MessageKind.PROGRESS:  # another thread of the child sent it after the answer
                    continue
                raise FrameError(f"an answer to request {serial}, but {self._serial} was sent")
            if progress is not None:
                context._execution.report_progress(Progress(*progress))
            if kind is MessageKind.BEGAN:
                self.began = True
            elif kind is not MessageKind.PROGRESS:
                return Reply(kind, value)

    async def _receive(self, loop: asyncio.AbstractEventLoop) -> Any:
        while (message := self._reader.next()) is None:
            data = await loop.sock_recv(self._socket, 1 << 16)
            if not data:
                raise EOFError
            self._reader.feed(data)
        return message

    def _check_exit(self, loop: asyncio.AbstractEventLoop) -> None:
        """Close the connection if the process has ended but a process that it forked keeps the connection open."""
        if self._process.returncode is not None:
            return
        ended = os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if ended is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)
            return
        self._timers[0] = loop.call_later(EXIT_CHECK_SECONDS, self._check_exit, loop)

    async def _reap(self) -> int:
        """Kill the process with all that it has started. Returns its exit status."""
        self.kill()
        pause = 0.001
        while (status := self._process.poll()) is None:
            await asyncio.sleep(pause)
            pause = min(0.05, pause * 2)
        self._finalizer()
        return status


def describe_exit(status: int) -> str:
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
    if process.returncode is None:  # else its number may belong to another process now
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, number)


def _end_now(process: subprocess.Popen[bytes], connection: socket.socket, lifeline: int) -> None:
    _signal(process, signal.SIGKILL)
    process.wait()
    connection.close()
    os.close(lifeline)
