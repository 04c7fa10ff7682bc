"""A stack that is updated while it works, and the reference app's stack from its creation to its deletion."""

from __future__ import annotations

import copy
import json
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from taskq_sls import wait_all
from tests.e2e.conftest import Until
from tests.e2e.gaps import mend
from tests.e2e.machine import ROOT
from tests.e2e.ministack import MiniStack
from tests.e2e.project import Project
from tests.e2e.sam import Sam
from tests.e2e.stack import Stack, client
from tests.support.template import parse

pytestmark = pytest.mark.e2e


def test_an_update_with_a_changed_task_loses_nothing_that_is_in_flight(
    shop: ModuleType, project: Project, sam: Sam, stack: Stack
) -> None:
    """MiniStack kills the functions that run when their code changes; AWS lets them end.

    So the tasks that they had started come back when their visibility timeout ends, and run again.
    """
    assert shop.release.enqueue().result(timeout=60) == 1
    project.edit("shop/tasks.py", "RELEASE = 1", "RELEASE = 2")
    project.edit("shop/tasks.py", "max_concurrency=2", "max_concurrency=3")
    project.render()
    sam.build(project.folder, project.built, "--cached")
    handles = shop.release.enqueue_many([(0.5,)] * 800)

    sam.deploy(project.folder, project.built, "shop")
    mend(stack)
    handles += shop.release.enqueue_many([(0.5,)] * 20)

    results = wait_all(handles, timeout=240)
    assert set(results) == {1, 2}, "some ran before the update, and some after"
    assert shop.release.enqueue().result(timeout=60) == 2
    assert stack.mapping("shop-intake")["ScalingConfig"] == {"MaximumConcurrency": 3}


@pytest.fixture
def deployer(sam: Sam, emulator: MiniStack, tmp_path: Path) -> Sam:
    """The SAM CLI in the hands of somebody who has the deployer's policy, and no more."""
    sam.make_bucket(tmp_path)
    with client("s3") as s3:
        for bucket in s3.list_buckets()["Buckets"]:
            if bucket["Name"].startswith("aws-sam-cli-managed-default"):
                # It takes nothing by plain HTTP, which is all that the emulator speaks here.
                s3.delete_bucket_policy(Bucket=bucket["Name"])
    policy = (ROOT / "infra" / "deployer-policy.json").read_text()
    with client("iam") as iam:
        iam.create_user(UserName="deployer")
        iam.put_user_policy(UserName="deployer", PolicyName="deployer", PolicyDocument=policy)
        key = iam.create_access_key(UserName="deployer")["AccessKey"]
    credentials = {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}
    return Sam(tmp_path / "sam", {**emulator.environment(), **credentials}, "file://infra/parameters/dev.yaml")


def test_the_reference_app_is_deployed_from_the_root_and_deleted_without_a_trace(
    deployer: Sam, emulator: MiniStack, until: Until, tmp_path: Path
) -> None:
    """By the deployer's policy. MiniStack asks it for the SAM CLI's own calls, not for what CloudFormation makes."""
    built = tmp_path / "build"
    deployer.validate(ROOT)
    deployer.build(ROOT, built)
    deployer.deploy(ROOT, built, "local-dev")
    stack = Stack("local-dev", emulator.environment())
    mend(stack)

    doctor = stack.command("doctor", "local.tasks:app", "--json", path=[str(ROOT)])
    words = ["enqueue", "local.tasks:survey", "--args", '["json"]', "--app", "local.tasks:app"]
    ran = stack.command(*words, "--wait", "--timeout", "60", path=[str(ROOT)])

    assert doctor.returncode == 0, doctor.stdout
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["package"] == "json"

    outputs = stack.outputs
    fire_every_minute("nightly-survey", outputs["ScheduleGroupName"])
    until(lambda: surveys(stack).count("SUCCEEDED") > 1, seconds=150, every=2)

    assert left(outputs) != []
    deployer.delete(ROOT, "local-dev")

    with client("cloudformation") as cloudformation:
        stacks = cloudformation.describe_stacks()["Stacks"]
    assert "local-dev" not in [one["StackName"] for one in stacks if one["StackStatus"] != "DELETE_COMPLETE"]
    assert left(outputs) == []


def fire_every_minute(name: str, group: str) -> None:
    """Give a deployed schedule another expression, and leave target, role and message as the template made them.

    MiniStack fires no one-time expression of a schedule that it has seen with another.
    """
    with client("scheduler") as scheduler:
        [found] = [one for one in scheduler.list_schedules(GroupName=group)["Schedules"] if name in one["Name"]]
        schedule = scheduler.get_schedule(GroupName=group, Name=found["Name"])
        assert schedule["ScheduleExpression"] == "cron(0 3 * * ? *)"
        scheduler.update_schedule(
            GroupName=group,
            Name=found["Name"],
            ScheduleExpression="rate(1 minute)",
            FlexibleTimeWindow=schedule["FlexibleTimeWindow"],
            Target=schedule["Target"],
        )


