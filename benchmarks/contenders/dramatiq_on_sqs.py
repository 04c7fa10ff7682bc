"""dramatiq with dramatiq-sqs."""

from __future__ import annotations

import logging
import threading

import dramatiq
from dramatiq_sqs import SQSBroker
from measuring import Countdown, Order, Stopwatch

order = Order()
logging.getLogger().setLevel(logging.ERROR)
# dramatiq creates its queue, with this name.
broker = SQSBroker(namespace=order.queue.rpartition("/")[2])
dramatiq.set_broker(broker)
countdown = Countdown(order.tasks, order.options.get("linger", 0.0))


@dramatiq.actor(actor_name="add")
def add(a: int, b: int) -> None:
    countdown.hit()


def send_each() -> None:
    for number in range(order.warm):
        add.send(number, 2)
    watch = Stopwatch()
    for number in range(order.tasks):
        add.send(number, 2)
    watch.report(order.tasks)


def work() -> None:
    worker = dramatiq.Worker(broker, worker_threads=8)
    worker.start()
    threading.Event().wait()


globals()[order.role]()
