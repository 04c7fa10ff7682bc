"""The code of a child process: runs one task at a time, in its main thread, until its parent ends."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import fcntl
import importlib
import inspect
import logging
import os
import pickle
import select
import signal
import socket
import sys
import threading
import traceback
from queue import SimpleQueue
from types import FrameType
from typing import Any

from ...core.context import NO_STATE, Progress, TaskContext, _current
from ...core.forks import end_fork, reset_in_forks
from ...core.interrupts import TaskInterrupted
from ...errors import ArgumentsError, ConfigError
from ...serialization import Signature, compile_signature
from ..attempt import Definition
from .exceptions import pack
from .frames import FrameError, FrameReader, MessageKind, frame
from .log_records import Forwarder, Levels, forward, forward_only

PROGRESS_SECONDS = 0.25
"""Time between two reports of the progress to the parent, which writes it at most once a second."""

importing = False
"""True while a child process imports the module of a task."""


def main(connection: socket.socket, lifeline: int, levels: Levels) -> None:
    """Serve the parent at the other end of `connection`; never returns.

    Args:
        lifeline: a pipe that the parent keeps open until it ends.
    """
    connection.set_inheritable(False)  # a program that the task starts must not keep it open
    _die_with(lifeline)
    _Child(connection).serve(levels)


class _Child:
    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._process = os.getpid()
        self._serial = 0
        self._lock = threading.Lock()
        self._jobs: SimpleQueue[tuple[int, dict[str, Any], TaskContext | BaseException]] = SimpleQueue()
        self._context: TaskContext | None = None
        self._progress: Progress | None = None
        # The parent wants the end, the function can be interrupted, and it has been interrupted.
        self._end_requested = self._interruptible = self._interrupted = False
        # The main thread sends a message, and an interrupt waits for its end: half a message would garble the rest.
        self._sending = self._interrupt_waits = False

    def serve(self, levels: Levels) -> None:
        signal.signal(signal.SIGTERM, self._on_terminate)
        reset_in_forks(signal.SIGTERM)
        self._forwarder = forward(levels, lambda record: self._send(MessageKind.LOG, 0, record))
        os.register_at_fork(after_in_child=self._in_fork)
        threading.Thread(target=self._listen, name="taskq-child", daemon=True).start()
        while True:
            serial, request, context = self._jobs.get()
            self._send(MessageKind.BEGAN, serial)
            kind, value = contextvars.copy_context().run(self._attempt, request, context)
            for stream in (sys.stdout, sys.stderr):
                with contextlib.suppress(Exception):  # the task closed it, or its reader is gone
                    stream.flush()
            progress = None if isinstance(context, BaseException) else _plain(context._execution.progress)
            self._context = None
            try:
                self._send(kind, serial, value, progress)
            except FrameError as error:
                self._send(MessageKind.RESULT_REJECTED, serial, str(error), progress)

    # -- the attempt, in the main thread ------------------------------------------------------------------------

    def _attempt(self, request: dict[str, Any], context: TaskContext | BaseException) -> tuple[MessageKind, Any]:
        reply: tuple[MessageKind, Any] | None = None
        try:
            try:
                if isinstance(context, BaseException):
                    raise context
                _current.set(context)
                self._interruptible = True
                if self._end_requested:  # before the function could be interrupted
                    raise TaskInterrupted
                _import(request["target"][0], self._forwarder)
                reply = _call(request, context)
                if os.getpid() != self._process:
                    end_fork(None)
            except BaseException as error:
                if os.getpid() != self._process:
                    end_fork(error)
                reply = _failure(error)
            self._interruptible = False
        except TaskInterrupted as late:
            # Raised after the function's last line: the value of the function counts.
            self._interruptible = False
            reply = reply or _failure(late)
        return reply

    def _on_terminate(self, number: int, frame: FrameType | None) -> None:
        """Interrupt the function, if the signal came from the parent.

        A service manager that stops the worker may signal all its processes. Then the worker's grace period counts.
        """
        if not self._end_requested or not self._interruptible or self._interrupted:
            return
        if self._sending:
            self._interrupt_waits = True
            return
        self._interrupted = True
        raise TaskInterrupted("the attempt must end")

    def _send(self, kind: MessageKind, serial: int, value: Any = None, progress: Any = None) -> None:
        if os.getpid() != self._process:  # a fork that ran no hook
            return
        message = frame((kind, serial, value, progress))
        main = threading.current_thread() is threading.main_thread()
        self._sending = self._sending or main
        try:
            with self._lock:
                self._connection.sendall(message)
        except OSError:  # the parent has ended; `_listen` notices that too
            pass
        finally:
            if main:
                self._sending = False
        if main and self._interrupt_waits:
            self._interrupt_waits = False
            self._on_terminate(signal.SIGTERM, None)

    def _in_fork(self) -> None:
        """Cut the connection in a process that the task forks: it must not answer the parent."""
        self._connection.close()
        logging.root.removeHandler(self._forwarder)
        logging.root.addHandler(logging.StreamHandler())

    # -- the messages of the parent, in a thread ----------------------------------------------------------------

    def _listen(self) -> None:
        try:
            self._receive_all()
        except BaseException:
            traceback.print_exc()
        finally:
            _die()  # no other code receives the messages of the parent

    def _receive_all(self) -> None:
        reader, poll = FrameReader(3), select.poll()
        poll.register(self._connection, select.POLLIN)
        while True:
            if not poll.poll(None if self._context is None else PROGRESS_SECONDS * 1000):
                self._report_progress()
                continue
            try:
                data = self._connection.recv(1 << 16)
            except OSError:
                data = b""
            if not data:
                return
            reader.feed(data)
            while (message := reader.next()) is not None:
                self._handle(*message)

    def _handle(self, kind: MessageKind, serial: int, value: Any) -> None:
        if kind is MessageKind.RUN:
            self._serial, self._progress = serial, None
            context: TaskContext | BaseException
            try:
                context = self._context = TaskContext(**pickle.loads(value["context"]), state=NO_STATE)
            except BaseException as error:
                context = error
            self._jobs.put((serial, value, context))
            return
        if serial != self._serial:
            return
        if self._context is not None and value is not None:
            self._context._execution.stop_reason = value
        if kind is MessageKind.END:
            self._end_requested = True
            # Sent to the main thread, to interrupt a system call there.
            main = threading.main_thread().ident
            assert main is not None
            signal.pthread_kill(main, signal.SIGTERM)

    def _report_progress(self) -> None:
        context = self._context
        if context is not None and context._execution.progress is not self._progress:
            self._progress = context._execution.progress
            self._send(MessageKind.PROGRESS, self._serial, None, _plain(self._progress))


def _call(request: dict[str, Any], context: TaskContext) -> tuple[MessageKind, Any]:
    function, signature = _find(request["target"], request["wants_context"])
    args, kwargs = signature.decode(*request["call"])
    result = function(context, *args, **kwargs) if request["wants_context"] else function(*args, **kwargs)
    if inspect.iscoroutine(result):  # a sync decorator hides an async function
        result = asyncio.run(result)
    try:
        return MessageKind.RETURNED, signature.encode_result(result)
    except ArgumentsError as error:
        return MessageKind.RESULT_REJECTED, str(error)


def _import(module: str, forwarder: Forwarder) -> None:
    """Import the module of a task. It may set up logging, which is undone."""
    global importing
    if module in sys.modules:
        return
    importing = True
    try:
        importlib.import_module(module)
    finally:
        importing = False
        forward_only(forwarder)


def _find(target: tuple[str, str], wants_context: bool) -> tuple[Any, Signature]:
    """The function and its signature."""
    module, qualname = target
    found: Any = sys.modules[module]
    try:
        for name in qualname.split("."):
            found = getattr(found, name)
    except AttributeError:
        raise ConfigError(
            f'{module}:{qualname} cannot be found in a fresh interpreter, which run_in="process" needs: define it '
            "unconditionally at the top of its module"
        ) from None
    outermost = found
    while not isinstance(definition := getattr(found, "_definition", None), Definition):
        if not hasattr(found, "__wrapped__"):
            return outermost, compile_signature(outermost, skip_first=wants_context)
        found = found.__wrapped__
    signature = definition.signature()
    assert isinstance(signature, Signature)
    return definition.function, signature


def _failure(error: BaseException) -> tuple[MessageKind, Any]:
    kind = MessageKind.INTERRUPTED if isinstance(error, TaskInterrupted) else MessageKind.FAILED
    return kind, pack(error)


def _plain(progress: Progress | None) -> tuple[Any, ...] | None:
    if progress is None:
        return None
    try:
        return (float(progress.done), None if progress.total is None else float(progress.total), progress.note)
    except (TypeError, ValueError):
        return None


def _die_with(lifeline: int) -> None:
    """Let the kernel kill this process group when the pipe closes.

    The thread that reads messages notices the parent's end too, but not while other code holds the GIL. Linux only.
    """
    os.set_inheritable(lifeline, False)
    if hasattr(fcntl, "F_SETSIG"):
        fcntl.fcntl(lifeline, fcntl.F_SETOWN, -os.getpid())
        fcntl.fcntl(lifeline, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC)


def _die() -> None:
    """End this process with all that the task has started: its lease is not renewed any more."""
    try:
        os.killpg(os.getpid(), signal.SIGKILL)
    finally:
        os._exit(1)
