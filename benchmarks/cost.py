"""The price of a million tasks by recording level, batch size, memory and payload size, as in docs/cost.md.

Run: python -m benchmarks.cost
Nothing is measured here: all figures follow from the prices and the reference task below. Change one and run it
again. Tests compare the write units with the library's calls (tests/integration/test_write_units.py), and the page with
this output (tests/unit/test_cost.py).
"""

from __future__ import annotations

import math
from typing import NamedTuple

from taskq_sls import Queue, TaskQ
from taskq_sls.deploy.template import render

MILLION = 1_000_000


class Prices(NamedTuple):
    """US dollars in us-east-1 (list prices of November 2026), without free tiers and discounts for volume."""

    sqs_request: float = 0.40 / MILLION
    """Standard queues; FIFO 0.50. Each 64 KB of a message or a batch is a request."""
    sqs_fifo_request: float = 0.50 / MILLION
    write_unit: float = 0.625 / MILLION
    """DynamoDB on demand, per KB of an item or index entry."""
    table_gb_month: float = 0.25 + 0.20
    """DynamoDB's storage, and point-in-time recovery."""
    invocation: float = 0.20 / MILLION
    arm_gb_second: float = 0.0000133334
    x86_gb_second: float = 0.0000166667
    firing: float = 1.00 / MILLION
    """EventBridge Scheduler, an invocation of a target."""
    log_gb: float = 0.50
    trace: float = 5.00 / MILLION
    """X-Ray, a recorded trace."""
    alarm_month: float = 0.10
    dashboard_month: float = 3.00
    object_put: float = 5.00 / MILLION
    object_get: float = 0.40 / MILLION
    object_gb_month: float = 0.023
    """S3, standard storage."""
    fargate_processor_hour: float = 0.03238
    """On arm64."""
    fargate_gb_hour: float = 0.00356


class Task(NamedTuple):
    """The reference task. Times in milliseconds, those of computing on a whole processor."""

    computing: float = 2.0
    waiting: float = 50.0
    """Wait for other services, such as a database. The records of a batch wait together."""
    record_bytes: int = 1_200
    """The item and its two index entries, with DynamoDB's overhead for each."""
    kept_days: float = 15.0
    log_bytes: int = 500
    """One line at level INFO as Lambda writes it, with CloudWatch's overhead."""
    invocation_log_bytes: int = 850
    """Lambda's own two lines of each invocation, its start and its report, likewise."""


PRICES = Prices()
TASK = Task()

UNITS = {"none": 0, "finished": 3, "started": 4, "queued": 5}
"""Write units of a task that succeeds at its first attempt, index writes included."""

CALLS = {"none": 0, "finished": 1, "started": 2, "queued": 2}
"""The calls among them that the worker makes; the first of `queued` is the producer's."""

UNITS_PER_RETRY = 4
"""At `started` and `queued`; none at the other levels."""

CALL_COMPUTING, CALL_WAITING = 0.8, 5.0
"""Milliseconds of one DynamoDB write: in botocore, and at the service."""

INVOCATION_COMPUTING = 1.0
"""Milliseconds of each invocation."""

WHOLE_PROCESSOR = 1_769
"""MB of memory for which a function gets one vCPU (Lambda guide)."""

TRACED = 0.05
"""Share of invocations that X-Ray samples under load."""

RECEIVES_PER_REQUEST = 10
"""Messages that one ReceiveMessage or DeleteMessageBatch takes at most."""

CHUNK = 64
"""KB of a message, or of a batch of them, that count as one request of SQS (SQS pricing)."""

LARGEST_MESSAGE = 1_024
"""Largest message or batch in KB; larger ones go to the bucket (SQS quotas)."""

LARGEST_RECORD = 350
"""Largest result in a record, in KB; larger ones go to the bucket."""

MESSAGE_DAYS, RESULT_DAYS = 45, 16
"""Days for which an object of arguments, and one of a result, is kept."""

PAYLOADS = (0.2, 4, 16, 64, 256, 1_000, 4_000)
"""KB of arguments, or of a result."""

LEVELS = tuple(UNITS)
BATCHES = (1, 10, 100)
MEMORIES = (128, 512, 1_769)

