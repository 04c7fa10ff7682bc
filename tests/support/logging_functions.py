"""A function whose module sets up logging, in child processes only: tests import it too."""

from __future__ import annotations

import logging.config
import sys

child = sys.modules.get("taskq_sls.engine.processes.child")

if child is not None and child.importing:
    console = {"handlers": ["console"], "level": "WARNING", "propagate": False}
    logging.config.dictConfig(
        {
            "version": 1,
            "handlers": {"console": {"class": "logging.StreamHandler"}},
            "loggers": {"shop.tasks": console},
            "root": {"handlers": ["console"], "level": "ERROR"},
        }
    )


def speak() -> None:
    logging.getLogger("shop.tasks").warning("look at this")
    logging.getLogger("shop.others").warning("and at that")
