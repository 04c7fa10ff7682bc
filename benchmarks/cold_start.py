"""Cold start of the worker handler: import, first client and all, against boto3 with a DynamoDB client.

Run with the Python of an environment that has the wheel installed, so that byte code exists:
    python -m benchmarks.cold_start
Budgets: 1.25 x, and 1.10 x where all annotations are JSON types. CPU seconds of whole processes, run in turn.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROUNDS = 15

REFERENCE = """
import boto3
client = boto3.client("dynamodb")
def handler(event, context):
    return client
"""

COMMON = """
from taskq_sls import TaskQ
{imports}
app = TaskQ("cold")
@app.task
def work({parameters}) -> None: ...
handler = app.lambda_handler()
handler.warm_up()
"""

PLAIN = COMMON.format(imports="", parameters="path: str, width: int")
RICH = COMMON.format(imports="from datetime import datetime", parameters="when: datetime, width: int")
BARE = "pass"


def cpu(code: str, directory: str) -> float:
    """CPU seconds of one process that runs `code`."""
    environment = {
        **os.environ,
        "AWS_DEFAULT_REGION": "eu-west-1",
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "x",
    }
    (Path(directory) / "measured.py").write_text(code)
    process = subprocess.Popen([sys.executable, "-c", "import measured"], cwd=directory, env=environment)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"a measured process failed with status {process.returncode}")
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    cases = {"plain annotations": PLAIN, "rich annotations": RICH, "bare interpreter": BARE}
    ratios: dict[str, list[float]] = {name: [] for name in cases}
    seconds: dict[str, list[float]] = {name: [] for name in [*cases, "boto3 + DynamoDB client"]}
    with tempfile.TemporaryDirectory() as directory:
        for index in range(ROUNDS + 1):
            base = cpu(REFERENCE, directory)
            taken = {name: cpu(code, directory) for name, code in cases.items()}
            if index == 0:
                continue  # fills the file cache
            seconds["boto3 + DynamoDB client"].append(base)
            for name, spent in taken.items():
                seconds[name].append(spent)
                ratios[name].append(spent / base)
    for name, values in seconds.items():
        ratio = f"   ratio {statistics.median(ratios[name]):.2f}" if name in ratios else ""
        print(f"{name:26} {statistics.median(values) * 1000:7.0f} ms{ratio}")


if __name__ == "__main__":
    main()
