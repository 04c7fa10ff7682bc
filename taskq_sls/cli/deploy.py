"""``taskq init``, ``taskq provision`` and ``taskq doctor``."""

from __future__ import annotations

import argparse
import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..app import TaskQ
from ..aws.blocking import BlockingAws
from ..core.flow import call_sync
from ..deploy.doctor import CLIENT_OPTIONS, Finding, examine
from ..deploy.provision import Provisioned, provision
from ..deploy.scaffold import Project, checked_name, name_for, write
from ..errors import ConfigError
from .apps import load_app
from .arguments import add_command
from .output import coloured, note, print_json, print_table, say


def add_to(commands: Any) -> None:
    init = add_command(
        commands,
        "init",
        run_init,
        "write a small project that passes its tests and deploys. It has tasks, the handlers for Lambda, tests that need no "
        "AWS, the template that deploys it, and a Makefile with all commands. The folder must be empty or new.",
        app=None,
    )
    init.add_argument("folder", nargs="?", metavar="DIR", default=".", help="the folder; default: the current one")
    init.add_argument("--name", help="name of the app, its package and its stacks; default: the folder's name")
    add_command(
        commands,
        "provision",
        run_provision,
        "create the queues, the table and the schedule group of an app. Also creates TASKQ_BUCKET and TASKQ_SCHEDULE_GROUP "
        "if they are set, on the endpoint of the environment. Corrects settings that differ. Running it again is safe. In "
        "AWS, prefer a template.",
        app="app",
    )
    doctor = add_command(
        commands,
        "doctor",
        run_doctor,
        "check an app and its queues, table, credentials and permissions. Changes nothing and receives no messages. Exit "
        "status 1 if a check fails.",
        app="app",
    )
    doctor.add_argument("--app", dest="app_option", metavar="MODULE:APP", help="the same as the argument")


def run_init(arguments: argparse.Namespace) -> int:
    folder = Path(arguments.folder).absolute()
    name = name_for(folder.resolve().name) if arguments.name is None else checked_name(arguments.name)
    project = write(folder, name)
    if arguments.json:
        print_json({**project._asdict(), "next": _next(project)})
        return 0
    say(f"{name}: {len(project.files)} files in {folder}; the tasks are in {project.app.partition('.')[0]}/tasks.py")
    say("Next:")
    for command in _next(project):
        say(f"  {command}")
    return 0


def _next(project: Project) -> list[str]:
    """The next three commands."""
    here = os.path.relpath(project.folder)
    if here.startswith(os.pardir):
        here = str(project.folder)
    there = "" if here == "." else f"cd {shlex.quote(here)} && "
    return [f"{there}make test", "make local", "make deploy"]


def run_provision(arguments: argparse.Namespace) -> int:
    made = provision_app(load_app(arguments.app))
    for resource in made:
        for reason in resource.missing:
            note(f"warning: {resource.kind} {resource.name} goes without {reason}")
    if arguments.json:
        print_json([resource._asdict() for resource in made])
    else:
        rows = [(resource.action, resource.kind, resource.name, resource.detail) for resource in made]
        print_table(("ACTION", "KIND", "NAME", "DETAIL"), rows)
    return 0


def provision_app(app: TaskQ) -> Sequence[Provisioned]:
    """Create the app's resources on the environment's endpoint."""

    async def create() -> list[Provisioned]:
        port = BlockingAws(app.clock)
        try:
            return await provision(
                port, app.settings, list(app.queues.values()), bucket=app.settings.bucket is not None
            )
        finally:
            await port.close()

    return call_sync("provision", create())


def run_doctor(arguments: argparse.Namespace) -> int:
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
            _print_finding(finding)
    return 1 if any(finding.level == "fail" for finding in findings) else 0


_COLOURS = {"ok": "32", "warn": "33", "fail": "31"}


def _print_finding(finding: Finding) -> None:
    level = f"{finding.level:<4}"
    if coloured():
        level = f"\x1b[{_COLOURS[finding.level]}m{level}\x1b[0m"
    print(level, end="  ")
    say(f"{finding.subject}: {finding.detail}")
    if finding.fix:
        say(f"      -> {finding.fix}")