IDLE_POLLS_PER_MINUTE = 15
"""Polls of an idle event source mapping: 5 pollers of 20 seconds."""

MINUTES_PER_MONTH = 30 * 24 * 60


def duration(level: str, batch: int, memory: int, task: Task = TASK) -> int:
    """Billed milliseconds of an invocation with a full batch."""
    slower = WHOLE_PROCESSOR / min(memory, WHOLE_PROCESSOR)
    computing = INVOCATION_COMPUTING + batch * (task.computing + CALLS[level] * CALL_COMPUTING)
    return math.ceil(computing * slower + task.waiting + CALLS[level] * CALL_WAITING)


def lambda_cost(level: str, batch: int, memory: int) -> float:
    """A million tasks: GB-seconds and invocations."""
    seconds = duration(level, batch, memory) / 1_000
    return MILLION / batch * (seconds * memory / 1_024 * PRICES.arm_gb_second + PRICES.invocation)


def sqs_requests(batch: int, *, sent_in_tens: bool = True, kilobytes: float = 0.2) -> float:
    """Requests for one task: sent, received and deleted."""
    kilobytes = kilobytes if kilobytes <= LARGEST_MESSAGE else 0.3  # a pointer
    together = min(batch, RECEIVES_PER_REQUEST)
    sent = _chunks(10 if sent_in_tens else 1, kilobytes)
    return sent + _chunks(together, kilobytes) + 1 / together


def _chunks(together: int, kilobytes: float) -> float:
    """Requests for which one message counts if `messages` of them are sent or received together."""
    together = max(1, min(together, int(LARGEST_MESSAGE / kilobytes)))
    return math.ceil(together * kilobytes / CHUNK) / together


def sqs_cost(batch: int, kilobytes: float = 0.2) -> float:
    """A million tasks, sent in tens by `enqueue_many`."""
    return MILLION * sqs_requests(batch, kilobytes=kilobytes) * PRICES.sqs_request


def bucket_cost(kilobytes: float, largest: float, days: float) -> float:
    """A million payloads larger than `largest`: written, read once, and stored."""
    if kilobytes <= largest:
        return 0.0
    kept = kilobytes / 1e6 * days / 30 * PRICES.object_gb_month
    return MILLION * (PRICES.object_put + PRICES.object_get + kept)


def result_cost(kilobytes: float) -> float:
    """A million results: the write units that they add to the finish, or the bucket."""
    bucket = bucket_cost(kilobytes, LARGEST_RECORD, RESULT_DAYS)
    more = 0 if bucket else math.ceil(kilobytes + 0.6) - 1  # beside 600 bytes of the record itself
    return bucket + MILLION * more * PRICES.write_unit


def writes_cost(level: str) -> float:
    """A million tasks: writes of records."""
    return MILLION * UNITS[level] * PRICES.write_unit


def storage_cost(level: str) -> float:
    """A million tasks: their records until DynamoDB deletes them, which is free."""
    gigabytes = 0 if level == "none" else MILLION * TASK.record_bytes / 1e9
    return gigabytes * TASK.kept_days / 30 * PRICES.table_gb_month


def watching_cost(batch: int) -> float:
    """A million tasks: logs at level INFO, and traces."""
    logged = TASK.log_bytes + TASK.invocation_log_bytes / batch
    return MILLION * logged / 1e9 * PRICES.log_gb + MILLION / batch * TRACED * PRICES.trace


def total(level: str, batch: int, memory: int) -> float:
    """A million tasks: all of it."""
    return (
        sqs_cost(batch) + lambda_cost(level, batch, memory) + writes_cost(level) + storage_cost(level)
    ) + watching_cost(batch)


def idle_queue() -> float:
    """A month of an idle queue with a function: polls and alarms."""
    polls = IDLE_POLLS_PER_MINUTE * MINUTES_PER_MONTH * PRICES.sqs_request
    return polls + (_alarms(2) - _alarms(1)) * PRICES.alarm_month


def idle_stack() -> float:
    """A month of an idle stack with one queue."""
    return idle_queue() + (2 * _alarms(1) - _alarms(2)) * PRICES.alarm_month + PRICES.dashboard_month


