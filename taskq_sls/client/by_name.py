"""Pickles of apps, tasks and handles hold names: the process that reads one imports the app's module."""

from __future__ import annotations

import importlib
import sys
from typing import Any, Self

from ..errors import ConfigError


class ByName:
    """A base of objects that are pickled by name: their copies are the objects themselves."""

    __slots__ = ()

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self


def place_of(runtime: Any) -> tuple[str, str]:
    """The module and the name of the variable that hold the app of a runtime.

    Raises:
        ConfigError: no module holds it at its top level.
    """
    app = runtime.owner
    place: tuple[str, str] | None = runtime.place
    if place is not None and getattr(sys.modules.get(place[0]), place[1], None) is app:
        return place
    places = [
        (name, attribute)
        for name, module in list(sys.modules.items())
        for attribute, value in list(getattr(module, "__dict__", {}).items())
        if value is app
    ]
    if not places:
        raise ConfigError(
            f"{app!r} cannot be pickled: apps, tasks and handles are pickled by name, and no module has this app as a "
            "variable at its top level; assign it there"
        )
    # Another process may have another __main__.
    runtime.place = place = min(places, key=lambda place: place[0] in ("__main__", "__mp_main__"))
    return place


def find_app(module: str, attribute: str) -> Any:
    """The app at the place that `place_of` returned."""
    return getattr(importlib.import_module(module), attribute)


def find_runtime(module: str, attribute: str) -> Any:
    """The runtime of the app at that place."""
    return find_app(module, attribute)._runtime


def find_task(runtime: Any, name: str, module: str) -> Any:
    """A task of an app, by its runtime; its module is imported unless the task is registered.

    Raises:
        ConfigError: the module does not register it.
    """
    if (found := runtime.registry.get(name)) is None:
        importlib.import_module(module)
        found = runtime.registry.get(name)
    if found is None:
        raise ConfigError(
            f"task {name} cannot be unpickled: importing {module} does not register it in {runtime.owner!r}; define it at the "
            "top of that module"
        )
    return found
