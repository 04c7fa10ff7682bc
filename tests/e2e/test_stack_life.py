"""A stack that is updated while it works, and the reference app's stack from its creation to its deletion."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import pytest

from taskq_sls import wait_all
from tests.e2e.gaps import mend
from tests.e2e.machine import ROOT
from tests.e2e.ministack import MiniStack
from tests.e2e.project import Project
from tests.e2e.sam import Sam
from tests.e2e.stack import Stack, client

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
    deployer: Sam, emulator: MiniStack, tmp_path: Path
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
    assert left(outputs) != []
    deployer.delete(ROOT, "local-dev")

    with client("cloudformation") as cloudformation:
        stacks = cloudformation.describe_stacks()["Stacks"]
    assert "local-dev" not in [one["StackName"] for one in stacks if one["StackStatus"] != "DELETE_COMPLETE"]
    assert left(outputs) == []


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
