"""``taskq provision``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from ..app import TaskQ
from ..aws.blocking import BlockingAws
from ..core.flow import call_sync
from ..deploy.provision import Provisioned, provision
from .apps import load_app
from .arguments import add_app_positional, add_common, add_json
from .output import note, print_json, print_table


def add_to(commands: Any) -> None:
    parser = commands.add_parser(
        "provision",
        help="create the queues, the table and the schedule group of an app",
        description="Create the queues, dead-letter queues and the table of an app (and TASKQ_BUCKET and "
        "TASKQ_SCHEDULE_GROUP, where set) on the endpoint that the environment names, and correct what differs. "
        "Running it again is safe. In AWS, prefer a template.",
        allow_abbrev=False,
    )
    add_app_positional(parser)
    add_json(parser)
    add_common(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    made = provision_app(load_app(arguments.app))
    for resource in made:
        for reason in resource.missing:
            note(f"warning: {resource.kind} {resource.name} goes without {reason}")
    if arguments.json:
        print_json([resource._asdict() for resource in made])
    else:
        print_provisioned(made)
    return 0


def provision_app(app: TaskQ) -> Sequence[Provisioned]:
    """Create the app's resources on the environment's endpoint."""
    port = BlockingAws(app.clock)
    queues = list(app.queues.values())
    return call_sync("provision", _provision_and_close(port, app, queues))


async def _provision_and_close(port: BlockingAws, app: TaskQ, queues: Sequence[Any]) -> list[Provisioned]:
    try:
        return await provision(port, app.settings, queues, bucket=app.settings.bucket is not None)
    finally:
        await port.close()


def print_provisioned(made: Sequence[Provisioned]) -> None:
    print_table(
        ("ACTION", "KIND", "NAME", "DETAIL"),
        [(resource.action, resource.kind, resource.name, resource.detail) for resource in made],
    )
