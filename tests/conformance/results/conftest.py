"""The result backends that must all behave the same."""

import itertools
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
from _pytest.mark import ParameterSet
from moto import mock_aws
from moto.server import ThreadedMotoServer

from taskq_sls.aws.aio import AsyncAws
from taskq_sls.aws.blocking import BlockingAws
from taskq_sls.aws.port import AwsPort
from taskq_sls.core.clock import ManualClock
from taskq_sls.deploy.provision import provision_table
from taskq_sls.results.base import ResultBackend
from taskq_sls.results.dynamodb.backend import DynamoResults
from taskq_sls.results.dynamodb.batching import BatchingDynamoResults
from taskq_sls.results.memory import MemoryResults

tables = (f"tasks-{number}" for number in itertools.count())


@pytest.fixture(scope="module", autouse=True)
def environment() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "testing")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
        patch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
        patch.delenv("AWS_ENDPOINT_URL", raising=False)
        yield patch


@pytest.fixture(scope="session")
def moto_url() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


def at_dynalite(name: str) -> ParameterSet:
    return pytest.param(name, marks=pytest.mark.emulator)


BACKENDS = (
    "memory",
    "dynamodb",
    "dynamodb with aiobotocore",
    at_dynalite("dynalite"),
    at_dynalite("dynalite with aiobotocore"),
)


# Making a client takes longer than most tests: one for each module, and a new table for each test.
@pytest_asyncio.fixture(scope="module", loop_scope="module", params=BACKENDS)
async def port(
    request: pytest.FixtureRequest, environment: pytest.MonkeyPatch
) -> AsyncIterator[BlockingAws | AsyncAws | None]:
    if request.param == "memory":
        yield None
    elif request.param == "dynamodb":
        with mock_aws():
            yield BlockingAws(ManualClock())
    else:
        server = "dynalite_url" if request.param.startswith("dynalite") else "moto_url"
        environment.setenv("AWS_ENDPOINT_URL", request.getfixturevalue(server))
        kind = AsyncAws if request.param.endswith("with aiobotocore") else BlockingAws
        served = kind(ManualClock())
        yield served
        await served.close()
        environment.delenv("AWS_ENDPOINT_URL", raising=False)


@pytest_asyncio.fixture(loop_scope="module")
async def results(port: AwsPort | None) -> ResultBackend:
    return MemoryResults() if port is None else await dynamo(port)


@pytest.fixture(scope="module", params=["moto", at_dynalite("dynalite")])
def blocking_aws(request: pytest.FixtureRequest, environment: pytest.MonkeyPatch) -> Iterator[BlockingAws]:
    """For tests of what only DynamoDB can show."""
    if request.param == "moto":
        with mock_aws():
            yield BlockingAws(ManualClock())
    else:
        environment.setenv("AWS_ENDPOINT_URL", request.getfixturevalue("dynalite_url"))
        yield BlockingAws(ManualClock())
        environment.delenv("AWS_ENDPOINT_URL", raising=False)


@pytest_asyncio.fixture(loop_scope="module")
async def dynamo_results(blocking_aws: BlockingAws) -> DynamoResults:
    return await dynamo(blocking_aws)


async def dynamo(port: AwsPort) -> DynamoResults:
    table = next(tables)
    await provision_table(port, table)
    kind = BatchingDynamoResults if isinstance(port, AsyncAws) else DynamoResults
    return kind(port.client("dynamodb"), port.flow, table, port.describe)
