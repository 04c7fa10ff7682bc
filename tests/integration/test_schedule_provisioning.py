"""Provisioning of the schedule group, and what the doctor finds about scheduling."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from moto import mock_aws

from taskq_sls import Queue, TaskQ, rate
from taskq_sls.aws.blocking import BlockingAws
from taskq_sls.aws.port import AwsClient
from taskq_sls.core.clock import ManualClock
from taskq_sls.core.flow import drive
from taskq_sls.core.settings import Settings
from taskq_sls.deploy.doctor import Finding, examine
from taskq_sls.deploy.doctor.schedules import check_schedules
from taskq_sls.deploy.provision import Provisioned, provision
from taskq_sls.deploy.provision.schedules import provision_schedule_group
from taskq_sls.errors import AwsError, ConfigError

ROLE = "arn:aws:iam::123456789012:role/shop-scheduler"
SETTINGS = Settings("shop", "shop-tasks", schedule_group="shop-timed", schedule_role_arn=ROLE)
GROUP = "schedule group shop-timed"
DEAD_LETTERS = "queue schedules-dlq"


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[BlockingAws]:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with mock_aws():
        yield BlockingAws(ManualClock())


@pytest.fixture
def provisioned(aws: BlockingAws) -> BlockingAws:
    drive(provision(aws, SETTINGS, [Queue("default")]))
    return aws


def call(aws: BlockingAws, service: str, operation: str, **params: Any) -> dict[str, Any]:
    return drive(aws.client(service).call(operation, **params))


class Answering:
    """A client that answers some operations itself, each with what is given for it: an answer, or an error to raise."""

    def __init__(self, client: AwsClient, **answers: Any) -> None:
        self.client = client
        self.answers = answers

    async def call(self, operation: str, /, **params: Any) -> dict[str, Any]:
        answer = self.answers.get(operation)
        if isinstance(answer, list):
            answer = answer.pop(0) if answer else None
        if isinstance(answer, Exception):
            raise answer
        return answer or await self.client.call(operation, **params)


def refused(code: str, status: int = 400) -> AwsError:
    return AwsError("call", code, "refused", status=status)


# -- provisioning -----------------------------------------------------------------------------------------------


def test_the_schedule_group_is_made_where_scheduling_is_configured(aws: BlockingAws) -> None:
    done = drive(provision(aws, SETTINGS, [Queue("default")]))
    assert done[-1] == Provisioned("schedule group", "shop-timed", "created")
    assert call(aws, "scheduler", "get_schedule_group", Name="shop-timed")["State"] == "ACTIVE"


def test_no_group_is_made_where_it_is_not(aws: BlockingAws) -> None:
    done = drive(provision(aws, SETTINGS._replace(schedule_group=None), [Queue("default")]))
    assert {one.kind for one in done} == {"queue", "table"}


def test_a_second_run_keeps_the_group_and_its_schedules(provisioned: BlockingAws) -> None:
    target = {"Arn": "arn:aws:sqs:eu-central-1:123456789012:shop-default", "RoleArn": ROLE}
    parameters = {"ScheduleExpression": "rate(1 hour)", "FlexibleTimeWindow": {"Mode": "OFF"}, "Target": target}
    call(provisioned, "scheduler", "create_schedule", Name="d-a", GroupName="shop-timed", **parameters)
    assert drive(provision(provisioned, SETTINGS, [Queue("default")]))[-1].action == "exists"
    assert call(provisioned, "scheduler", "get_schedule", Name="d-a", GroupName="shop-timed")["Name"] == "d-a"


def test_a_group_that_somebody_else_just_made_is_found(provisioned: BlockingAws) -> None:
    racing = Answering(
        provisioned.client("scheduler"),
        get_schedule_group=[refused("ResourceNotFoundException", 404)],
        create_schedule_group=refused("ConflictException", 409),
    )
    assert drive(provision_schedule_group(racing, "shop-timed")).action == "exists"


def test_a_group_that_is_being_deleted_is_refused(provisioned: BlockingAws) -> None:
    leaving = Answering(provisioned.client("scheduler"), get_schedule_group={"State": "DELETING"})
    with pytest.raises(ConfigError, match=r"'shop-timed' is being deleted.*TASKQ_SCHEDULE_GROUP"):
        drive(provision_schedule_group(leaving, "shop-timed"))


def test_what_the_service_refuses_is_an_error(aws: BlockingAws) -> None:
    refusing = Answering(aws.client("scheduler"), create_schedule_group=refused("ServiceQuotaExceededException"))
    with pytest.raises(AwsError, match="ServiceQuotaExceededException"):
        drive(provision_schedule_group(refusing, "shop-timed"))


# -- doctor -----------------------------------------------------------------------------------------------------


def findings(aws: BlockingAws, settings: Settings = SETTINGS, **answers: Any) -> list[Finding]:
    scheduler = Answering(aws.client("scheduler"), **answers)
    sqs = Answering(aws.client("sqs"), **answers)
    return drive(check_schedules(scheduler, sqs, settings))


def levels(found: list[Finding]) -> list[tuple[str, str]]:
    return [(one.level, one.subject) for one in found]


def test_the_doctor_finds_nothing_wrong_after_provisioning(provisioned: BlockingAws) -> None:
    assert levels(findings(provisioned)) == [("ok", GROUP), ("ok", DEAD_LETTERS)]


def test_the_doctor_says_nothing_where_nothing_is_scheduled(provisioned: BlockingAws) -> None:
    assert findings(provisioned, SETTINGS._replace(schedule_group=None)) == []


def test_the_doctor_names_the_missing_group_and_the_missing_queue(aws: BlockingAws) -> None:
    found = findings(aws)
    assert levels(found) == [("fail", GROUP), ("fail", DEAD_LETTERS)]
    assert all("taskq provision" in one.fix for one in found)
    assert "'shop-schedules-dlq' does not exist" in found[1].detail


@pytest.mark.parametrize(
    ("role", "told"),
    [
        (None, "is not set"),
        ("shop-scheduler", "'shop-scheduler' is not the ARN of a role"),
        ("arn:aws:iam::210987654321:role/x", "is of account 210987654321, the queues are of 123456789012"),
    ],
)
def test_the_doctor_fails_a_role_that_cannot_be(provisioned: BlockingAws, role: str | None, told: str) -> None:
    found = findings(provisioned, SETTINGS._replace(schedule_role_arn=role))
    assert levels(found) == [("fail", "schedule role"), ("ok", DEAD_LETTERS)]
    assert told in found[0].detail
    assert "TASKQ_SCHEDULE_ROLE_ARN" in found[0].fix


def test_the_doctor_warns_of_firings_that_never_arrived(provisioned: BlockingAws) -> None:
    url = call(provisioned, "sqs", "get_queue_url", QueueName="shop-schedules-dlq")["QueueUrl"]
    for body in "ab":
        call(provisioned, "sqs", "send_message", QueueUrl=url, MessageBody=body)
    call(provisioned, "sqs", "receive_message", QueueUrl=url, MaxNumberOfMessages=1)
    found = findings(provisioned)
    assert levels(found) == [("ok", GROUP), ("warn", DEAD_LETTERS)]
    assert "holds 2 firings" in found[1].detail


@pytest.mark.parametrize(
    ("operation", "action", "subject"),
    [
        ("get_schedule_group", "scheduler:GetScheduleGroup", GROUP),
        ("get_schedule", "scheduler:GetSchedule", GROUP),
        ("list_schedules", "scheduler:ListSchedules", GROUP),
        ("get_queue_attributes", "sqs:GetQueueAttributes", DEAD_LETTERS),
    ],
)
def test_the_doctor_warns_where_it_may_not_look(
    provisioned: BlockingAws, operation: str, action: str, subject: str
) -> None:
    found = findings(provisioned, SETTINGS, **{operation: refused("AccessDeniedException", 403)})
    assert ("warn", subject) in levels(found)
    assert [action in one.fix for one in found if one.level != "ok"] == [True]


def test_the_doctor_fails_a_group_that_is_being_deleted(provisioned: BlockingAws) -> None:
    found = findings(provisioned, get_schedule_group={"State": "DELETING"})
    assert levels(found)[0] == ("fail", GROUP)


@pytest.mark.parametrize("operation", ["get_schedule_group", "get_queue_url"])
def test_the_doctor_reports_what_does_not_answer(provisioned: BlockingAws, operation: str) -> None:
    found = findings(provisioned, SETTINGS, **{operation: refused("InternalServerException", 500)})
    assert ("fail", GROUP) in levels(found)
    assert any("InternalServerException" in one.detail for one in found)


@pytest.mark.parametrize(("deduplicated", "level"), [("true", "ok"), ("false", "fail")])
def test_the_doctor_fails_a_fifo_queue_to_which_no_schedule_can_send(
    aws: BlockingAws, monkeypatch: pytest.MonkeyPatch, deduplicated: str, level: str
) -> None:
    monkeypatch.setenv("TASKQ_SCHEDULE_ROLE_ARN", ROLE)
    app = TaskQ("shop", queues=[Queue("ledger.fifo")])
    drive(provision(aws, app.settings, list(app.queues.values())))
    url = call(aws, "sqs", "get_queue_url", QueueName="shop-ledger.fifo")["QueueUrl"]
    call(
        aws,
        "sqs",
        "set_queue_attributes",
        QueueUrl=url,
        Attributes={"ContentBasedDeduplication": deduplicated},
    )
    by_subject = {one.subject: one for one in drive(examine(app, aws))}
    assert by_subject["queue ledger.fifo"].level == level
    assert by_subject["schedule group shop"].level == "ok"


def test_declared_schedules_without_a_scheduler_are_told_of(aws: BlockingAws, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TASKQ_SCHEDULE_GROUP", "TASKQ_SCHEDULE_ROLE_ARN"):
        monkeypatch.delenv(name, raising=False)
    app = TaskQ("shop")

    @app.task(schedule=rate(hours=1))
    def report() -> None: ...

    drive(provision(aws, app.settings, [Queue("default")]))
    [found] = [one for one in drive(examine(app, aws)) if one.subject == "schedules"]
    assert found.level == "warn"
    assert "none of them fires" in found.detail
