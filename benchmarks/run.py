"""Side by side with the bare client and the alternatives, in one run:  make bench

    python -m benchmarks.run                     everything, about a quarter of an hour
    python -m benchmarks.run enqueue work        these scenarios only, printed and not stored
    python -m benchmarks.run --rounds 3

The figure is processor time of the client's process: a worker is paid by it, and on a small machine the wall time is
that of the endpoint. Contenders run in turn, each in its own process. A ratio compares a pair that ran one after the
other, so a machine that becomes slower slows both.
"""

from __future__ import annotations

import argparse
import importlib

from taskq_sls.aws.direct import wanted as direct_calls

from . import environments, report
from .endpoints import running
from .table import Row

SCENARIOS = ("enqueue", "work", "recording", "requests", "latency", "idle", "growth")
NAMED = ("million",)
"""Run only if named."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run")
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help=", ".join(SCENARIOS + NAMED))
    parser.add_argument("--rounds", type=int, default=5, help="how often each contender runs (5)")
    wanted = parser.parse_args()
    if unknown := set(wanted.scenarios) - {*SCENARIOS, *NAMED}:
        parser.error(f"{', '.join(sorted(unknown))}: there are {', '.join(SCENARIOS + NAMED)}")
    print(f"direct calls: {report.on_or_off(direct_calls())} (TASKQ_DIRECT_CALLS)", flush=True)
    environments.install()
    rows: list[Row] = []
    with running() as endpoints:
        for number, name in enumerate(wanted.scenarios or SCENARIOS, 1):
            print(name, flush=True)
            rows += importlib.import_module(f"benchmarks.scenarios.{name}").rows(endpoints, wanted.rounds)
            if not wanted.scenarios:
                report.write(
                    rows, wanted.rounds, SCENARIOS[number:]
                )  # after each scenario, so that an interrupted run leaves results
    print(report.markdown(rows))


if __name__ == "__main__":
    main()
