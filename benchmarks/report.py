"""The table of results, printed and stored with the machine and the versions."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from taskq_sls.aws.direct import wanted as direct_calls

from . import chart
from .contend import Spread
from .environments import HOME, PEERS, PINS, ROOT
from .table import Row

RESULTS = Path(__file__).resolve().parent / "results"


def markdown(rows: Sequence[Row]) -> str:
    """The table: our figure, theirs, and the ratio of pairs (median, lowest to highest)."""
    lines = ["| what | against | ours | theirs | ratio | target | |", "|---|---|---|---|---|---|---|"]
    for row in rows:
        ratio = "" if row.ratio is None else f"{_spread(row.ratio)}{' x' if row.times else ''}"
        target = "" if row.target is None else f"{'≥' if row.times else '≤'} {row.target:g}{' x' if row.times else ''}"
        met = {None: "", True: "met", False: "**missed**"}[row.met]
        theirs = "" if row.theirs is None else _spread(row.theirs)
        cells = [row.what, row.against, f"{_spread(row.ours)} {row.unit}", theirs, ratio, target, met]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def on_or_off(switch: bool) -> str:
    """The value of ``TASKQ_DIRECT_CALLS`` that a run used."""
    return "on" if switch else "off"


def _spread(spread: Spread) -> str:
    if spread.low == spread.high:
        return f"{spread.median:.3g}"
    return f"{_digits(spread.median)} ({_digits(spread.low)} to {_digits(spread.high)})"


def _digits(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def write(rows: Sequence[Row], rounds: int, missing: Sequence[str] = ()) -> None:
    """``results/latest.json``, ``results/latest.md`` and ``results/comparison.svg``.

    Args:
        missing: scenarios that have not run yet, named in the results.
    """
    RESULTS.mkdir(exist_ok=True)
    about = {
        "date": datetime.now(UTC).date().isoformat(),
        "rounds": rounds,
        "missing": list(missing),
        "direct_calls": on_or_off(direct_calls()),
        **_machine(),
        "versions": _versions(),
    }
    plain = [
        {**row._asdict(), **{name: _plain(getattr(row, name)) for name in ("ours", "theirs", "ratio")}, "met": row.met}
        for row in rows
    ]
    (RESULTS / "latest.json").write_text(json.dumps({**about, "rows": plain}, indent=1) + "\n")
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    head = (
        f"# Side by side, {about['date']}\n\n"
        f"Written by `make bench`: {rounds} rounds, {about['processors']} processors ({about['processor']}), "
        f"{about['system']}, {about['python']}; {versions}; direct calls {about['direct_calls']}. Load of the machine over the run: {about['load']}.\n\n"
        "Medians, in brackets the lowest and the highest round. Ratios are of pairs that ran one after the other.\n\n"
    )
    if missing:
        head += f"**Not complete**: {', '.join(missing)} had not run when this was written.\n\n"
    (RESULTS / "latest.md").write_text(head + markdown(rows) + "\n")
    (RESULTS / "comparison.svg").write_text(chart.draw(rows))
    print(f"written to {RESULTS.relative_to(ROOT)}/")


def _plain(spread: Spread | None) -> dict[str, float] | None:
    return None if spread is None else {name: round(value, 4) for name, value in spread._asdict().items()}


def _machine() -> dict[str, Any]:
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "processors": os.cpu_count(),
        "processor": models[0].partition(":")[2].strip() if models else platform.machine(),
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
        "python": f"Python {platform.python_version()}",
        "load": round(os.getloadavg()[2], 1),
    }


def _versions() -> dict[str, str]:
    versions = {name: metadata.version(name) for name in ("taskq-sls", "aiobotocore", "botocore")}
    for pins in PEERS.values():
        for line in (PINS / pins).read_text().splitlines():
            name, _, version = line.partition("==")
            if name in ("taskiq", "taskiq-aio-sqs", "celery", "dramatiq", "dramatiq-sqs"):
                versions[name] = version
    package = HOME / "fauxqs" / "node_modules" / "fauxqs" / "package.json"
    return {**versions, "fauxqs": json.loads(package.read_text())["version"]}
