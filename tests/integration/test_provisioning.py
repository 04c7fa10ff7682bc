"""Provisioning against moto, and its table against dynalite (`make emulators`): what is made, what is corrected, what is left alone."""

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from moto import mock_aws

from taskq_sls.aws.blocking import BlockingAws
from taskq_sls.aws.port import AwsClient
from taskq_sls.cli import main
from taskq_sls.core.clock import ManualClock
from taskq_sls.core.flow import BlockingFlow, drive
from taskq_sls.core.queues import Queue
from taskq_sls.core.settings import Settings
from taskq_sls.deploy.provision import Provisioned, provision, provision_table
from taskq_sls.errors import AwsError, ConfigError
from tests.support.emulators import create_bare_table, delete_tables

SETTINGS = Settings("shop", "shop-tasks", bucket="shop-payloads")
QUEUES = [Queue("default"), Queue("slow", function_timeout=600, max_receive_count=7), Queue("ledger.fifo")]
QUEUE_NAMES = [
    "shop-schedules-dlq",
    "shop-default-dlq",
    "shop-default",
    "shop-slow-dlq",
    "shop-slow",
    "shop-ledger-dlq.fifo",
    "shop-ledger.fifo",
]


@pytest.fixture(params=["moto", pytest.param("dynalite", marks=pytest.mark.emulator)])
def aws(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[BlockingAws]:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    if request.param == "dynalite":
        monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", request.getfixturevalue("dynalite_url"))
    with mock_aws():
        port = BlockingAws(ManualClock())
        yield port
        if request.param == "dynalite":
            delete_tables(port)


def call(aws: BlockingAws, service: str, operation: str, **params: Any) -> dict[str, Any]:
    return drive(aws.client(service).call(operation, **params))


def run(aws: Any, queues: Sequence[Queue] = QUEUES, **options: Any) -> list[Provisioned]:
    return drive(provision(aws, SETTINGS, queues, **options))


def attributes(aws: BlockingAws, name: str) -> dict[str, str]:
    url = call(aws, "sqs", "get_queue_url", QueueName=name)["QueueUrl"]
    found: dict[str, str] = call(aws, "sqs", "get_queue_attributes", QueueUrl=url, AttributeNames=["All"])["Attributes"]
    return found


def set_attributes(aws: BlockingAws, name: str, **changes: str) -> None:
    url = call(aws, "sqs", "get_queue_url", QueueName=name)["QueueUrl"]
    call(aws, "sqs", "set_queue_attributes", QueueUrl=url, Attributes=changes)


def actions(done: Iterable[Provisioned]) -> dict[str, str]:
    return {made.name: made.action for made in done}


class RacingAws:
    """A port whose calls somebody else may overtake, as its kind of client says."""

    def __init__(self, aws: BlockingAws, client: "type[RacingClient]") -> None:
        self.aws = aws
        self.kind = client
        self.raced = False

    @property
    def flow(self) -> BlockingFlow:
        return self.aws.flow

    def client(self, service: str) -> AwsClient:
        return self.kind(self, self.aws.client(service))

    def describe(self) -> str:
        return self.aws.describe()

    async def close(self) -> None:
        return


class RacingClient:
    def __init__(self, port: RacingAws, client: AwsClient) -> None:
        self.port = port
        self.client = client

    async def call(self, operation: str, /, **params: Any) -> dict[str, Any]:
        return await self.client.call(operation, **params)


def test_everything_an_app_needs_is_created(aws: BlockingAws) -> None:
    done = run(aws, bucket=True)
    assert [(made.kind, made.name, made.action) for made in done] == [
        *(("queue", name, "created") for name in QUEUE_NAMES),
        ("table", "shop-tasks", "created"),
        ("bucket", "shop-payloads", "created"),
    ]


def test_a_second_run_finds_everything_and_changes_nothing(aws: BlockingAws) -> None:
    run(aws, bucket=True)
    before = {name: attributes(aws, name)["LastModifiedTimestamp"] for name in QUEUE_NAMES}
    assert set(actions(run(aws, bucket=True)).values()) == {"exists"}
    assert {name: attributes(aws, name)["LastModifiedTimestamp"] for name in QUEUE_NAMES} == before


def test_a_queue_keeps_messages_fourteen_days_and_polls_long(aws: BlockingAws) -> None:
    run(aws)
    for name in QUEUE_NAMES:
        assert attributes(aws, name)["MessageRetentionPeriod"] == "1209600"
        assert attributes(aws, name)["SqsManagedSseEnabled"] == "true"
    assert attributes(aws, "shop-default")["ReceiveMessageWaitTimeSeconds"] == "20"


def test_the_visibility_is_the_hold_or_six_function_timeouts(aws: BlockingAws) -> None:
    run(aws)
    assert attributes(aws, "shop-default")["VisibilityTimeout"] == "60"
    assert attributes(aws, "shop-slow")["VisibilityTimeout"] == "3600"


@pytest.mark.parametrize(
    ("queue", "dead_letters", "receives"),
    [
        ("shop-default", "shop-default-dlq", 100),
        ("shop-slow", "shop-slow-dlq", 7),
        ("shop-ledger.fifo", "shop-ledger-dlq.fifo", 1000),
    ],
)
def test_each_queue_redrives_to_its_own_dead_letter_queue(
    aws: BlockingAws, queue: str, dead_letters: str, receives: int
) -> None:
    run(aws)
    assert json.loads(attributes(aws, queue)["RedrivePolicy"]) == {
        "deadLetterTargetArn": f"arn:aws:sqs:eu-central-1:123456789012:{dead_letters}",
        "maxReceiveCount": receives,
    }


@pytest.mark.parametrize("name", ["shop-ledger.fifo", "shop-ledger-dlq.fifo"])
def test_fifo_queues_deduplicate_by_content_and_run_at_high_throughput(aws: BlockingAws, name: str) -> None:
    run(aws)
    found = attributes(aws, name)
    assert found["FifoQueue"] == found["ContentBasedDeduplication"] == "true"
    assert found["DeduplicationScope"] == "messageGroup"
    assert found["FifoThroughputLimit"] == "perMessageGroupId"


def test_only_what_differs_is_corrected(aws: BlockingAws) -> None:
    run(aws)
    set_attributes(aws, "shop-default", VisibilityTimeout="31", DelaySeconds="5")
    done = {made.name: made for made in run(aws)}
    assert done["shop-default"].action == "updated"
    assert done["shop-default"].detail == "VisibilityTimeout 31 -> 60"
    assert actions(done.values())["shop-slow"] == "exists"
    found = attributes(aws, "shop-default")
    assert (found["VisibilityTimeout"], found["DelaySeconds"]) == ("60", "5")


def test_a_changed_declaration_changes_the_redrive_policy(aws: BlockingAws) -> None:
    run(aws, [Queue("default")])
    assert actions(run(aws, [Queue("default", max_receive_count=5)]))["shop-default"] == "updated"
    assert json.loads(attributes(aws, "shop-default")["RedrivePolicy"])["maxReceiveCount"] == 5


def test_a_redrive_policy_with_its_count_as_text_is_the_same(aws: BlockingAws) -> None:
    run(aws, [Queue("default")])
    policy = json.loads(attributes(aws, "shop-default")["RedrivePolicy"])
    set_attributes(aws, "shop-default", RedrivePolicy=json.dumps(policy | {"maxReceiveCount": "100"}))
    assert actions(run(aws, [Queue("default")]))["shop-default"] == "exists"


def test_a_key_of_the_owners_choice_is_kept(aws: BlockingAws) -> None:
    key = {"KmsMasterKeyId": "alias/shop", "SqsManagedSseEnabled": "false"}
    call(aws, "sqs", "create_queue", QueueName="shop-schedules-dlq", Attributes=key)
    run(aws)
    assert attributes(aws, "shop-schedules-dlq")["SqsManagedSseEnabled"] == "false"


def test_the_table_has_both_indexes_and_a_time_to_live(aws: BlockingAws) -> None:
    run(aws)
    table = call(aws, "dynamodb", "describe_table", TableName="shop-tasks")["Table"]
    assert table["BillingModeSummary"]["BillingMode"] == "PAY_PER_REQUEST"
    indexes = {
        index["IndexName"]: (
            [key["AttributeName"] for key in index["KeySchema"]],
            index["Projection"]["ProjectionType"],
        )
        for index in table["GlobalSecondaryIndexes"]
    }
    assert indexes == {
        "by-status": (["status_shard", "status_time"], "KEYS_ONLY"),
        "by-task": (["task_shard", "task_time"], "KEYS_ONLY"),
    }
    ttl = call(aws, "dynamodb", "describe_time_to_live", TableName="shop-tasks")["TimeToLiveDescription"]
    assert ttl == {"AttributeName": "ttl", "TimeToLiveStatus": "ENABLED"}


def test_a_table_without_indexes_and_time_to_live_gets_them(aws: BlockingAws) -> None:
    create_bare_table(aws, "shop-tasks")
    done = drive(provision_table(aws, "shop-tasks"))
    assert done.action == "updated"
    assert done.detail == "added index by-status, index by-task, time to live on 'ttl'"
    assert drive(provision_table(aws, "shop-tasks")).action == "exists"
    table = call(aws, "dynamodb", "describe_table", TableName="shop-tasks")["Table"]
    assert {index["IndexName"] for index in table["GlobalSecondaryIndexes"]} == {"by-status", "by-task"}


def test_a_table_with_other_keys_is_refused(aws: BlockingAws) -> None:
    create_bare_table(aws, "shop-tasks", partition="id")
    with pytest.raises(ConfigError, match=r"table 'shop-tasks' has the keys id, sk, not pk, sk; .*TASKQ_TABLE"):
        run(aws)


def test_a_time_to_live_on_another_attribute_is_refused(aws: BlockingAws) -> None:
    create_bare_table(aws, "shop-tasks")
    other = {"Enabled": True, "AttributeName": "expires"}
    call(aws, "dynamodb", "update_time_to_live", TableName="shop-tasks", TimeToLiveSpecification=other)
    with pytest.raises(ConfigError, match="time to live on 'expires', not 'ttl'"):
        run(aws)


@pytest.mark.parametrize("step", ["create_queue", "create_table", "update_time_to_live", "create_bucket"])
def test_two_runs_at_once_are_safe(aws: BlockingAws, step: str) -> None:
    class Racing(RacingClient):
        async def call(self, operation: str, /, **params: Any) -> dict[str, Any]:
            if operation == step and not self.port.raced:
                self.port.raced = True
                run(aws, bucket=True)
            return await self.client.call(operation, **params)

    racing = RacingAws(aws, Racing)
    run(racing, bucket=True)
    assert racing.raced
    assert set(actions(run(aws, bucket=True)).values()) == {"exists"}


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("ResourceInUseException", "Attempt to change a resource which is still in use: Table is being updated"),
        ("ValidationException", "Attempting to create an index which already exists"),
    ],
)
def test_an_index_that_somebody_else_just_added_is_found(aws: BlockingAws, code: str, message: str) -> None:
    class Racing(RacingClient):
        async def call(self, operation: str, /, **params: Any) -> dict[str, Any]:
            if operation == "update_table" and not self.port.raced:
                self.port.raced = True
                run(aws)
                # What DynamoDB answers; moto does not refuse it in its own words.
                raise AwsError(operation, code, message)
            return await self.client.call(operation, **params)

    create_bare_table(aws, "shop-tasks")
    racing = RacingAws(aws, Racing)
    assert actions(run(racing))["shop-tasks"] == "exists"
    assert racing.raced


