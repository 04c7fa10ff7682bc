"""Command-line options that several commands share, and the parsers of their values."""

from __future__ import annotations

import argparse
import difflib
import json
import math
import re
import sys
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, NoReturn

from ..core.redaction import MASK, contains_mask
from ..errors import ConfigError
from ..operations.runs import Edit

_UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_AGO = re.compile(r"(\d+(?:\.\d+)?)([smhd])")


class Parser(argparse.ArgumentParser):
    """Raises ConfigError for bad input, so that it is reported like any other error.

    Attributes:
        default_command: the sub-command to run if the user names none.
    """

    default_command: str | None = None

    def parse_known_args(  # type: ignore[override]  # of its overloads only this one is used
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        words = list(sys.argv[1:] if args is None else args)
        if self.default_command is not None and not (
            words and (not words[0].startswith("-") or words[0] in ("-h", "--help"))
        ):
            words.insert(0, self.default_command)
        found, unknown = super().parse_known_args(words, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}{self._suggestion(unknown[0])}")
        return found, unknown

    def _suggestion(self, word: str) -> str:
        option = word.partition("=")[0]
        near = difflib.get_close_matches(option, self._option_string_actions, n=1) if option.startswith("--") else []
        return f" (did you mean {near[0]}?)" if near else ""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message}; see `{self.prog} --help`")


Run = Callable[[argparse.Namespace], int]


def add_command(
    commands: Any,
    name: str,
    run: Run,
    text: str,
    *,
    help: str | None = None,
    app: str | None = "--app",
    json: bool = True,
) -> argparse.ArgumentParser:
    """Add a command with ``--traceback``.

    Args:
        text: its description. The first sentence is its line in the list of commands, unless `help` is given.
        app: the name of the argument for the app, ``--app`` or ``app``; None for none.
        json: add ``--json``.
    """
    command: argparse.ArgumentParser = commands.add_parser(
        name,
        help=help or text.partition(". ")[0].rstrip("."),
        description=text[0].upper() + text[1:],
        allow_abbrev=False,
    )
    if app is not None:
        argument = command.add_argument(
            app, metavar="MODULE:APP", help="the app, such as shop.tasks:app; default: TASKQ_APP"
        )
        if not argument.option_strings:
            argument.nargs, argument.required = "?", False
    if json:
        command.add_argument("--json", action="store_true", help="print JSON")
    add_traceback(command)
    command.set_defaults(run=run)
    return command


def add_group(commands: Any, name: str, help: str, description: str, default: str | None = None) -> Any:
    """Add a command with sub-commands. `default` is the one to run if the user names none."""
    parser = commands.add_parser(name, help=help, description=description, allow_abbrev=False)
    parser.default_command = default
    return parser.add_subparsers(dest="sub_command", metavar="COMMAND", required=True)


def add_traceback(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--traceback", action="store_true", help="show the traceback of an error")


def add_show_secrets(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--show-secrets", action="store_true", help="show values that the app hides by name (redact=)")


def add_new_values(parser: argparse.ArgumentParser, scope: str) -> None:
    """Add ``--args``, ``--kwargs`` and ``--labels``, which replace those of a task that is run again."""
    parser.add_argument("--args", type=json_array, metavar="JSON", help=f"other positional arguments, {scope}")
    parser.add_argument("--kwargs", type=json_object, metavar="JSON", help=f"other named arguments, {scope}")
    parser.add_argument("--labels", type=json_object, metavar="JSON", help=f"other labels, {scope}")


def edit_of(arguments: argparse.Namespace) -> Edit | None:
    """The new values that were given; None if there are none.

    Raises:
        ConfigError: a value is the mask of a hidden one.
    """
    given = {name: value for name in ("args", "kwargs", "labels") if (value := getattr(arguments, name)) is not None}
    refuse_masks(given)
    return Edit(**given) if given else None


def refuse_masks(values: Any) -> None:
    """Raise ConfigError if a value contains the mask that is shown in place of hidden values."""
    if contains_mask(values):
        raise ConfigError(
            f"a value contains {MASK!r}, the mask of a hidden one, and nothing was sent: give the real value (see --show-secrets)"
        )


def whole(text: str) -> int:
    """A whole number of 1 or more."""
    if not re.fullmatch(r"\d{1,9}", text) or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} must be a whole number of 1 or more")
    return int(text)


def seconds(text: str) -> float:
    """A number of seconds, 0 or more."""
    if (value := _number(text)) is None or value < 0:
        raise argparse.ArgumentTypeError(f"{text!r} must be a number of seconds, 0 or more")
    return value


def port(text: str) -> int:
    """A port to listen on; 0 takes a free one."""
    if not text.isascii() or not text.isdigit() or int(text) > 65_535:
        raise argparse.ArgumentTypeError(f"{text!r} must be a port of 0 (a free one) to 65535")
    return int(text)


def address(text: str) -> tuple[str, int]:
    """``[HOST:]PORT``; without a host only this machine can connect."""
    host, _, number = text.rpartition(":")
    return host.strip("[]") or "127.0.0.1", port(number)


def when(text: str) -> timedelta | datetime:
    """A time span before now (``90s``, ``15m``, ``1h``, ``2d``), or a date and time with its zone."""
    if ago := _AGO.fullmatch(text):
        return timedelta(seconds=float(ago[1]) * _UNITS[ago[2]])
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise argparse.ArgumentTypeError(
            f"{text!r} must be a time span before now (90s, 15m, 1h, 2d) or a time with its zone (2026-11-22T10:00:00Z)"
        )
    return moment


def duration(text: str) -> float:
    """A span of time in seconds: ``90s``, ``15m``, ``1h``, ``2d``."""
    if (found := _AGO.fullmatch(text)) is None:
        raise argparse.ArgumentTypeError(f"{text!r} must be a span of time: 90s, 15m, 1h, 2d")
    return float(found[1]) * _UNITS[found[2]]


def per_second(text: str) -> float:
    """A number above 0."""
    if (value := _number(text)) is None or value <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} must be a number a second, above 0, such as 5 or 0.5")
    return value


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def label(text: str) -> tuple[str, str]:
    """``NAME=VALUE``."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise argparse.ArgumentTypeError(f"{text!r} must be NAME=VALUE")
    return name, value


def json_array(text: str) -> list[Any]:
    """A JSON array, such as ``["a.png", 200]``."""
    value: list[Any] = _json(text, list, 'an array: write ["a.png", 200]')
    return value


def json_object(text: str) -> dict[str, Any]:
    """A JSON object, such as ``{"width": 200}``."""
    value: dict[str, Any] = _json(text, dict, 'an object: write {"width": 200}')
    return value


_JSON_NAMES = {list: "array", dict: "object", str: "string", int: "number", float: "number", bool: "boolean"}


def _json(text: str, kind: type, wanted: str) -> Any:
    try:
        value = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise argparse.ArgumentTypeError(f"{text[:80]!r} is not JSON: {error}") from None
    if not isinstance(value, kind):
        found = _JSON_NAMES.get(type(value), "null")
        raise argparse.ArgumentTypeError(f"{text[:80]!r} is a JSON {found}, not {wanted}")
    return value


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON value")
