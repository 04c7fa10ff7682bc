"""One task for each thing that only a deployment can show."""

from __future__ import annotations

import asyncio
import hashlib
import time

import boto3

from taskq_sls import Queue, Retry, TaskContext, TaskQ, rate

RELEASE = 1
"""Changed by the test that updates the stack."""

app = TaskQ(
    "shop",
    queues=[
        Queue("default", function_timeout=20, max_concurrency=4, function_memory=512),
        # Of its own, since tests stop its mapping, fill it with what nobody can run, and kill its functions.
        Queue("intake", function_timeout=10, max_concurrency=2),
        Queue("ledger.fifo", function_timeout=10, max_concurrency=4),
    ],
)


class Declined(Exception):
    """The bank says no."""


class Unreachable(Exception):
    """The bank says nothing."""


@app.task
def price(quantity: int, cents: int) -> int:
    """What a line of an order costs."""
    return quantity * cents


@app.task(retry=Retry(max_attempts=5, backoff=1.0, jitter="none", retry_on=(Unreachable,)))
def charge(ctx: TaskContext, order: str) -> str:
    """Reaches the bank at the third attempt."""
    if ctx.attempt < 3:
        raise Unreachable(f"{order}: no answer in attempt {ctx.attempt}")
    return f"{order} paid"


@app.task(retry=Retry(max_attempts=2, backoff=1.0, jitter="none"))
def refund(order: str) -> None:
    """Always fails."""
    raise Declined(f"{order}: refused")


@app.task(queue="intake")
def accept(order: str) -> str:
    """Runs beside messages that nobody can run."""
    return f"{order} accepted"


@app.task(queue="ledger.fifo")
def book(entry: int) -> list[int]:
    """The entry and when it was booked, in nanoseconds."""
    return [entry, time.time_ns()]


@app.task(schedule=rate("1 minute"))
def tick() -> float:
    """When it ran."""
    return time.time()


@app.task
def digest(text: str) -> str:
    """Takes more than a message can hold."""
    return hashlib.sha256(text.encode()).hexdigest()


@app.task
def repeat(text: str, times: int) -> str:
    """Returns more than a record can hold."""
    return text * times


@app.task(queue="intake")
def release(seconds: float = 0.0) -> int:
    """Which release ran this, after `seconds` of work."""
    time.sleep(seconds)
    return RELEASE


@app.task
async def ponder(seconds: float) -> float:
    """Waits, and can be stopped while it does."""
    await asyncio.sleep(seconds)
    return seconds


@app.task(retry=Retry(max_attempts=1))
def snoop() -> list[str]:
    """Asks for what the function's role does not allow."""
    return boto3.client("sqs").list_queues().get("QueueUrls", [])


@app.on_event(source="shop.till", detail_type="Order Placed")
@app.task
def confirm(order: str) -> str:
    """For each event that the till puts on the bus."""
    return f"{order} confirmed"