def test_an_index_that_is_refused_is_an_error(aws: BlockingAws) -> None:
    class Refusing(RacingClient):
        async def call(self, operation: str, /, **params: Any) -> dict[str, Any]:
            if operation == "update_table":
                raise AwsError(operation, "LimitExceededException", "Subscriber limit exceeded", transient=True)
            return await self.client.call(operation, **params)

    create_bare_table(aws, "shop-tasks")
    with pytest.raises(AwsError, match="Subscriber limit exceeded"):
        run(RacingAws(aws, Refusing))


def test_a_queue_made_meanwhile_with_other_attributes_is_corrected(aws: BlockingAws) -> None:
    class Racing(RacingClient):
        async def call(self, operation: str, /, **params: Any) -> dict[str, Any]:
            if operation == "create_queue" and not self.port.raced:
                self.port.raced = True
                await self.client.call(operation, QueueName=params["QueueName"])
            return await self.client.call(operation, **params)

    racing = RacingAws(aws, Racing)
    assert actions(run(racing))["shop-schedules-dlq"] == "updated"
    assert attributes(aws, "shop-schedules-dlq")["MessageRetentionPeriod"] == "1209600"


def test_a_name_longer_than_sqs_allows_is_refused_before_anything_is_made(aws: BlockingAws) -> None:
    settings = Settings("p" * 40, "shop-tasks")
    with pytest.raises(ConfigError, match=r"has 85 characters; SQS allows 80.*TASKQ_PREFIX"):
        drive(provision(aws, settings, [Queue("default"), Queue("q" * 40)]))
    assert "QueueUrls" not in call(aws, "sqs", "list_queues")


