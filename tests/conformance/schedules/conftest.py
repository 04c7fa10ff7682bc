"""The stores of schedules and of last firings that must behave alike. EventBridge Scheduler is moto."""

import itertools
from collections.abc import AsyncIterator, Iterator

import moto.scheduler.models
import pytest
import pytest_asyncio
from moto import mock_aws
from moto.core.utils import utcfromtimestamp
from moto.server import ThreadedMotoServer

from taskq_sls.aws.aio import AsyncAws
from taskq_sls.aws.blocking import BlockingAws
from taskq_sls.aws.port import AwsPort
from taskq_sls.brokers.memory import MemoryBroker
from taskq_sls.brokers.sqs import SqsBroker
from taskq_sls.core.clock import ManualClock
from taskq_sls.core.queues import Queue
from taskq_sls.core.settings import Settings
from taskq_sls.deploy.provision import provision, provision_table
from taskq_sls.scheduler.eventbridge import EventBridgeStore
from taskq_sls.scheduler.last_firings import LastFirings, MemoryLastFirings
from taskq_sls.scheduler.last_firings_table import TableLastFirings
from taskq_sls.scheduler.memory import MemorySchedules
from taskq_sls.scheduler.store import ScheduleStore
from tests.support.schedule_builders import ROLE

QUEUES = (Queue("default"), Queue("slow"), Queue("ledger.fifo"))

prefixes = (f"timed{number}" for number in itertools.count())


@pytest.fixture(scope="module", autouse=True)
def environment() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "testing")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
        patch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
        patch.delenv("AWS_ENDPOINT_URL", raising=False)
        yield patch


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> ManualClock:
    """A clock that moto's schedules follow, too."""
    clock = ManualClock()
    monkeypatch.setattr(moto.scheduler.models, "unix_time", clock.time)
    monkeypatch.setattr(moto.scheduler.models, "utcnow", lambda: utcfromtimestamp(clock.time()))
    return clock


@pytest.fixture(scope="module")
def moto_url() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["memory", "moto", "moto with aiobotocore"])
async def port(request: pytest.FixtureRequest, environment: pytest.MonkeyPatch) -> AsyncIterator[AwsPort | None]:
    if request.param == "memory":
        yield None
    elif request.param == "moto":
        with mock_aws():
            yield BlockingAws(ManualClock())
    else:
        environment.setenv("AWS_ENDPOINT_URL", request.getfixturevalue("moto_url"))
        aio = AsyncAws(ManualClock())
        yield aio
        await aio.close()
        environment.delenv("AWS_ENDPOINT_URL")


@pytest_asyncio.fixture(loop_scope="module")
async def store(port: AwsPort | None, clock: ManualClock) -> ScheduleStore:
    if port is None:
        return MemorySchedules(clock, "shop", MemoryBroker(clock, QUEUES).queue_arn)
    prefix = next(prefixes)
    settings = Settings(prefix, f"{prefix}-tasks", schedule_group=f"{prefix}-group", schedule_role_arn=ROLE)
    await provision(port, settings, QUEUES)
    broker = SqsBroker(port.client("sqs"), port.flow, settings, clock, port.describe)
    return EventBridgeStore(port.client("scheduler"), broker.queue_arn, settings, port.flow, clock, port.describe)


@pytest_asyncio.fixture(loop_scope="module")
async def last_firings(port: AwsPort | None) -> LastFirings:
    if port is None:
        return MemoryLastFirings()
    table = next(prefixes)
    await provision_table(port, table)
    return TableLastFirings(port.client("dynamodb"), port.flow, table, "shop", port.describe)
