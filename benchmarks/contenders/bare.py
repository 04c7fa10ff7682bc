"""aiobotocore alone: the lower bound for any library on top of it.

With ``tuned`` it has the configuration of the library's clients, and makes the same requests.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from measuring import Countdown, Order, Stopwatch, report

order = Order()

TUNED = {
    "parameter_validation": False,
    "user_agent": "bench/1.0",
    "retries": {"mode": "standard", "total_max_attempts": 3},
    "max_pool_connections": 50,
    "tcp_keepalive": True,
}
SAME_ATTRIBUTES = {
    "MessageSystemAttributeNames": ["ApproximateReceiveCount", "SentTimestamp", "MessageGroupId", "AWSTraceHeader"],
    "MessageAttributeNames": ["All"],
    "VisibilityTimeout": 60,
}


def client(service: str) -> Any:
    config = AioConfig(**TUNED) if order.tuned else AioConfig()
    return get_session().create_client(service, config=config)


async def send_many() -> None:
    """SendMessageBatch, ten at a time, one after the other."""
    body = "x" * order.size
    async with client("sqs") as sqs:

        async def send(tasks: int) -> None:
            for _ in range(tasks // 10):
                entries = [{"Id": str(index), "MessageBody": body} for index in range(10)]
                answer = await sqs.send_message_batch(QueueUrl=order.queue, Entries=entries)
                assert len(answer["Successful"]) == 10

        await send(order.warm)
        watch = Stopwatch()
        await send(order.tasks)
        watch.report(order.tasks)


async def send_each() -> None:
    """SendMessage, from several coroutines at once."""
    body = "x" * order.size
    async with client("sqs") as sqs:

        async def send(tasks: int) -> None:
            for _ in range(tasks):
                await sqs.send_message(QueueUrl=order.queue, MessageBody=body)

        async def all_send(tasks: int) -> None:
            await asyncio.gather(*(send(tasks // order.senders) for _ in range(order.senders)))

        await all_send(order.warm)
        watch = Stopwatch()
        await all_send(order.tasks)
        watch.report(order.tasks)


async def work() -> None:
    """ReceiveMessage of ten, DeleteMessageBatch of ten."""
    countdown = Countdown(order.tasks, settle=order.options.get("settle", 0.0))
    more = SAME_ATTRIBUTES if order.tuned else {}
    async with client("sqs") as sqs:
        while True:
            answer = await sqs.receive_message(QueueUrl=order.queue, MaxNumberOfMessages=10, WaitTimeSeconds=20, **more)
            entries = []
            for index, message in enumerate(answer.get("Messages", ())):
                entries.append({"Id": str(index), "ReceiptHandle": message["ReceiptHandle"]})
            if entries:
                await sqs.delete_message_batch(QueueUrl=order.queue, Entries=entries)
            for _ in entries:
                countdown.hit()


async def update_twice() -> None:
    """Two UpdateItem, 50 tasks at once: the minimum of a claim and a finish."""
    async with client("dynamodb") as dynamodb:

        async def tasks(count: int) -> None:
            for number in range(count):
                for status in ("RUNNING", "SUCCEEDED"):
                    await dynamodb.update_item(
                        TableName="bench-tasks",
                        Key={"pk": {"S": f"task-{number}"}},
                        UpdateExpression="SET #s = :s, #o = :o, #u = :u",
                        ConditionExpression="attribute_not_exists(#s) OR #s <> :s",
                        ExpressionAttributeNames={"#s": "status", "#o": "owner", "#u": "updated_at"},
                        ExpressionAttributeValues={":s": {"S": status}, ":o": {"S": "me"}, ":u": {"N": "1795356032.3"}},
                    )

        async def all_tasks(count: int) -> None:
            await asyncio.gather(*(tasks(count // 50) for _ in range(50)))

        await all_tasks(order.warm)
        watch = Stopwatch()
        await all_tasks(order.tasks)
        watch.report(order.tasks)


async def latency() -> None:
    """Send one message at a time into an open long poll; return the seconds from the call to the poll's answer."""
    async with client("sqs") as sqs, client("sqs") as producer:
        arrived: asyncio.Queue[float] = asyncio.Queue()

        async def poll() -> None:
            while True:
                answer = await sqs.receive_message(
                    QueueUrl=order.queue, MaxNumberOfMessages=10, WaitTimeSeconds=20, **SAME_ATTRIBUTES
                )
                for message in answer.get("Messages", ()):
                    arrived.put_nowait(time.perf_counter())
                    await sqs.delete_message(QueueUrl=order.queue, ReceiptHandle=message["ReceiptHandle"])

        polling = asyncio.create_task(poll())
        seconds = []
        for number in range(order.tasks):
            await asyncio.sleep(0.25)
            started = time.perf_counter()
            await producer.send_message(QueueUrl=order.queue, MessageBody="x" * order.size)
            took = await arrived.get() - started
            if number >= 5:
                seconds.append(took)
        polling.cancel()
        report(seconds=seconds)


asyncio.run(globals()[order.role]())
