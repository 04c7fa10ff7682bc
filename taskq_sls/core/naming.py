"""Names of tasks: ``module:function``, as another process can import it."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..errors import ConfigError
from .safe_text import repr_of

TASK_NAME = re.compile(r"[A-Za-z0-9_.:<>/@+-]{1,200}")


def check_task_name(name: object) -> str:
    """A task name given by hand, checked.

    Raises:
        ConfigError: not 1 to 200 characters of letters, digits and ``_.:<>/@+-``.
    """
    if not isinstance(name, str) or not TASK_NAME.fullmatch(name):
        raise ConfigError(f"task name {name!r}: use 1 to 200 letters, digits or _ . : < > / @ + -")
    return name


def task_name(function: Callable[..., Any]) -> str:
    """The importable name of a function.

    Raises:
        ConfigError: it is a lambda, has no name, or lives in a ``__main__`` that cannot be imported.
    """
    name = getattr(function, "__qualname__", None)
    if name is None or name.endswith("<lambda>"):
        raise ConfigError(
            f"{repr_of(function)} has no name another process could find; define it with def, or give name=..."
        )
    module = function.__module__
    if module == "__main__":
        module = _main_module(name)
    return f"{module}:{name}"


def importable_place(function: Callable[..., Any], task: str) -> tuple[str, str]:
    """The module and qualified name under which a fresh interpreter finds a function.

    Raises:
        ConfigError: none finds it: it is a lambda or a local function, or lives in a ``__main__`` that cannot be
            imported.
    """
    name = getattr(function, "__qualname__", None)
    if name is None or "<lambda>" in name or "<locals>" in name:
        raise ConfigError(
            f'task {task}: run_in="process" needs a function that a fresh interpreter can import, and '
            f"{name or repr_of(function)} is inside another function or has no name; define it with def at the top of a "
            "module"
        )
    module = function.__module__
    if module == "__main__":
        try:
            module = _main_module(name)
        except ConfigError:
            raise ConfigError(
                f'task {task}: run_in="process" needs a function that a fresh interpreter can import, and {name} is '
                "defined in a __main__ that has no importable name; move it to a module"
            ) from None
    return module, name


def _main_module(name: str) -> str:
    main = sys.modules["__main__"]
    spec = getattr(main, "__spec__", None)
    if spec is not None and spec.name:  # run by python -m; of a package that is package.__main__
        return str(spec.name)
    file = getattr(main, "__file__", None)
    if file is not None:
        path = Path(file).resolve()
        for entry in sys.path:
            root = Path(entry or ".").resolve()
            if path.suffix == ".py" and root in path.parents:
                parts = path.relative_to(root).with_suffix("").parts
                if all(part.isidentifier() for part in parts):
                    return ".".join(parts)
    raise ConfigError(
        f"task {name!r} is defined in __main__, which a worker cannot import; move it to a module, or give name=..."
    )
