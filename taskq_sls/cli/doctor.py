"""``taskq doctor``."""

from __future__ import annotations

import argparse
from typing import Any

from ..aws.blocking import BlockingAws
from ..core.flow import call_sync
from ..deploy.doctor import CLIENT_OPTIONS, Finding, examine
from ..errors import ConfigError
from .apps import load_app
from .arguments import add_app_positional, add_common, add_json
from .output import coloured, print_json, say


def add_to(commands: Any) -> None:
    parser = commands.add_parser(
        "doctor",
        help="check an app and its queues, table, credentials and permissions",
        description="Check what an app needs, without changing anything or receiving messages. "
        "Exit status 1 when anything fails.",
        allow_abbrev=False,
    )
    add_app_positional(parser)
    parser.add_argument("--app", dest="app_option", metavar="MODULE:APP", help="the same, by name")
    add_json(parser)
    add_common(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    if arguments.app and arguments.app_option:
        raise ConfigError(f"the app is named twice, {arguments.app!r} and --app {arguments.app_option!r}: give one")
    app = load_app(arguments.app or arguments.app_option)
    port = BlockingAws(app.clock, **CLIENT_OPTIONS)
    findings = call_sync("examine", examine(app, port))
    call_sync("close", port.close())
    if arguments.json:
        print_json([finding._asdict() for finding in findings])
    else:
        for finding in findings:
            _print(finding)
    return 1 if any(finding.level == "fail" for finding in findings) else 0


_COLOURS = {"ok": "32", "warn": "33", "fail": "31"}


def _print(finding: Finding) -> None:
    level = f"{finding.level:<4}"
    if coloured():
        level = f"\x1b[{_COLOURS[finding.level]}m{level}\x1b[0m"
    print(level, end="  ")
    say(f"{finding.subject}: {finding.detail}")
    if finding.fix:
        say(f"      -> {finding.fix}")
