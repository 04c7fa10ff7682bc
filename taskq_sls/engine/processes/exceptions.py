"""Exceptions on their way from a child to its parent.

What arrives is of the same class, so that retry rules and hooks decide as they would over a thread: the exception
itself where it can be pickled, else one of its class that was not initialised, else, where its class cannot be
imported, a stand-in with its name and those of its bases that can.
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
        "bases": [(one.__module__, one.__qualname__) for one in kind.__mro__[:-1] if _importable(one)],
        "args": _kept(error.args),
        "state": {name: value for name, one in vars(error).items() if (value := _kept(one)) is not None},
    }


def unpack(packed: dict[str, Any]) -> BaseException:
    """The exception, or what comes nearest to it. Its cause is a `RemoteTraceback`."""
    error = _restored(packed)
    error.__cause__ = RemoteTraceback(ErrorInfo(*packed["info"]))
    return error


def _restored(packed: dict[str, Any]) -> BaseException:
    if packed["pickled"] is not None:
        try:
            restored = pickle.loads(packed["pickled"])
        except Exception:  # it can be restored there, and not here
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
    """The exception, if it comes back as what it is."""
    try:
        data = pickle.dumps(error)
        return data if type(pickle.loads(data)) is type(error) else None
    except Exception:
        return None


def _kept(value: Any) -> bytes | None:
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
