"""This library."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import time
from typing import Any

from measuring import Countdown, Order, Stopwatch, report

order = Order()
os.environ["TASKQ_QUEUE_URLS"] = json.dumps({"default": order.queue})
logging.getLogger("taskq_sls").setLevel(logging.ERROR)

from taskq_sls import Queue, TaskQ  # noqa: E402 - its settings are in the environment

app = TaskQ("bench", queues=[Queue("default")], prefix="bench", table="bench-tasks")
countdown = Countdown(order.tasks, order.options.get("linger", 0.0), order.options.get("settle", 0.0))
pause: float = order.options.get("pause", 0.0)
arrived: asyncio.Queue[float]


@app.task(name="bench:add", record=order.options.get("record", "none"))
async def add(a: int, b: int) -> None:
    if pause:
        await asyncio.sleep(pause * (a % 11) / 10)  # 0 to `pause`, each as often
    countdown.hit()


@app.task(name="bench:note", record="none")
async def note(a: int, b: int) -> None:
    arrived.put_nowait(time.perf_counter())


async def send_many() -> None:
    """One `aenqueue_many`."""
    await add.aenqueue_many([(number, 2) for number in range(order.warm)])
    calls = [(number, 2) for number in range(order.tasks)]
    watch = Stopwatch()
    await add.aenqueue_many(calls)
    watch.report(order.tasks)


async def send_each() -> None:
    """`aenqueue`, from several coroutines at once."""

    async def send(tasks: int) -> None:
        for number in range(tasks):
            await add.aenqueue(number, 2)

    async def all_send(tasks: int) -> None:
        await asyncio.gather(*(send(tasks // order.senders) for _ in range(order.senders)))

    await all_send(order.warm)
    watch = Stopwatch()
    await all_send(order.tasks)
    watch.report(order.tasks)


def work() -> None:
    app.worker(concurrency=order.concurrency).run()


def idle() -> None:
    """An idle worker: return its processor seconds over a period after the start."""
    import threading

    def measure() -> None:
        time.sleep(order.settle)
        started, begun = time.process_time(), time.perf_counter()
        time.sleep(order.seconds)
        report(cpu=time.process_time() - started, wall=time.perf_counter() - begun)
        os._exit(0)

    threading.Thread(target=measure, daemon=True).start()
    app.worker().run()


async def latency() -> None:
    """Enqueue one task at a time for an idle worker; return the seconds from the call to the first line of the task."""
    global arrived
    arrived = asyncio.Queue()
    worker = app.worker()
    serving = asyncio.create_task(worker.serve())
    await asyncio.sleep(1)
    seconds = []
    for number in range(order.tasks):
        await asyncio.sleep(0.25)
        started = time.perf_counter()
        await note.aenqueue(number, 2)
        took = await arrived.get() - started
        if number >= 5:
            seconds.append(took)
    report(seconds=seconds)
    serving.cancel()
    os._exit(0)


async def claim_and_finish() -> None:
    """The two writes of a recorded task, 50 tasks at once."""
    from taskq_sls.core.message import new_id
    from taskq_sls.core.states import State
    from taskq_sls.results.records import AttemptEnd, Claim, Fence

    results: Any = (await app.services.on_loop()).results

    async def tasks(count: int) -> None:
        for number in range(count):
            now = time.time()
            owner = f"1234567890abcdef-{number:x}"
            claim = Claim(new_id(now), 0, "bench:add", "default", owner, now, now + 60, 3, now + 86_400, now, {})
            claimed = await results.claim(claim)
            fence = Fence(claim.id, 0, claimed.attempt, owner)
            await results.finish(fence, AttemptEnd(State.SUCCEEDED, now, now + 86_400, "null"))

    async def all_tasks(count: int) -> None:
        await asyncio.gather(*(tasks(count // 50) for _ in range(50)))

    await all_tasks(order.warm)
    watch = Stopwatch()
    await all_tasks(order.tasks)
    watch.report(order.tasks)


if __name__ == "__main__":
    role = globals()[order.role]
    if asyncio.iscoroutinefunction(role):
        asyncio.run(role())
    else:
        role()
