"""Faults that last are logged once when they begin and once when they end, not once per retry."""

from __future__ import annotations

import logging
import threading


class FaultLog:
    """One kind of fault that may last.

    Args:
        logger: where to log.
        what: what does not work, as the start of a sentence.
        action: the machine-readable name of the event.
    """

    def __init__(self, logger: logging.Logger, what: str, action: str) -> None:
        self._logger = logger
        self._what = what
        self._action = action
        self._lock = threading.Lock()
        self._faults = 0

    @property
    def active(self) -> bool:
        """Whether the fault lasts."""
        return self._faults > 0

    def failed(self, error: BaseException) -> None:
        """Count a fault; the first of an episode is logged."""
        with self._lock:
            self._faults += 1
            first = self._faults == 1
        if first:
            # An exception of other code comes with its traceback: its text may be the bare key of a KeyError.
            ours = type(error).__module__.startswith("taskq_sls.")
            self._logger.warning(
                "%s: %s; retrying",
                self._what,
                error if ours else f"{type(error).__name__}: {error}",
                exc_info=None if ours else error,
                extra={"action": self._action},
            )

    def recovered(self) -> None:
        """It works. Logged if it had not."""
        if not self._faults:
            return
        with self._lock:
            faults, self._faults = self._faults, 0
        if faults:
            self._logger.info(
                "%s: works again after %d faults", self._what, faults, extra={"action": f"{self._action}_over"}
            )
