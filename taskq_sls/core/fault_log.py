"""Logs a lasting fault once when it begins and once when it ends, not at every retry."""

from __future__ import annotations

import logging
import threading


class FaultLog:
    """One kind of fault that may last.

    Args:
        problem: the start of the log line, such as "queue x cannot be polled".
        action: the machine-readable name of the event.
    """

    def __init__(self, logger: logging.Logger, problem: str, action: str) -> None:
        self._logger = logger
        self._problem = problem
        self._action = action
        self._lock = threading.Lock()
        self._faults = 0

    @property
    def active(self) -> bool:
        """True while the fault lasts."""
        return self._faults > 0

    def failed(self, error: BaseException) -> None:
        """Count a failure, and log the first one."""
        with self._lock:
            self._faults += 1
            first = self._faults == 1
        if first:
            # Exceptions of other code are logged with their traceback: a KeyError's text is only the key.
            ours = type(error).__module__.startswith("taskq_sls.")
            self._logger.warning(
                "%s: %s; retrying",
                self._problem,
                error if ours else f"{type(error).__name__}: {error}",
                exc_info=None if ours else error,
                extra={"action": self._action},
            )

    def recovered(self) -> None:
        """Note a success, and log it if there was a failure before."""
        if not self._faults:
            return
        with self._lock:
            faults, self._faults = self._faults, 0
        if faults:
            self._logger.info(
                "%s: works again after %d faults", self._problem, faults, extra={"action": f"{self._action}_over"}
            )
