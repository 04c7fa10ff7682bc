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
from .arguments import add_command
from .output import note, say

MAX_DIFF_LINES = 20
"""Most lines of a difference that are printed."""


def add_to(commands: Any) -> None:
    parser = add_command(
        commands,
        "template",
        run,
        "print the SAM template that deploys an app. It has the queues, a function for each queue with a function_timeout, the "
        "table, the bucket, schedules, alarms, a dashboard, and a role for each function. Makes no requests and needs no "
        "credentials.",
        app="app",
        json=False,
    )
    default = TemplateOptions()
    features = "; ".join(f"{name}: {feature.about}" for name, feature in FEATURES.items())
    for option, value, metavar, text in (
        ("--handler", default.handler, "MODULE.NAME", "handler of the worker functions"),
        (
            "--event-handler",
            default.event_handler,
            "MODULE.NAME",
            "handler for EventBridge events, if the app has routes",
        ),
        ("--code-uri", default.code_uri, "FOLDER", "the folder that `sam build` builds"),
        ("--stages", ",".join(default.stages), "NAMES", "stages, separated by commas; the last one is production"),
    ):
        parser.add_argument(option, default=value, metavar=metavar, help=f"{text}; default: %(default)s")
    parser.add_argument(
        "--api",
        metavar="MODULE.NAME",
        help="add the HTTP API with this handler, such as handlers.api.handler, behind a Function URL with AWS_IAM",
    )
    parser.add_argument(
        "--build",
        choices=("python", "makefile"),
        default=default.build,
        help="build with SAM and requirements.txt, or with the Makefile's targets build-...; default: %(default)s",
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
        help=f"{features}. May be repeated",
    )
    parser.add_argument(
        "--existing",
        action="append",
        default=[],
        metavar="LOGICAL_ID",
        help="use an existing queue, dead-letter queue, table or bucket, such as TasksTable; parameters name it",
    )
    parser.add_argument(
        "--overlay",
        metavar="FILE",
        help="YAML or JSON to merge in by section and logical id: mappings by key, null removes; see docs/deploy.md",
    )
    output = parser.add_mutually_exclusive_group()
    output.add_argument("--output", "-o", metavar="FILE", type=Path, help="write to this file instead of stdout")
    output.add_argument(
        "--check", metavar="FILE", type=Path, help="print nothing; exit status 1 if FILE differs from the template"
    )


def run(arguments: argparse.Namespace) -> int:
    options = TemplateOptions(
        handler=arguments.handler,
        event_handler=arguments.event_handler,
        code_uri=arguments.code_uri,
        build=arguments.build,
        schedules=not arguments.without_schedules,
        api=arguments.api,
        features=tuple(arguments.features),
        existing=tuple(arguments.existing),
        stages=tuple(name.strip() for name in arguments.stages.split(",")),
        overlay=arguments.overlay,
    )
    plan = Plan.of(load_app(arguments.app), options)
    text = render_plan(plan, _command(app_target(arguments.app), options))
    if arguments.check is not None:
        return _check(arguments.check, text)
    for warning in plan.notes(SystemClock().time()):
        note(warning)
    folder = Path() if arguments.output is None else arguments.output.parent
    for option, file in _missing_handlers(plan, folder / options.code_uri):
        note(f"{option}: {file} does not exist; unless the build creates it, Lambda cannot start that function")
    if arguments.output is None:
        say(text, end="")
    else:
        _write(arguments.output, text)
    return 0


def _missing_handlers(plan: Plan, folder: Path) -> Iterator[tuple[str, Path]]:
    """Options that name a handler without its file in the code folder, and those files."""
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
        raise ConfigError(f"--check {file}: it is not UTF-8 text; name a rendered template") from None
    if found == text:
        return 0
    lines = list(
        difflib.unified_diff(found.splitlines(), text.splitlines(), str(file), "rendered now", n=1, lineterm="")
    )
    say("\n".join(lines[:MAX_DIFF_LINES]))
    if len(lines) > MAX_DIFF_LINES:
        say(f"... and {len(lines) - MAX_DIFF_LINES} more lines")
    note(f"{file} is out of date: run the same command with --output {file} instead of --check")
    return 1


def _write(file: Path, text: str) -> None:
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"--output {file}: {error.strerror}") from None