def container_month(processors: float = 0.25, gigabytes: float = 0.5) -> float:
    """A month of a Fargate task on arm64, polling one idle queue (3 polls a minute) and reporting itself once a minute."""
    hours = MINUTES_PER_MONTH / 60
    machine = hours * (processors * PRICES.fargate_processor_hour + gigabytes * PRICES.fargate_gb_hour)
    return machine + MINUTES_PER_MONTH * (3 * PRICES.sqs_request + PRICES.write_unit)


def _alarms(queues: int) -> int:
    """Alarms of a stack, by its template."""
    app = TaskQ("cost", queues=[Queue(f"q{number}", function_timeout=60) for number in range(queues)])
    return render(app).count("Type: AWS::CloudWatch::Alarm")


def totals_table() -> str:
    """Dollars per million tasks."""
    head = "| recording | batch size | 128 MB | 512 MB | 1,769 MB | of it SQS | writes | Lambda at 512 MB |"
    lines = [head, "|---|---|---|---|---|---|---|---|"]
    for level in LEVELS:
        for batch in BATCHES:
            row = [*(total(level, batch, memory) for memory in MEMORIES), sqs_cost(batch), writes_cost(level)]
            cells = [f"{value:.2f}" for value in [*row, lambda_cost(level, batch, 512)]]
            lines.append(f"| `{level}` | {batch} | {' | '.join(cells)} |")
    return "\n".join(lines)


def payloads_table() -> str:
    """Dollars per million tasks by the size of their arguments, in batches of ten at 512 MB."""
    head = "| arguments | SQS, batch size 1 | SQS, 10 | bucket | `none` | `finished` | `started` | `queued` |"
    lines = [head, "|---|---|---|---|---|---|---|---|"]
    for size in PAYLOADS:
        bucket = bucket_cost(size, LARGEST_MESSAGE, MESSAGE_DAYS)
        more = sqs_cost(10, size) - sqs_cost(10) + bucket
        row = [sqs_cost(1, size), sqs_cost(10, size), bucket, *(total(level, 10, 512) + more for level in LEVELS)]
        lines.append(f"| {_size(size)} | {' | '.join(f'{value:,.2f}' for value in row)} |")
    return "\n".join(lines)


def results_table() -> str:
    """Dollars that a million results add."""
    lines = ["| result | dollars |", "|---|---|"]
    return "\n".join([*lines, *(f"| {_size(size)} | {result_cost(size):,.2f} |" for size in PAYLOADS)])


def _size(kilobytes: float) -> str:
    return f"{kilobytes:,g} KB" if kilobytes >= 1 else f"{kilobytes * 1_000:g} bytes"


def extras_table() -> str:
    """Additional costs."""
    sent_alone = MILLION * (sqs_requests(10, sent_in_tens=False) - sqs_requests(10)) * PRICES.sqs_request
    fifo = MILLION * sqs_requests(10) * (PRICES.sqs_fifo_request - PRICES.sqs_request)
    # A retry needs two requests of its own: one changes the visibility timeout, one receives the message.
    retry = MILLION * (UNITS_PER_RETRY * PRICES.write_unit + 2 * PRICES.sqs_request) + lambda_cost("started", 1, 512)
    rows = [
        ("each million of tasks sent alone (`enqueue`) instead of in tens", sent_alone),
        ("each million on FIFO queues", fifo),
        ("each million of retries at `started` and `queued` (512 MB)", retry),
        ("each million of unique keys", MILLION * 3 * PRICES.write_unit),
        ("each million of firings of schedules, and of delays above 15 minutes", MILLION * PRICES.firing),
        ("records of a million tasks for 15 days (in the table above)", storage_cost("started")),
        ("logs of a million tasks at level INFO (in the table above)", MILLION * TASK.log_bytes / 1e9 * PRICES.log_gb),
        ("a month of an idle queue with a function: polls and alarms", idle_queue()),
        ("a month of an idle stack with one queue", idle_stack()),
        ("a month of a container (0.25 processors, 0.5 GB) with one idle queue", container_month()),
    ]
    return "\n".join(["| what | dollars |", "|---|---|", *(f"| {what} | {value:.2f} |" for what, value in rows)])


if __name__ == "__main__":
    print(totals_table(), payloads_table(), results_table(), extras_table(), sep="\n\n")
