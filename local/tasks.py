"""The reference app: one task of each kind.

Run a worker with ``taskq worker local.tasks:app``; the Lambda entry points are ``handlers.worker.handler`` for
messages and ``handlers.scheduler.handler`` for events.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from datetime import datetime
from pathlib import Path

from taskq_sls import Queue, Retry, Schedule, TaskContext, TaskQ, cron

from .survey import Survey, standard_library, survey_package

BLOCK = 1 << 20
"""Bytes read between two progress reports."""

app = TaskQ(
    "local",
    queues=[
        Queue("default", function_timeout=90),
        Queue("slow", function_timeout=660),
        Queue("journal.fifo", function_timeout=90),
    ],
    timeout=60,
)


@app.task(
    http=True,
    retry=Retry(give_up_on=(FileNotFoundError,)),
    schedule=Schedule(cron("0 3 * * ? *"), ("json",), name="nightly-survey"),
)
def survey(package: str) -> Survey:
    """Count the files, lines and functions of one package of Python's standard library; of ``json`` every night."""
    return survey_package(standard_library(), package)


@app.task(retry=Retry(max_attempts=5, backoff=0.5, retry_on=(OSError,)), timeout=10)
async def probe(host: str, port: int) -> float:
    """Connect to a TCP port, and retry if it is not open yet; return the seconds it took."""
    started = time.perf_counter()
    _, writer = await asyncio.open_connection(host, port)
    writer.close()
    await writer.wait_closed()
    return time.perf_counter() - started


@app.task(queue="slow", timeout=600)
def checksum(ctx: TaskContext, path: str) -> str:
    """SHA-256 of a file, with progress; stops when it is cancelled."""
    digest = hashlib.sha256()
    total = os.path.getsize(path)
    with open(path, "rb") as file:
        while block := file.read(BLOCK):
            if ctx.cancelled:
                return ""  # not returned to anyone: the record is CANCELLED
            digest.update(block)
            ctx.progress(file.tell(), total, os.path.basename(path))
    return digest.hexdigest()


@app.task(queue="journal.fifo", group="journal")
def note(path: str, line: str) -> int:
    """Append a line to a file, in the order of the enqueues; return the file's length.

    Delivery is at least once: a crash right after the write makes the line come twice. Notes to different files
    need not wait for each other: ``note.with_options(group=...)``.
    """
    with Path(path).open("a", encoding="utf-8") as file:
        file.write(f"{line}\n")
        return file.tell()


@app.on_event(source="shop.orders", detail_type="Order Placed", arguments={"placed_at": "time"})
@app.task(timeout=10)
def confirm(order: str, placed_at: datetime, total: float = 0.0) -> str:
    """The text that confirms an order, for each event that the shop puts on the default bus.

    Its detail has ``order``, and may have ``total``.
    """
    return f"Order {order} of {placed_at:%d %B %Y} is confirmed, {total:.2f} in all"
