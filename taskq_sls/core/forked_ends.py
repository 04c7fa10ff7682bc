"""The end of a process that a task has forked: it is not the worker, and must not go on as if it were."""

from __future__ import annotations

import os
import sys
import traceback
from typing import NoReturn


def end_fork(error: BaseException | None) -> NoReturn:
    """End this process as a program would that came to its end, by itself or with an exception. No exit handler runs."""
    status = 0 if error is None else 1
    try:
        if isinstance(error, SystemExit):
            status = error.code if isinstance(error.code, int) else int(error.code is not None)
        elif error is not None:
            traceback.print_exception(error)
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
    finally:
        os._exit(status & 0xFF)
