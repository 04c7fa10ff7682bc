"""``taskq template``."""

from __future__ import annotations

import argparse
import difflib
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..core.clock import SystemClock
from ..deploy.template import Plan, TemplateOptions, render_plan
from ..deploy.template.features import FEATURES
from ..errors import ConfigError
from .apps import app_target, load_app
from .arguments import add_app_positional, add_common
from .output import note, say

MAX_DIFF_LINES = 20
"""Lines of difference that are shown of a stale file."""


def add_to(commands: Any) -> None:
    parser = commands.add_parser(
        "template",
        help="print the SAM template that deploys an app",
        description="Print the SAM template of an app: queues, a function for each queue with a function_timeout, table, "
        "bucket, schedules, alarms, a dashboard, and a role for each function. Calls nothing and needs no credentials.",
        allow_abbrev=False,
    )
    add_app_positional(parser)
    defaults = TemplateOptions()
    parser.add_argument(
        "--handler", default=defaults.handler, metavar="MODULE.NAME", help="of the workers; default: %(default)s"
    )
    parser.add_argument(
        "--event-handler",
        default=defaults.event_handler,
        metavar="MODULE.NAME",
        help="of the function for EventBridge events, where the app has routes; default: %(default)s",
    )
    parser.add_argument(
        "--api",
        metavar="MODULE.NAME",
        help="add the HTTP API, called so, such as handlers.api.handler, behind a Function URL with AWS_IAM",
    )
    parser.add_argument(
        "--code-uri", default=defaults.code_uri, metavar="FOLDER", help="what `sam build` builds; default: %(default)s"
    )
    parser.add_argument(
        "--build",
        choices=("python", "makefile"),
        default=defaults.build,
        help="who builds it: SAM by requirements.txt, or the Makefile's targets build-...; default: %(default)s",
    )
    parser.add_argument(
        "--without-schedules",
        action="store_true",
        help="leave the declared schedules to `taskq schedules sync --force`",
    )
    parser.add_argument(
        "--with",
        dest="features",
        action="append",
        default=[],
        choices=sorted(FEATURES),
        metavar="FEATURE",
        help="; ".join(f"{name}: {feature.about}" for name, feature in FEATURES.items())
        + ". May be given several times",
    )
    parser.add_argument(
        "--existing",
        action="append",
        default=[],
        metavar="LOGICAL_ID",
        help="a queue, dead-letter queue, table or bucket that is there already, such as TasksTable: parameters name it",
    )
    parser.add_argument(
        "--stages",
        default=",".join(defaults.stages),
        metavar="NAMES",
        help="what Stage can be, by commas; the last is the production one; default: %(default)s",
    )
    parser.add_argument(
        "--overlay",
        metavar="FILE",
        help="YAML or JSON that is merged in by section and logical id: mappings by key, null removes; see docs/deploy.md",
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--output", "-o", metavar="FILE", type=Path, help="write it there instead of printing it")
    where.add_argument(
        "--check", metavar="FILE", type=Path, help="print nothing; exit status 1 when FILE is not what would be written"
    )
    add_common(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    options = TemplateOptions(
        arguments.handler,
        arguments.event_handler,
        arguments.code_uri,
        arguments.build,
        not arguments.without_schedules,
        arguments.api,
        tuple(arguments.features),
        tuple(arguments.existing),
        tuple(name.strip() for name in arguments.stages.split(",")),
        arguments.overlay,
    )
    plan = Plan.of(load_app(arguments.app), options)
    text = render_plan(plan, _command(app_target(arguments.app), options))
    if arguments.check is not None:
        return _check(arguments.check, text)
    for warning in plan.notes(SystemClock().time()):
        note(warning)
    folder = Path() if arguments.output is None else arguments.output.parent
    for option, file in _missing_handlers(plan, folder / options.code_uri):
        note(f"there is no {file}, which {option} names: unless the build makes it, Lambda cannot start that function")
    if arguments.output is None:
        say(text, end="")
    else:
        _write(arguments.output, text)
    return 0


def _missing_handlers(plan: Plan, folder: Path) -> Iterator[tuple[str, Path]]:
    """Options whose handlers are not in the folder of the code, and the files that were looked for."""
    options = plan.options
    wanted = {
        "--handler": options.handler if plan.workers else None,
        "--event-handler": options.event_handler if plan.routes else None,
        "--api": options.api,
    }
    for option, handler in wanted.items():
        if handler is not None:
            module = folder.joinpath(*handler.split(".")[:-1])
            file = module.with_name(f"{module.name}.py")
            if not file.is_file() and not module.joinpath("__init__.py").is_file():
                yield option, file


def _command(target: str, options: TemplateOptions) -> str:
    """The command that renders the same template, without options that are default."""
    default = TemplateOptions()
    words = ["taskq", "template", target]
    for name in ("handler", "event_handler", "api", "code_uri", "build"):
        if (value := getattr(options, name)) != getattr(default, name):
            words += [f"--{name.replace('_', '-')}", value]
    if not options.schedules:
        words.append("--without-schedules")
    words += [word for name in options.features for word in ("--with", name)]
    words += [word for id in options.existing for word in ("--existing", id)]
    if options.stages != default.stages:
        words += ["--stages", ",".join(options.stages)]
    if options.overlay is not None:
        words += ["--overlay", options.overlay]
    return shlex.join(words)


def _check(file: Path, text: str) -> int:
    try:
        found = file.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"--check {file}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"--check {file}: it is no text in UTF-8; name a template that was rendered") from None
    if found == text:
        return 0
    lines = list(
        difflib.unified_diff(found.splitlines(), text.splitlines(), str(file), "rendered now", n=1, lineterm="")
    )
    say("\n".join(lines[:MAX_DIFF_LINES]))
    if len(lines) > MAX_DIFF_LINES:
        say(f"... and {len(lines) - MAX_DIFF_LINES} lines more")
    note(f"{file} is stale: run the same command with --output {file} in place of --check")
    return 1


def _write(file: Path, text: str) -> None:
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"--output {file}: {error.strerror}") from None