def test_a_bucket_without_a_name_is_refused_before_anything_is_made(aws: BlockingAws) -> None:
    with pytest.raises(ConfigError, match="TASKQ_BUCKET"):
        drive(provision(aws, Settings("shop", "shop-tasks"), QUEUES, bucket=True))
    assert "QueueUrls" not in call(aws, "sqs", "list_queues")


@pytest.mark.parametrize("region", ["us-east-1", "eu-central-1"])
def test_the_bucket_is_made_in_the_region_of_the_queues(
    aws: BlockingAws, monkeypatch: pytest.MonkeyPatch, region: str
) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", region)
    port = BlockingAws(ManualClock())
    run(port, [], bucket=True)
    place = call(port, "s3", "get_bucket_location", Bucket="shop-payloads")["LocationConstraint"]
    assert place == (None if region == "us-east-1" else region)


UNKNOWN_ATTRIBUTES = {"SqsManagedSseEnabled", "DeduplicationScope", "FifoThroughputLimit"}

UNKNOWN_OPERATIONS = {
    "describe_time_to_live": AwsError("", "UnknownOperationException", "no such operation", status=400),
    "get_public_access_block": AwsError("", "NotImplemented", "not implemented", status=501, transient=True),
    "get_bucket_encryption": AwsError("", "MethodNotAllowed", "not allowed", status=405),
    "get_bucket_lifecycle_configuration": AwsError("", "NotImplemented", "no", status=501, transient=True),
}


