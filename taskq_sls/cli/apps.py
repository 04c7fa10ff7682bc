"""The app and the task that a command names."""

from __future__ import annotations

import argparse
import difflib
import importlib
import os
import sys
import traceback
from types import ModuleType
from typing import Any

from ..app import TaskQ
from ..client.task import Task
from ..errors import ConfigError, TaskQError
from ..logs import FORMATS, LEVELS, configure

EXAMPLE = "such as shop.tasks:app"


class ImportFailed(TaskQError):
    """The module of an app raised while it was imported."""


def load_app(target: str | None) -> TaskQ:
    """The app that `target`, or else TASKQ_APP, names as ``MODULE:ATTRIBUTE``.

    The current directory is importable, as it is for ``python -m``.

    Raises:
        ConfigError: no app is named, or there is none of that name.
        ImportFailed: the module raised while it was imported.
    """
    target = app_target(target)
    module_name, _, path = target.partition(":")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    module = _import(module_name, target)
    found: Any = module
    for name in path.split("."):
        try:
            found = getattr(found, name)
        except AttributeError:
            raise ConfigError(f"app {target!r}: {module_name} has no {path!r}{_apps_of(module)}") from None
    if not isinstance(found, TaskQ):
        raise ConfigError(f"app {target!r}: it is {_kind(found)}, not a TaskQ{_apps_of(module)}")
    return found


def app_target(target: str | None) -> str:
    """`target`, or else TASKQ_APP, if it looks like ``MODULE:ATTRIBUTE``.

    Raises:
        ConfigError: it does not, or there is neither.
    """
    target = target or os.environ.get("TASKQ_APP")
    if not target:
        raise ConfigError(f"no app is named: give MODULE:ATTRIBUTE, {EXAMPLE}, or set TASKQ_APP")
    module_name, colon, path = target.partition(":")
    if module_name.endswith(".py") or os.sep in module_name:
        dotted = module_name.removesuffix(".py").strip("./").replace(os.sep, ".")
        raise ConfigError(f"app {target!r}: name the module, not its file: {dotted}:{path or 'app'}")
    names = [*module_name.split("."), *path.split(".")]
    if not colon or not all(name.isidentifier() for name in names):
        raise ConfigError(f"app {target!r}: it must be MODULE:ATTRIBUTE, {EXAMPLE}")
    return target


def find_task(app: TaskQ, name: str) -> Task[..., Any]:
    """The registered task with this name or alias, or the only one whose name ends with it (``resize``).

    Raises:
        ConfigError: there is none, or there are several; the error suggests similar names.
    """
    if (task := app.registry.get(name)) is not None:
        return task
    ending = [full for full in app.registry.names if full.endswith((f":{name}", f".{name}"))]
    if len(ending) == 1:
        found = app.registry.get(ending[0])
        assert found is not None
        return found
    if ending:
        raise ConfigError(f"task {name!r} can be {' or '.join(map(repr, sorted(ending)))}: give the full name")
    raise ConfigError(f"no task is named {name!r} in app {app.name!r}; {_suggestion(app, name)}")


def _suggestion(app: TaskQ, name: str) -> str:
    full_names = app.registry.names
    if not full_names:
        return "it has no tasks: does its module import the modules that define them?"
    by_short = {full.rpartition(":")[2]: full for full in full_names}
    close = difflib.get_close_matches(name, full_names, n=3) or [
        by_short[short] for short in difflib.get_close_matches(name.rpartition(":")[2], list(by_short), n=3)
    ]
    if close:
        return f"did you mean {' or '.join(map(repr, close))}?"
    shown = ", ".join(map(repr, sorted(full_names)[:10]))
    return f"it has {shown}{', ...' if len(full_names) > 10 else ''}"


def _import(name: str, target: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        if missing is not None and (name == missing or name.startswith(f"{missing}.")):
            raise ConfigError(
                f"app {target!r}: there is no module {missing!r} in {os.getcwd()} or on PYTHONPATH; "
                "run from the directory that holds it"
            ) from error
        raise ImportFailed(
            f"importing {name} failed: {type(error).__name__}: {error} ({error_location(error)}); --traceback shows all of it"
        ) from error


def error_location(error: BaseException) -> str:
    """``file:line`` of the code that raised."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    # Frames of Python's import system come after those of the module that imports.
    own = [frame for frame in frames if not frame.filename.startswith("<frozen")]
    return f"{own[-1].filename}:{own[-1].lineno}" if own else "no Python frame"


def _kind(found: object) -> str:
    kind = "a class" if isinstance(found, type) else type(found).__name__
    return f"{kind} ({found!r:.60})"


def _apps_of(module: ModuleType) -> str:
    apps = [name for name, value in vars(module).items() if isinstance(value, TaskQ)]
    return f"; did you mean {module.__name__}:{apps[0]}?" if apps else "; the module defines no TaskQ(...)"


def add_log_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--log-level",
        type=str.upper,
        choices=LEVELS,
        metavar="LEVEL",
        help=f"{', '.join(LEVELS)}; default: as the app sets it, else INFO",
    )
    parser.add_argument(
        "--log-format",
        default="auto",
        choices=FORMATS,
        help="auto: text in a terminal and JSON elsewhere, but none if the app has handlers of its own; none: adds no "
        "handler",
    )


def log_arguments(arguments: argparse.Namespace) -> list[str]:
    """The log options on the command line of another command."""
    level = [] if arguments.log_level is None else ["--log-level", arguments.log_level]
    return [*level, "--log-format", arguments.log_format]


def load_app_with_logs(arguments: argparse.Namespace, target: str | None) -> TaskQ:
    """Import an app, which may set up logging, and set up the rest.

    Raises:
        ConfigError: no app is named, or there is none of that name.
        ImportFailed: the module raised while it was imported.
    """
    # A handler on the root logger would keep `basicConfig` in the app's module from having an effect.
    configure(arguments.log_level, "none" if arguments.log_format == "auto" else arguments.log_format)
    app = load_app(target)
    configure(arguments.log_level, arguments.log_format, redact=app.log_redaction)
    return app
