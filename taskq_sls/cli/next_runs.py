"""``taskq schedules next``."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime

from ..core.clock import SystemClock
from ..errors import ConfigError
from ..scheduler.expressions import When, utc
from ..scheduler.parse import cron, parse
from .output import note, print_json, print_table

MOST_RUNS = 10_000


def run_next(arguments: argparse.Namespace) -> int:
    when = _when(arguments)
    if arguments.count > MOST_RUNS:
        raise ConfigError(f"--count {arguments.count} is above {MOST_RUNS:,}")
    after = SystemClock().time() if arguments.after is None else _time(arguments.after, when)
    runs: list[tuple[str, str]] = []
    last = after
    while len(runs) < arguments.count and (time := when.next_time(last, after)) is not None:
        runs.append((when.local(time).isoformat(), _utc_text(time)))
        last = time
    if arguments.json:
        rows = [{"local": local, "utc": universal} for local, universal in runs]
        print_json({"expression": when.expression, "timezone": when.timezone, "runs": rows})
    elif runs:
        note(f"{when.expression} in {when.timezone}")
        print_table(("LOCAL", "UTC"), runs)
    if not runs:
        note(f"{when.expression} has no run after {_utc_text(after)}")
    return 0


def _when(arguments: argparse.Namespace) -> When:
    expression, zone = arguments.expression, arguments.timezone
    if arguments.unix:
        return cron.unix(expression, timezone=zone)
    if not expression.strip().startswith(("cron(", "rate(", "at(")):
        raise ConfigError(
            f"{expression!r} must be cron(...), rate(...) or at(...), in quotes; with --unix it can be like '*/5 * * * *'"
        )
    return parse(expression.strip(), zone)


def _time(text: str, when: When) -> float:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(f"--after {text!r} must be a time, such as 2026-11-22T10:00:00Z") from None
    if time.tzinfo is None:
        time = time.replace(tzinfo=when.local(0.0).tzinfo)
    return time.timestamp()


def _utc_text(time: float) -> str:
    return utc(time).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
