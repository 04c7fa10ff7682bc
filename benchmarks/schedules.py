"""The cost of the local clock with very many schedules: CPU, memory, and one tick.

Run: python -m benchmarks.schedules [COUNT]      (default 100,000)
Budgets for 100,000: heap and next runs from loaded definitions under 20 s of CPU, 250 MB for the whole process, a tick
with a cost by the schedules that are due, not by all; parsing an expression and its next run 100 us on average.

Loading through the API is measured separately, on a small sample over the local AWS in this process, so its CPU counts
client and server together.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import random
import statistics
import sys
import time
from collections.abc import Sequence

from taskq_sls.aws.aio import AsyncAws
from taskq_sls.brokers.base import Answer, Outgoing
from taskq_sls.core.clock import ManualClock, SystemClock
from taskq_sls.core.flow import AsyncFlow
from taskq_sls.core.schedule_spec import ScheduleSpec
from taskq_sls.scheduler.last_firings import MemoryLastFirings
from taskq_sls.scheduler.local_clock.clock import LocalClock
from taskq_sls.scheduler.memory import MemorySchedules
from taskq_sls.scheduler.parse import parse
from taskq_sls.scheduler.rate_limit import CRUD_PER_SECOND
from taskq_sls.scheduler.spec import StoredSchedule
from taskq_sls.worker.session import resident_bytes

START = 1_800_000_000.0
ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe")
SAMPLE = 500
TICKS = 300


class Sink:
    """A broker that accepts every message at once."""

    async def send(self, messages: Sequence[Outgoing]) -> list[Answer]:
        return [None] * len(messages)


def expression(number: int, random: random.Random) -> str:
    """Expressions of four kinds, nearly all of them different."""
    minute, hour = random.randrange(60), random.randrange(24)
    kinds = (
        f"cron({minute} {hour} ? * {random.choice(('MON-FRI', 'SUN', '2#1', '6L'))} *)",
        f"cron({minute}/{random.randrange(1, 30)} {hour} {random.choice(('1', 'L', '15W', '*'))} * ? *)",
        f"rate({random.randrange(2, 2_000)} minutes)",
        f"at(2027-{random.randrange(2, 13):02}-{random.randrange(1, 29):02}T{hour:02}:{minute:02}:00)",
    )
    return kinds[number % len(kinds)]


def definition(number: int, expression: str, zone: str) -> StoredSchedule:
    """A schedule as it comes from a store: strings of its own, a body of about 300 bytes."""
    name = f"r-shop.remind-{number:08x}"
    body = json.dumps(
        {
            "v": 1,
            "task": "shop.tasks:remind",
            "args": [number, "customer@example.org"],
            "enqueued_at": 0,
            "schedule": {"name": name, "group": "shop", "at": "<aws.scheduler.scheduled-time>", "misfire": "once"},
            "trace": {"traceparent": f"00-{number:032x}-{number:016x}-01"},
        }
    )
    spec = ScheduleSpec(name, expression, zone, "default", body)
    arn = f"arn:aws:scheduler:us-east-1:123456789012:schedule/shop/{name}"
    created = START - number / 1_000
    return StoredSchedule(spec, arn, f"arn:aws:sqs:us-east-1:123456789012:{'shop-default'}", created, created)


def new_clock(clock: ManualClock) -> LocalClock:
    store = MemorySchedules(clock, "shop")
    return LocalClock(store, MemoryLastFirings(), Sink(), AsyncFlow(clock), clock)


async def measure_heap(count: int) -> None:
    port = AsyncAws(SystemClock())
    for service in ("sqs", "dynamodb", "scheduler"):
        await port.get(service)
    gc.collect()
    before = resident_bytes()
    local = new_clock(ManualClock(START))
    seeded = random.Random(1)
    spent = 0.0
    for number in range(count):
        stored = definition(number, expression(number, seeded), seeded.choice(ZONES))
        started = time.process_time()
        local._loader._put(stored, None)
        spent += time.process_time() - started
    after = resident_bytes()
    print(f"heap and next runs of {count:,} definitions   {spent:6.2f} s CPU   {spent / count * 1e6:.1f} us each")
    print(
        f"memory of the whole process              {after / 1e6:6.1f} MB (without schedules {before / 1e6:.1f}; "
        f"{(after - before) / count:.0f} bytes each)"
    )
    await port.close()


async def measure_tick(count: int) -> None:
    """A tick with one due schedule."""
    clock = ManualClock(START)
    local = new_clock(clock)
    for number in range(count - 1):
        local._loader._put(definition(number, f"cron({number % 60} {number // 60 % 24} 1 6 ? 2030)", "UTC"), None)
    local._loader._put(definition(count, "rate(1 minute)", "UTC"), None)
    idle, due = [], []
    for _ in range(TICKS):
        started = time.process_time()
        assert local.fire() <= 1
        await local.settle()
        due.append(time.process_time() - started)
        started = time.process_time()
        assert local.fire() == 0
        idle.append(time.process_time() - started)
        clock.travel(60)
    print(
        f"tick with 1 due of {count:>7,}                 {statistics.median(due) * 1e6:6.1f} us CPU, its message "
        f"included; with none due {statistics.median(idle) * 1e6:.1f} us"
    )


def measure_parsing() -> None:
    seeded = random.Random(2)
    texts = [(expression(number, seeded), seeded.choice(ZONES)) for number in range(4_000)]
    for text, zone in texts[:50]:
        parse(text, zone)
    started = time.process_time()
    for text, zone in texts:
        parse(text, zone).next_time(START, START)
    spent = time.process_time() - started
    print(f"parsing and next run, {len(texts):,} expressions      {spent / len(texts) * 1e6:6.1f} us on average")


async def measure_loading(count: int) -> None:
    """Over the local AWS, a small sample."""
    import os

    from taskq_sls.core.settings import Settings
    from taskq_sls.deploy.provision.schedules import provision_schedule_group
    from taskq_sls.local_aws.server import MotoServer
    from taskq_sls.scheduler.eventbridge import EventBridgeStore

    with MotoServer() as server:
        os.environ.update(server.environment())
        clock = SystemClock()
        port = AsyncAws(clock)
        role = "arn:aws:iam::123456789012:role/taskq-scheduler"
        settings = Settings("shop", "shop-tasks", schedule_group="shop", schedule_role_arn=role)
        await provision_schedule_group(port.client("scheduler"), "shop")

        async def arn(queue: str) -> str:
            return f"arn:aws:sqs:us-east-1:123456789012:shop-{queue}"

        store = EventBridgeStore(port.client("scheduler"), arn, settings, port.flow, clock, port.describe)
        seeded = random.Random(3)
        for number in range(SAMPLE):
            await store.create(definition(number, expression(number, seeded), "UTC").spec)
        local = LocalClock(store, MemoryLastFirings(), Sink(), port.flow, clock)
        started, cpu = time.perf_counter(), time.process_time()
        await local.load()
        wall, cpu = time.perf_counter() - started, time.process_time() - cpu
        again = time.process_time()
        await local.load()
        again = time.process_time() - again
        await port.close()
    each = cpu / SAMPLE
    print(
        f"loading through the API                  {each * 1e3:6.2f} ms CPU each, client and server (sample of {SAMPLE}, "
        f"{wall:.1f} s)\n"
        f"  so {count:,} would take {each * count:,.0f} s of CPU, and {count / CRUD_PER_SECOND:,.0f} s or more at the "
        f"{CRUD_PER_SECOND:.0f} a second that the quota allows;\n"
        f"  looking again when nothing changed: {again / SAMPLE * 1e3:.2f} ms each"
    )


def main() -> None:
    logging.getLogger("taskq_sls").setLevel(logging.WARNING)
    # Clients are created for their memory; they make no calls outside of this machine.
    for name, value in (
        ("AWS_DEFAULT_REGION", "us-east-1"),
        ("AWS_ACCESS_KEY_ID", "-"),
        ("AWS_SECRET_ACCESS_KEY", "-"),
    ):
        os.environ.setdefault(name, value)
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    asyncio.run(measure_heap(count))  # first, before other measurements use memory
    measure_parsing()
    asyncio.run(measure_tick(1_000))
    asyncio.run(measure_tick(count))
    asyncio.run(measure_loading(count))


if __name__ == "__main__":
    main()
