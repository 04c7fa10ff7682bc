"""The handler of events behind a real rule and before a real queue."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest

from taskq_sls import Queue, TaskQ
from taskq_sls.core.flow import drive
from taskq_sls.core.message import Message, decode
from taskq_sls.errors import EventError
from tests.support.aws_bench import AwsBench

MakeBench = Callable[..., AwsBench]


@pytest.fixture
def bench(make_aws_bench: MakeBench) -> AwsBench:
    return make_aws_bench(Queue("default"), Queue("ledger.fifo"))


@pytest.fixture
def heard(bench: AwsBench) -> Iterator[Callable[..., list[dict[str, Any]]]]:
    """Puts an event on the bus of a route; what the route's rule passes on to its target."""
    sqs, events = boto3.client("sqs"), boto3.client("events")
    queue = sqs.create_queue(QueueName=f"{bench.app.name}-target")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]

    def put(source: str, detail_type: str, detail: dict[str, Any]) -> list[dict[str, Any]]:
        [route] = bench.app.routes
        bus = route.bus or "default"
        if route.bus and bus not in [one["Name"] for one in events.list_event_buses()["EventBuses"]]:
            events.create_event_bus(Name=bus)
        rule = {"EventBusName": bus, "Name": bench.app.name}
        events.put_rule(**rule, EventPattern=json.dumps(route.pattern()))
        events.put_targets(EventBusName=bus, Rule=bench.app.name, Targets=[{"Id": "target", "Arn": arn}])
        entry = {"EventBusName": bus, "Source": source, "DetailType": detail_type, "Detail": json.dumps(detail)}
        assert events.put_events(Entries=[entry])["FailedEntryCount"] == 0
        received = sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10).get("Messages", [])
        return [json.loads(message["Body"]) for message in received]

    yield put
    sqs.close()
    events.close()


def waiting(app: TaskQ, queue: str = "default") -> list[Message]:
    """The messages of a queue that can be received now."""
    broker = app.services.blocking().broker
    found = drive(broker.receive(queue, max_messages=10, wait=0, visibility=0))
    return [decode(delivery.body) for delivery in found]


@pytest.mark.parametrize("bus", [None, "orders"])
def test_what_the_rule_of_a_route_passes_on_becomes_its_task(
    bench: AwsBench, heard: Callable[..., list[dict[str, Any]]], bus: str | None
) -> None:
    @bench.app.on_event(
        source="shop.orders", detail_type={"prefix": "Order"}, bus=bus, detail={"total": [{"numeric": [">", 10]}]}
    )
    @bench.app.task(name="confirm")
    def confirm(order: str, detail_type: str, source: str, time: str) -> None: ...

    assert heard("shop.orders", "Order Placed", {"order": "1", "total": 5}) == []
    [event] = heard("shop.orders", "Order Placed", {"order": "2", "total": 15})
    [id] = bench.app.event_handler()(event)["tasks"]

    [message] = waiting(bench.app)
    assert (message.id, message.task) == (id, "confirm")
    assert message.kwargs == {
        "order": "2",
        "detail_type": "Order Placed",
        "source": "shop.orders",
        "time": event["time"],
    }


EVENT: dict[str, Any] = {
    "id": "17793124-05d4-b198-2fde-7ededc63b103",
    "detail-type": "Object Created",
    "source": "aws.s3",
    "time": "2026-11-12T00:00:00Z",
    "detail": {"object": {"key": "a.png"}},
}


async def test_an_event_that_comes_twice_is_one_task_that_runs_once(bench: AwsBench) -> None:
    ran: list[str] = []

    @bench.app.on_event(source="aws.s3", detail_type="Object Created", arguments={"key": "detail.object.key"})
    @bench.app.task(name="store")
    async def store(key: str) -> str:
        ran.append(key)
        return key

    handler = bench.app.event_handler()
    first, again = handler(EVENT), handler(EVENT)
    assert first == again
    assert (await bench.depth()).visible == 2

    await bench.app.worker(burst=True, poll_wait=1).serve()

    assert ran == ["a.png"]
    record = await bench.record(first["tasks"][0])
    assert record is not None
    assert record.result == "a.png"


def test_on_fifo_an_event_that_comes_twice_is_one_message(bench: AwsBench) -> None:
    @bench.app.on_event(source="aws.s3", queue="ledger.fifo", group="photos")
    @bench.app.task(name="store")
    def store(event: dict[str, Any]) -> None: ...

    handler = bench.app.event_handler()
    [id] = handler(EVENT)["tasks"]
    handler(EVENT)

    assert [message.id for message in waiting(bench.app, "ledger.fifo")] == [id]


def test_two_tasks_of_one_event_go_in_one_request(bench: AwsBench) -> None:
    for name in ("store", "index"):
        bench.app.on_event(source="aws.s3")(bench.app.task(name=name)(lambda event: None))
    bench.wire.counts.clear()

    bench.app.event_handler()(EVENT)

    assert bench.wire.counts["SendMessageBatch"] == 1


def test_what_the_queue_does_not_accept_is_an_error_and_the_repeat_makes_the_same_task(
    make_aws_bench: MakeBench,
) -> None:
    bench = make_aws_bench(aws_options={"max_attempts": 1})

    @bench.app.on_event(source="aws.s3")
    @bench.app.task(name="store")
    def store(event: dict[str, Any]) -> None: ...

    handler = bench.app.event_handler()
    bench.wire.fault, bench.wire.fails = "503", lambda operation: operation == "SendMessageBatch"
    with pytest.raises(EventError, match=r"store: NotSent: .*injected") as raised:
        handler(EVENT)
    assert raised.value.sent == []

    bench.wire.fault = None
    ids = handler(EVENT)["tasks"]

    assert [message.id for message in waiting(bench.app)] == ids
