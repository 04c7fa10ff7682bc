"""``taskq init``."""

from __future__ import annotations

import argparse
import os
import shlex
from pathlib import Path
from typing import Any

from ..deploy.scaffold import Project, checked_name, name_for, write
from .arguments import add_common, add_json
from .output import print_json, say


def add_to(commands: Any) -> None:
    parser = commands.add_parser(
        "init",
        help="write a small project that passes its tests and deploys",
        description="Write a project: tasks, what Lambda calls, tests that need no AWS, the template that deploys it, "
        "and a Makefile with all commands. The folder must be empty or new.",
        allow_abbrev=False,
    )
    parser.add_argument("folder", nargs="?", metavar="DIR", default=".", help="where; default: this folder")
    parser.add_argument("--name", help="of the app, its package and its stacks; default: the folder's name")
    add_json(parser)
    add_common(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
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
