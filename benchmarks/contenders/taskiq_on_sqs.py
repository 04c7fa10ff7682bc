"""taskiq with taskiq-aio-sqs."""

from __future__ import annotations

import asyncio
import logging

from measuring import Countdown, Order, Stopwatch
from taskiq.api import run_receiver_task
from taskiq_aio_sqs import SQSBroker

order = Order()
logging.getLogger().setLevel(logging.ERROR)
broker = SQSBroker(order.queue.rpartition("/")[2], max_number_of_messages=order.options.get("tens", 1))
countdown = Countdown(order.tasks, order.options.get("linger", 0.0))
pause: float = order.options.get("pause", 0.0)


@broker.task(task_name="bench:add")
async def add(a: int, b: int) -> None:
    if pause:
        await asyncio.sleep(pause * (a % 11) / 10)
    countdown.hit()


async def send_each() -> None:
    """`kiq`, from several coroutines at once."""
    await broker.startup()

    async def send(tasks: int) -> None:
        for number in range(tasks):
            await add.kiq(number, 2)

    async def all_send(tasks: int) -> None:
        await asyncio.gather(*(send(tasks // order.senders) for _ in range(order.senders)))

    await all_send(order.warm)
    watch = Stopwatch()
    await all_send(order.tasks)
    watch.report(order.tasks)
    await broker.shutdown()


async def work() -> None:
    broker.is_worker_process = True
    await run_receiver_task(broker, max_async_tasks=order.concurrency, run_startup=True)


asyncio.run(globals()[order.role]())