def surveys(stack: Stack) -> list[str]:
    """The states of all surveys that were enqueued."""
    listed = stack.command(
        "tasks", "ls", "--task", "local.tasks:survey", "--app", "local.tasks:app", "--json", path=[str(ROOT)]
    )
    assert listed.returncode == 0, listed.stderr
    return [one["status"] for one in json.loads(listed.stdout)["tasks"]]


def test_a_first_production_deployment_that_failed_can_be_repeated(emulator: MiniStack) -> None:
    """Only the parts of the template that stay behind: MiniStack carries out their policies as CloudFormation does."""
    with client("cloudformation") as cloudformation, client("dynamodb") as dynamodb:

        def deploy(template: dict[str, Any], **parameters: str) -> str:
            given = {"Stage": "prod", "Prefix": "first", **parameters}
            cloudformation.create_stack(
                StackName="first",
                TemplateBody=json.dumps(template),
                Parameters=[{"ParameterKey": name, "ParameterValue": value} for name, value in given.items()],
            )
            return settled("first")

        whole = parse((ROOT / "template.yaml").read_text())
        state = {name: whole[name] for name in ("AWSTemplateFormatVersion", "Parameters", "Conditions")}
        state["Resources"] = {name: whole["Resources"][name] for name in ("TasksTable", "PayloadBucket")}
        broken = copy.deepcopy(state)
        broken["Resources"]["Refused"] = {
            "Type": "AWS::SSM::Parameter",
            "DependsOn": ["TasksTable", "PayloadBucket"],
            "Properties": {"Type": "SecureString", "Value": "CloudFormation makes no parameters of this type"},
        }

        assert deploy(broken) == "ROLLBACK_COMPLETE"
        assert "first-tasks" not in dynamodb.list_tables()["TableNames"]
        cloudformation.delete_stack(StackName="first")
        assert settled("first") == "DELETE_COMPLETE"
        assert deploy(state, DeletionProtection="true") == "CREATE_COMPLETE"

        assert dynamodb.describe_table(TableName="first-tasks")["Table"]["DeletionProtectionEnabled"] is True
        cloudformation.delete_stack(StackName="first")
        assert settled("first") == "DELETE_COMPLETE"
        assert "first-tasks" in dynamodb.list_tables()["TableNames"], "a stack that was deleted leaves its records"


def settled(stack: str) -> str:
    """The status of the newest stack of a name, when it does not change any more."""
    deadline = time.monotonic() + 60
    while True:
        with client("cloudformation") as cloudformation:
            found = [one for one in cloudformation.list_stacks()["StackSummaries"] if one["StackName"] == stack]
        status: str = max(found, key=lambda one: one["CreationTime"])["StackStatus"]
        if not status.endswith("_IN_PROGRESS"):
            return status
        assert time.monotonic() < deadline, status
        time.sleep(0.3)


def left(outputs: dict[str, str]) -> list[str]:
    """What there is of the stack ``local-dev``, whose prefix is the same."""
    start = "local-dev-"
    with client("sqs") as sqs, client("dynamodb") as dynamodb, client("lambda") as functions:
        found: list[str] = sqs.list_queues(QueueNamePrefix=start).get("QueueUrls", [])
        found += [name for name in dynamodb.list_tables()["TableNames"] if name == outputs["Table"]]
        names = [one["FunctionName"] for one in functions.list_functions()["Functions"]]
        found += [name for name in names if name.startswith(start)]
        mappings = functions.list_event_source_mappings()["EventSourceMappings"]
        found += [one["EventSourceArn"] for one in mappings if f":{start}" in one["EventSourceArn"]]
    with client("s3") as s3, client("scheduler") as scheduler, client("logs") as logs, client("iam") as iam:
        found += [one["Name"] for one in s3.list_buckets()["Buckets"] if one["Name"] == outputs["Bucket"]]
        groups = scheduler.list_schedule_groups()["ScheduleGroups"]
        found += [one["Name"] for one in groups if one["Name"] == outputs["ScheduleGroupName"]]
        log_groups = logs.describe_log_groups(logGroupNamePrefix="/taskq/local-dev/")["logGroups"]
        found += [one["logGroupName"] for one in log_groups]
        found += [one["RoleName"] for one in iam.list_roles()["Roles"] if one["RoleName"].startswith(start)]
    return found