class LesserClient(RacingClient):
    """An endpoint that knows less than AWS: it refuses what an app can do without."""

    async def call(self, operation: str, /, **params: Any) -> dict[str, Any]:
        if operation in UNKNOWN_OPERATIONS:
            raise UNKNOWN_OPERATIONS[operation]
        if unknown := UNKNOWN_ATTRIBUTES & set(params.get("Attributes", ())):
            raise AwsError(operation, "InvalidAttributeName", f"Unknown Attribute {min(unknown)}.", status=400)
        answer = await super().call(operation, **params)
        if operation == "get_queue_attributes":
            known = {name: value for name, value in answer["Attributes"].items() if name not in UNKNOWN_ATTRIBUTES}
            return {**answer, "Attributes": known}
        return answer


def test_an_endpoint_that_lacks_what_an_app_can_do_without_gets_all_the_rest(aws: BlockingAws) -> None:
    lesser = RacingAws(aws, LesserClient)

    first, second = run(lesser, bucket=True), run(lesser, bucket=True)

    assert {made.action for made in first} == {"created"}
    assert {made.action for made in second} == {"exists"}, "what is refused each time is no change"
    for done in (first, second):
        missing = {made.name: [text.partition(" (")[0] for text in made.missing] for made in done}
        assert missing["shop-default"] == ["SqsManagedSseEnabled"]
        assert missing["shop-ledger.fifo"] == ["SqsManagedSseEnabled", "DeduplicationScope", "FifoThroughputLimit"]
        assert missing["shop-tasks"] == ["time to live: old records stay"]
        assert missing["shop-payloads"] == ["public access block", "encryption", "lifetimes: objects stay"]
    assert "InvalidAttributeName: Unknown Attribute" in first[0].missing[0]
    assert json.loads(attributes(aws, "shop-default")["RedrivePolicy"])["maxReceiveCount"] == 100
    assert attributes(aws, "shop-ledger.fifo")["ContentBasedDeduplication"] == "true"


def test_a_queue_of_a_lesser_endpoint_is_still_corrected(aws: BlockingAws) -> None:
    lesser = RacingAws(aws, LesserClient)
    run(lesser)
    set_attributes(aws, "shop-default", VisibilityTimeout="5")

    changed = next(made for made in run(lesser) if made.name == "shop-default")

    assert (changed.action, changed.detail) == ("updated", "VisibilityTimeout 5 -> 60")
    assert attributes(aws, "shop-default")["VisibilityTimeout"] == "60"


@pytest.mark.parametrize(
    "fault",
    [
        AwsError("", "AccessDeniedException", "not authorized", status=400),
        AwsError("", "ThrottlingException", "slow down", status=400, transient=True),
        AwsError("", "InternalServerError", "again", status=500, transient=True),
    ],
    ids=lambda fault: fault.code,
)
def test_rights_that_are_missing_and_faults_that_may_pass_are_errors(aws: BlockingAws, fault: AwsError) -> None:
    class Failing(RacingClient):
        async def call(self, operation: str, /, **params: Any) -> dict[str, Any]:
            if operation == "describe_time_to_live":
                raise fault
            return await super().call(operation, **params)

    with pytest.raises(AwsError, match=fault.code):
        run(RacingAws(aws, Failing))


def test_the_command_warns_of_what_an_endpoint_lacks(
    aws: BlockingAws, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "lesser_app.py").write_text("from taskq_sls import TaskQ\napp = TaskQ('shop')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr("taskq_sls.cli.deploy.BlockingAws", lambda clock: RacingAws(aws, LesserClient))

    status = main(["provision", "lesser_app:app"])

    told = capsys.readouterr()
    assert status == 0
    assert ["created", "table", "shop-tasks"] in [line.split()[:3] for line in told.out.splitlines()]
    assert (
        "warning: table shop-tasks goes without time to live: old records stay (UnknownOperationException: " in told.err
    )
