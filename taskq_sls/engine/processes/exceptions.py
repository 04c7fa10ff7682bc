"""Sends exceptions from a child to its parent.

The parent gets an exception of the same class, so that retry rules and hooks decide as for a thread. It is the
exception itself if that can be pickled, else an uninitialised exception of its class. If the class cannot be imported,
it is an exception of a new class with the same name and those bases that can be imported.
"""

from __future__ import annotations

import importlib
import pickle
import sys
from typing import Any

from ...core.error_info import RemoteTraceback, error_info
from ...core.message import ErrorInfo


def pack(error: BaseException) -> dict[str, Any]:
    """The exception as plain values."""
    kind = type(error)
    return {
        "info": tuple(error_info(error)),
        "pickled": _pickled(error),
        "name": (kind.__module__, kind.__qualname__),
        "bases": [(base.__module__, base.__qualname__) for base in kind.__mro__[:-1] if _importable(base)],
        "args": _pickle_if_restorable(error.args),
        "state": {
            name: data for name, value in vars(error).items() if (data := _pickle_if_restorable(value)) is not None
        },
    }


def unpack(packed: dict[str, Any]) -> BaseException:
    """The exception, or the closest copy of it. Its cause is a `RemoteTraceback`."""
    error = _restored(packed)
    error.__cause__ = RemoteTraceback(ErrorInfo(*packed["info"]))
    return error


def _restored(packed: dict[str, Any]) -> BaseException:
    if packed["pickled"] is not None:
        try:
            restored = pickle.loads(packed["pickled"])
        except Exception:  # it can be restored in the child, but not here
            pass
        else:
            if isinstance(restored, BaseException):
                return restored
    info = ErrorInfo(*packed["info"])
    try:
        kind = _class(packed)
        error: BaseException = kind.__new__(kind)
        error.args = (info.message,) if packed["args"] is None else pickle.loads(packed["args"])
        for name, value in packed["state"].items():
            setattr(error, name, pickle.loads(value))
    except Exception:
        return Exception(f"{info.type}: {info.message}")
    return error


def _class(packed: dict[str, Any]) -> Any:
    bases = [_found(*name) for name in packed["bases"]]
    if packed["bases"][0] == packed["name"]:
        return bases[0]
    module, qualname = packed["name"]
    return type(qualname.rpartition(".")[2], tuple(bases), {"__module__": module, "__qualname__": qualname})


def _pickled(error: BaseException) -> bytes | None:
    """The pickled exception, or None if unpickling it fails or returns another class."""
    try:
        data = pickle.dumps(error)
        return data if type(pickle.loads(data)) is type(error) else None
    except Exception:
        return None


def _pickle_if_restorable(value: Any) -> bytes | None:
    try:
        data = pickle.dumps(value)
        pickle.loads(data)
    except Exception:
        return None
    return data


def _importable(kind: type) -> bool:
    if kind.__module__ not in sys.modules:
        return False
    try:
        return _found(kind.__module__, kind.__qualname__) is kind
    except Exception:
        return False


def _found(module: str, qualname: str) -> Any:
    found: Any = importlib.import_module(module)
    for name in qualname.split("."):
        found = getattr(found, name)
    return found
