"""``--log-level`` and ``--log-format``, and an app that is imported between the two halves of setting logs up."""

from __future__ import annotations

import argparse

from ..app import TaskQ
from ..logs import FORMATS, LEVELS, configure
from .apps import load_app


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
        help="auto: none if the app sets up handlers of its own, else text in a terminal and JSON elsewhere; none: no "
        "handler besides those of the app",
    )


def log_arguments(arguments: argparse.Namespace) -> list[str]:
    """The same options for another command."""
    level = [] if arguments.log_level is None else ["--log-level", arguments.log_level]
    return [*level, "--log-format", arguments.log_format]


def load_app_with_logs(arguments: argparse.Namespace, target: str | None) -> TaskQ:
    """Import an app, let it set up logging as it likes, and set up the rest.

    Raises:
        ConfigError: no app is named, or there is none of that name.
        ImportFailed: the module raised while it was imported.
    """
    # A handler on the root logger would keep `basicConfig` in the app's module from having an effect.
    configure(arguments.log_level, "none" if arguments.log_format == "auto" else arguments.log_format)
    app = load_app(target)
    configure(arguments.log_level, arguments.log_format, redact=app.log_redaction)
    return app
