"""Tells when Python files change."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from ..errors import ConfigError

LOOK = 500
"""Milliseconds between two looks at whether to stop."""


def check_watchable(directory: Path) -> None:
    """Raise ConfigError unless `directory` exists and the package that watches it is installed."""
    try:
        import watchfiles
    except ImportError:
        raise ConfigError("--reload needs the package watchfiles: pip install 'taskq-sls[cli]'") from None
    del watchfiles
    if not directory.is_dir():
        raise ConfigError(f"--reload {str(directory)!r}: there is no such directory")


def watch_python_files(directory: Path, on_change: Callable[[int], None], *, stop: threading.Event) -> None:
    """Call `on_change` with the number of changed files, from a thread, until `stop` is set.

    Changes that come together are told once.

    Raises:
        ConfigError: as `check_watchable`.
    """
    check_watchable(directory)
    from watchfiles import PythonFilter, watch

    changes = watch(directory, watch_filter=PythonFilter(), stop_event=stop, rust_timeout=LOOK, raise_interrupt=False)

    def tell() -> None:
        for changed in changes:
            on_change(len({path for _, path in changed}))

    threading.Thread(target=tell, name="taskq-watch", daemon=True).start()
