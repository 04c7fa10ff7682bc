"""The brokers under test, each over a clock that the test moves.

SQS is moto, in-process or as a server; with `make emulators` it is fauxqs.
"""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import botocore.session
import moto.sqs.models
import pytest
from moto import mock_aws
from moto.server import ThreadedMotoServer

from taskq_sls.aws.aio import AsyncAws
from taskq_sls.aws.blocking import BlockingAws, ThreadedAws
from taskq_sls.aws.port import AwsPort
from taskq_sls.brokers.base import Broker, Outgoing
from taskq_sls.brokers.memory import MemoryBroker
from taskq_sls.brokers.sqs import SqsBroker
from taskq_sls.core.clock import ManualClock
from taskq_sls.core.delivery import Delivery
from taskq_sls.core.queues import Queue, dead_letter_name
from taskq_sls.core.settings import Settings
from tests.support import emulators

BROKERS = ("memory", "blocking", "threaded", "async", pytest.param("fauxqs", marks=pytest.mark.emulator))

QUEUES = (
    Queue("default", max_receive_count=3),
    Queue("ledger.fifo", max_receive_count=3),
)

ALONE = ("alone", "alone.fifo")
"""Queues without a dead-letter queue."""

_prefixes = (f"conform{number}" for number in itertools.count())


class SharedClock(ManualClock):
    """A clock that takes an emulator's along."""

    follow: Callable[[float], None] | None = None

    def travel(self, seconds: float) -> None:
        super().travel(seconds)
        self._moved()

    def block(self, seconds: float) -> None:
        super().block(seconds)
        self._moved()

    def _moved(self) -> None:
        if self.follow is not None:
            self.follow(self.time())


@dataclass
class BrokerBench:
    """A broker with its queues, and the ways a test reaches around it."""

    broker: Broker
    clock: ManualClock
    memory: bool
    sqs: Any = None
    prefix: str = ""

    def travel(self, seconds: float) -> None:
        self.clock.travel(seconds)

    async def receive(self, queue: str, *, max_messages: int = 10, visibility: int = 60) -> list[Delivery]:
        return await self.broker.receive(queue, max_messages=max_messages, wait=0, visibility=visibility)

    async def drain(self, queue: str) -> list[Delivery]:
        """Receive and delete until nothing comes."""
        found = []
        while deliveries := await self.receive(queue):
            found += deliveries
            assert await self.broker.ack(deliveries) == [None] * len(deliveries)
        return found

    async def send(self, queue: str, *bodies: str, **options: Any) -> None:
        messages = [Outgoing(queue, body, id=f"id-{body[:10]}", **options) for body in bodies]
        assert await self.broker.send(messages) == [None] * len(bodies)

    async def send_grouped(self, queue: str, *pairs: tuple[str, str]) -> None:
        messages = [Outgoing(queue, body, id=body, group=group, dedup=body) for group, body in pairs]
        assert await self.broker.send(messages) == [None] * len(pairs)

    def delete_queue(self, queue: str) -> None:
        self.sqs.delete_queue(QueueUrl=self.sqs.get_queue_url(QueueName=f"{self.prefix}-{queue}")["QueueUrl"])


@pytest.fixture(scope="session")
def broker_moto_server() -> Iterator[str]:
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(scope="session")
def fauxqs_server() -> Iterator[tuple[str, Callable[[float], None]]]:
    with emulators.fauxqs() as server:
        yield server


@pytest.fixture
def broker_clock(monkeypatch: pytest.MonkeyPatch) -> SharedClock:
    """A clock that moto's queues follow, too."""
    clock = SharedClock()
    monkeypatch.setattr(moto.sqs.models, "unix_time", lambda: clock.time())
    monkeypatch.setattr(moto.sqs.models, "unix_time_millis", lambda: clock.time() * 1000)
    return clock


@pytest.fixture
def broker_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    set_aws_environment(monkeypatch)


def set_aws_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")


def create_queues(sqs: Any, prefix: str) -> None:
    """What provisioning does, as far as a broker sees it."""

    def create(name: str, **attributes: str) -> str:
        if name.endswith(".fifo"):
            attributes |= {"FifoQueue": "true", "ContentBasedDeduplication": "true"}
        url = sqs.create_queue(QueueName=f"{prefix}-{name}", Attributes=attributes)["QueueUrl"]
        answer = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
        return str(answer["Attributes"]["QueueArn"])

    for queue in QUEUES:
        policy = {
            "deadLetterTargetArn": create(dead_letter_name(queue.name)),
            "maxReceiveCount": queue.receives_before_redrive,
        }
        create(queue.name, RedrivePolicy=json.dumps(policy))
    for name in ALONE:
        create(name)


@pytest.fixture(scope="session")
def broker_clients() -> BrokerClients:
    """Clients that are kept between tests: making one takes longer than a test. The ports wait on no clock here."""
    with pytest.MonkeyPatch.context() as patch:
        set_aws_environment(patch)
        return BrokerClients()


class BrokerClients:
    def __init__(self) -> None:
        self.ports = {"blocking": BlockingAws(ManualClock()), "threaded": ThreadedAws(ManualClock(), threads=4)}
        self._raw: dict[str | None, Any] = {}

    def raw(self, endpoint: str | None) -> Any:
        """A plain botocore client, for what a broker does not do."""
        if endpoint not in self._raw:
            self._raw[endpoint] = botocore.session.Session().create_client("sqs", endpoint_url=endpoint)
        return self._raw[endpoint]


@pytest.fixture(params=BROKERS)
async def broker_bench(
    request: pytest.FixtureRequest,
    broker_clock: SharedClock,
    broker_clients: BrokerClients,
    broker_environment: None,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[BrokerBench]:
    kind = request.param
    if kind == "memory":
        memory = MemoryBroker(broker_clock, QUEUES)
        memory.add_queues(ALONE, dead_letter=False)
        yield BrokerBench(memory, broker_clock, memory=True)
        return
    with contextlib.ExitStack() as stack:
        port: AwsPort
        endpoint = None
        if kind in ("async", "fauxqs"):
            # moto's patches do not reach aiobotocore: it gets a server.
            if kind == "async":
                endpoint = request.getfixturevalue("broker_moto_server")
            else:
                endpoint, broker_clock.follow = request.getfixturevalue("fauxqs_server")
                broker_clock.travel(0)
            monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
            port = AsyncAws(broker_clock)
        else:
            stack.enter_context(mock_aws())
            port = broker_clients.ports[kind]  # type: ignore[assignment]  # one of the two ports
        prefix = next(_prefixes)
        sqs = broker_clients.raw(endpoint)
        create_queues(sqs, prefix)
        broker = SqsBroker(
            port.client("sqs"), port.flow, Settings(prefix=prefix, table="unused"), broker_clock, port.describe
        )
        yield BrokerBench(broker, broker_clock, memory=False, sqs=sqs, prefix=prefix)
        if isinstance(port, AsyncAws):
            await port.close()
