"""Celery on SQS: with its default pool (prefork, here one child), or with the one that costs least (solo)."""

from __future__ import annotations

import os
from urllib.parse import urlsplit

from celery import Celery
from measuring import Countdown, Order, Stopwatch

order = Order()
endpoint = urlsplit(os.environ["AWS_ENDPOINT_URL_SQS"])
backend = None
if order.options.get("results"):
    backend = f"dynamodb://x:x@localhost:{urlsplit(os.environ['AWS_ENDPOINT_URL_DYNAMODB']).port}/celery"

app = Celery("bench", broker=f"sqs://x:x@{endpoint.hostname}:{endpoint.port}", backend=backend)
app.conf.update(
    broker_transport_options={
        "region": "us-east-1",
        "is_secure": False,
        "wait_time_seconds": 20,
        "predefined_queues": {"default": {"url": order.queue}},
    },
    task_default_queue="default",
    task_ignore_result=backend is None,
    worker_hijack_root_logger=False,
    worker_redirect_stdouts=False,
    broker_connection_retry_on_startup=True,
    worker_prefetch_multiplier=10,
    worker_enable_remote_control=False,
)
pool: str = order.options.get("pool", "prefork")
countdown = Countdown(order.tasks, order.options.get("linger", 0.0), parent=pool == "prefork")


@app.task(name="bench.add")
def add(a: int, b: int) -> None:
    countdown.hit()


def send_each() -> None:
    for number in range(order.warm):
        add.delay(number, 2)
    watch = Stopwatch()
    for number in range(order.tasks):
        add.delay(number, 2)
    watch.report(order.tasks)


def work() -> None:
    app.worker_main(
        [
            *("worker", f"--pool={pool}", "--concurrency=1", "--loglevel=ERROR"),
            *("--without-gossip", "--without-mingle", "--without-heartbeat"),
        ]
    )


globals()[order.role]()
