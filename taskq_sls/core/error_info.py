"""An exception as text, for records, dead letters and other processes."""

from __future__ import annotations

import itertools
import os
import traceback

from .message import ErrorInfo
from .safe_text import class_name, text_of

_OWN_FOLDER = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep

MAX_FRAMES = 1_100
"""Frames of an exception that are read; above Python's own limit of recursion, so that few tracebacks are cut."""


class RemoteTraceback(Exception):
    """The cause of an exception that came from another process, with its description there."""

    def __init__(self, info: ErrorInfo) -> None:
        self.info = info
        super().__init__(info)

    def __str__(self) -> str:
        return f"in a child process\n\n{self.info.traceback.rstrip()}"


def error_info(error: BaseException) -> ErrorInfo:
    """An exception as text. Never raises, whatever its class does."""
    name, text = class_name(type(error)), text_of(error)
    try:
        if isinstance(error.__cause__, RemoteTraceback):
            return error.__cause__.info
        lines = "".join(_without_own_frames(_limited(error)).format())
    except BaseException:  # attributes of the exception's class that raise, or too deep a group of exceptions
        lines = f"{name}: {text}\n"
    return ErrorInfo(name, text, lines)


def _limited(error: BaseException) -> traceback.TracebackException:
    """The traceback with the innermost `MAX_FRAMES` frames; of its causes with the outermost ones.

    A frame costs up to 80 microseconds of the worker's event loop, and recursion may leave a million.
    """
    start = end = error.__traceback__
    for _ in range(MAX_FRAMES):
        end = end and end.tb_next
    while start and end:
        start, end = start.tb_next, end.tb_next
    return traceback.TracebackException(type(error), error, start, limit=MAX_FRAMES)


def _without_own_frames(whole: traceback.TracebackException) -> traceback.TracebackException:
    """The traceback, and those of its causes, each from its first frame outside of this library."""
    part: traceback.TracebackException | None = whole
    while part is not None:
        frames = list(itertools.dropwhile(lambda frame: frame.filename.startswith(_OWN_FOLDER), part.stack))
        part.stack = traceback.StackSummary.from_list(frames)
        part = part.__cause__ or part.__context__
    return whole
