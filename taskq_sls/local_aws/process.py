"""A child process that answers lines with lines, within a time."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence

CHUNK = 65_536

LINGER = 1.0
"""Seconds between the end of a process's pipes and its own."""


class Late(Exception):
    """No answer within the time."""


class Ended(Exception):
    """The process ended, or closed its pipes."""


class Process:
    """A Python module run in a child process, in a process group of its own.

    Args:
        command: the module and its arguments.
        environment: all of its environment.
        directory: its working directory; default this process's.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        directory: str | os.PathLike[str] | None = None,
    ) -> None:
        self._child = subprocess.Popen(
            [sys.executable, "-m", *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            env=dict(environment),
            cwd=directory,
            # A process group of its own: child processes are killed with it, and Ctrl-C reaches only the parent.
            start_new_session=True,
        )
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._stdin, self._stdout = self._child.stdin, self._child.stdout
        # A function that does not read must not block us beyond its timeout.
        os.set_blocking(self._stdin.fileno(), False)
        self._read = bytearray()

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def exit_status(self) -> str:
        """How it ended, in words."""
        code = self._child.returncode
        if code is None:
            return "its pipes closed"
        return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"

    def exchange(self, line: bytes, timeout: float) -> bytes:
        """Write `line` (may be empty) and return the next line it writes.

        Raises:
            Late: `timeout` seconds passed.
            Ended: it ended first.
        """
        deadline = time.monotonic() + timeout
        unsent = memoryview(line)
        with selectors.DefaultSelector() as selector:
            selector.register(self._stdout, selectors.EVENT_READ)
            if unsent:
                selector.register(self._stdin, selectors.EVENT_WRITE)
            while True:
                remaining = deadline - time.monotonic()
                if remaining <= 0:
                    raise Late
                for key, _ in selector.select(remaining):
                    if key.fileobj is self._stdout:
                        answer = self._receive()
                        if answer is not None:
                            return answer
                    else:
                        unsent = self._send(unsent)
                        if not unsent:
                            selector.unregister(self._stdin)

    def kill(self) -> None:
        """Kill it and everything in its group, and wait for its end."""
        # Before it is waited for: until then nothing else can have its id.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._child.pid, signal.SIGKILL)
        self._child.wait()
        self._stdin.close()
        self._stdout.close()

    def _receive(self) -> bytes | None:
        chunk = os.read(self._stdout.fileno(), CHUNK)
        if not chunk:
            self._linger()
            raise Ended
        self._read += chunk
        if b"\n" not in chunk:
            return None
        line, _, rest = bytes(self._read).partition(b"\n")
        self._read = bytearray(rest)
        return line

    def _send(self, unsent: memoryview) -> memoryview:
        try:
            return unsent[os.write(self._stdin.fileno(), unsent[:CHUNK]) :]
        except BlockingIOError:
            return unsent
        except BrokenPipeError:
            self._linger()
            raise Ended from None

    def _linger(self) -> None:
        """Let a process that closed its pipes reach its own end, so that its exit status is known.

        It is not reaped here: its group is killed first, and until then the id must stay its own.
        """
        deadline = time.monotonic() + LINGER
        look = os.WEXITED | os.WNOHANG | os.WNOWAIT
        while os.waitid(os.P_PID, self._child.pid, look) is None and time.monotonic() < deadline:
            time.sleep(0.005)
