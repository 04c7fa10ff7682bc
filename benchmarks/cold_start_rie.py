"""Cold start under Lambda's own runtime: the worker's handler against a handler with boto3 and a DynamoDB client.

Containers are started in turn by the Runtime Interface Emulator, with awslambdaric, the code that `sam build` makes,
and the pinned boto3 without its optional packages, as Lambda has it. `make e2e` makes the environments:
    .venv/bin/python -m benchmarks.cold_start_rie [rounds]
Budgets: 1.25 x, and 1.10 x where all annotations are JSON types. The figures are wall-clock times of the init phase
(interpreter, runtime, import of the handler with its clients), so run it on a machine that does nothing else.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from pathlib import Path

from tests.e2e.lambda_runtime import LambdaRuntime, build_code
from tests.e2e.machine import ARCHITECTURE, RUNTIME

ROUNDS = 15

TIMEOUT = 30

BASE = "boto3 + DynamoDB client"

HANDLERS = {
    "nothing": """
def handler(event, context):
    return None
""",
    BASE: """
import boto3
client = boto3.client("dynamodb")
def handler(event, context):
    return None
""",
    "an app, JSON types": """
from taskq_sls import TaskQ
app = TaskQ("cold")
@app.task
def work(path: str, width: int) -> None: ...
handler = app.lambda_handler()
""",
    "an app, rich types": """
from datetime import datetime
from taskq_sls import TaskQ
app = TaskQ("cold")
@app.task
def work(when: datetime, width: int) -> None: ...
handler = app.lambda_handler()
""",
    "the reference app": "from handlers.worker import handler",
}

ENVIRONMENT = {
    "AWS_REGION": "eu-west-1",
    "AWS_DEFAULT_REGION": "eu-west-1",
    "AWS_ACCESS_KEY_ID": "x",
    "AWS_SECRET_ACCESS_KEY": "x",
    "AWS_EC2_METADATA_DISABLED": "true",
}


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    taken: dict[str, list[float]] = {name: [] for name in HANDLERS}
    with tempfile.TemporaryDirectory() as folder:
        code = Path(folder) / "code"
        build_code(code)
        modules = {name: f"measured_{number}" for number, name in enumerate(HANDLERS)}
        for name, module in modules.items():
            (code / f"{module}.py").write_text(HANDLERS[name])
        for number in range(rounds + 1):
            for name, module in modules.items():
                seconds = _start(code, f"{module}.handler", Path(folder) / "log")
                if number:  # the first round fills the file cache
                    taken[name].append(seconds)
    print(f"{RUNTIME} on {ARCHITECTURE}, {rounds} rounds; init phase, median and least; ratio to {BASE!r}")
    for name, values in taken.items():
        ratio = statistics.median(value / base for value, base in zip(values, taken[BASE], strict=True))
        least = min(values) / min(taken[BASE])
        print(
            f"{name:26} {statistics.median(values) * 1000:6.0f} ms {min(values) * 1000:6.0f} ms"
            f"   ratio {ratio:.2f}, of the least {least:.2f}"
        )


def _start(code: Path, handler: str, log: Path) -> float:
    """Seconds of the init phase of a new container."""
    with LambdaRuntime(code, handler, timeout=TIMEOUT, environment=ENVIRONMENT, log=log) as function:
        answer = function.invoke({"Records": []})
        if answer not in (None, {"batchItemFailures": []}):
            raise SystemExit(f"{handler} answered {answer}:\n{function.log()}")
        [seconds] = function.starts()
    return seconds


if __name__ == "__main__":
    main()
