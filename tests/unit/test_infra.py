"""What stands around the template: stages, the deployer's policy, and what the code is built from."""

from __future__ import annotations

import fnmatch
import json
import re
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from infra import build_artifact
from taskq_sls.artifact import MACHINES
from taskq_sls.deploy.template.parameters import DEFAULT_RUNTIME, RUNTIMES
from taskq_sls.deploy.template.plan import STAGES
from tests.support.template import Stack

ROOT = Path(__file__).parents[2]

TEMPLATE = (ROOT / "template.yaml").read_text()

SAM: dict[str, Any] = tomllib.loads((ROOT / "samconfig.toml").read_text())

DEPLOYER: dict[str, Any] = json.loads((ROOT / "infra" / "deployer-policy.json").read_text())

PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())

CONFIGS = {"dev": "default", "staging": "staging", "prod": "prod"}


def parameters_of(stage: str) -> dict[str, str]:
    found: dict[str, Any] = yaml.safe_load((ROOT / "infra" / "parameters" / f"{stage}.yaml").read_text())
    return {name: str(value) for name, value in found.items()}


# -- stages -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_s_parameters_are_ones_that_the_template_takes(stage: str) -> None:
    stack = Stack(TEMPLATE, **parameters_of(stage))
    assert parameters_of(stage)["Stage"] == stage
    for name, value in parameters_of(stage).items():
        declared = stack.template["Parameters"][name]
        if declared["Type"] == "Number":
            assert declared["MinValue"] <= int(value) <= declared["MaxValue"], name
        assert value in declared.get("AllowedValues", [value]), name
        assert re.fullmatch(declared.get("AllowedPattern", ".*"), value), name


def test_stages_share_no_name() -> None:
    assert len({parameters_of(stage)["Prefix"] for stage in STAGES}) == len(STAGES)


def test_the_concurrency_of_all_queues_fits_into_an_account() -> None:
    for stage in STAGES:
        mappings = Stack(TEMPLATE, **parameters_of(stage)).functions.values()
        total = sum(
            int(event["Properties"]["ScalingConfig"]["MaximumConcurrency"])
            for function in mappings
            for event in function.get("Events", {}).values()
        )
        assert total < 1_000, "throttled batches would spend receives"


@pytest.mark.parametrize("stage", STAGES)
def test_sam_deploys_a_stage_with_its_parameters(stage: str) -> None:
    config = SAM[CONFIGS[stage]]
    deploy = config["deploy"]["parameters"]
    assert config["global"]["parameters"]["stack_name"] == parameters_of(stage)["Prefix"]
    assert deploy["parameter_overrides"] == f"file://infra/parameters/{stage}.yaml"
    assert set(deploy["capabilities"].split()) == {"CAPABILITY_IAM"}
    assert deploy["resolve_s3"] is True
    assert deploy["confirm_changeset"] is (stage == "prod"), "production changes only after somebody has looked"
    assert config["build"]["parameters"]["build_in_source"] is True, "the whole checkout would be copied per function"
    assert config["validate"]["parameters"]["lint"] is True


def test_every_stage_has_a_configuration_and_nothing_else_has() -> None:
    assert set(SAM) - {"version"} == set(CONFIGS.values())


# -- the deployer -----------------------------------------------------------------------------------------------

HERE = "eu-west-1:123456789012"

NEEDS: dict[str, tuple[str, set[str]]] = {
    "AWS::SQS::Queue": (
        f"arn:aws:sqs:{HERE}:local-dev-default",
        {"sqs:CreateQueue", "sqs:DeleteQueue", "sqs:GetQueueAttributes", "sqs:SetQueueAttributes"},
    ),
    "AWS::SQS::QueuePolicy": (f"arn:aws:sqs:{HERE}:local-dev-FailedEvents-1A2B", {"sqs:SetQueueAttributes"}),
    "AWS::Serverless::Function": (
        f"arn:aws:lambda:{HERE}:function:local-dev-DefaultWorker-1A2B",
        {
            "lambda:CreateFunction",
            "lambda:DeleteFunction",
            "lambda:GetFunction",
            "lambda:PutFunctionEventInvokeConfig",
            "lambda:PutFunctionRecursionConfig",
            "lambda:UpdateFunctionCode",
            "lambda:UpdateFunctionConfiguration",
        },
    ),
    "AWS::Lambda::Permission": (
        f"arn:aws:lambda:{HERE}:function:local-dev-EventsFunction-1A2B",
        {"lambda:AddPermission", "lambda:RemovePermission"},
    ),
    "AWS::IAM::Role": (
        "arn:aws:iam::123456789012:role/local-dev-DefaultWorkerRole-1A2B",
        {"iam:CreateRole", "iam:DeleteRole", "iam:GetRole", "iam:PassRole", "iam:UpdateAssumeRolePolicy"},
    ),
    "AWS::IAM::Policy": (
        "arn:aws:iam::123456789012:role/local-dev-DefaultWorkerRole-1A2B",
        {"iam:PutRolePolicy", "iam:DeleteRolePolicy", "iam:GetRolePolicy"},
    ),
    "AWS::Logs::LogGroup": (
        f"arn:aws:logs:{HERE}:log-group:/taskq/local-dev/default",
        {"logs:CreateLogGroup", "logs:DeleteLogGroup", "logs:PutRetentionPolicy"},
    ),
    "AWS::DynamoDB::Table": (
        f"arn:aws:dynamodb:{HERE}:table/local-dev-tasks",
        {
            "dynamodb:CreateTable",
            "dynamodb:DeleteTable",
            "dynamodb:DescribeTable",
            "dynamodb:UpdateContinuousBackups",
            "dynamodb:UpdateTable",
            "dynamodb:UpdateTimeToLive",
        },
    ),
    "AWS::S3::Bucket": (
        "arn:aws:s3:::local-dev-payloadbucket-1a2b",
        {
            "s3:CreateBucket",
            "s3:DeleteBucket",
            "s3:PutBucketOwnershipControls",
            "s3:PutBucketPublicAccessBlock",
            "s3:PutEncryptionConfiguration",
            "s3:PutLifecycleConfiguration",
        },
    ),
    "AWS::Scheduler::ScheduleGroup": (
        f"arn:aws:scheduler:{HERE}:schedule-group/local-dev",
        {"scheduler:CreateScheduleGroup", "scheduler:DeleteScheduleGroup", "scheduler:GetScheduleGroup"},
    ),
    "AWS::Scheduler::Schedule": (
        f"arn:aws:scheduler:{HERE}:schedule/local-dev/d-local.tidy-1a2b3c4d",
        {
            "scheduler:CreateSchedule",
            "scheduler:DeleteSchedule",
            "scheduler:GetSchedule",
            "scheduler:UpdateSchedule",
        },
    ),
    "AWS::Events::Rule": (
        f"arn:aws:events:{HERE}:rule/local-dev-Rule-1A2B",
        {"events:PutRule", "events:DeleteRule", "events:DescribeRule", "events:PutTargets", "events:RemoveTargets"},
    ),
    "AWS::CloudWatch::Alarm": (
        f"arn:aws:cloudwatch:{HERE}:alarm:local-dev-default-errors",
        {"cloudwatch:PutMetricAlarm", "cloudwatch:DeleteAlarms", "cloudwatch:DescribeAlarms"},
    ),
    "AWS::CloudWatch::Dashboard": (
        "arn:aws:cloudwatch::123456789012:dashboard/local-dev-eu-west-1",
        {"cloudwatch:PutDashboard", "cloudwatch:DeleteDashboards", "cloudwatch:GetDashboard"},
    ),
}
"""What CloudFormation does, with the deployer's credentials, to a resource of a type."""


def as_list(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def may(action: str, resource: str) -> bool:
    return any(
        any(fnmatch.fnmatchcase(action, pattern) for pattern in as_list(statement["Action"]))
        and any(fnmatch.fnmatchcase(resource, pattern) for pattern in as_list(statement["Resource"]))
        for statement in DEPLOYER["Statement"]
    )


def test_the_deployer_may_make_and_remove_every_kind_of_resource_in_the_template() -> None:
    kinds = {resource["Type"] for resource in Stack(TEMPLATE, KmsKeyArn="x").template["Resources"].values()}
    assert kinds | {"AWS::Scheduler::Schedule"} == set(NEEDS), "nobody has thought of what the deployer needs for it"
    for resource, actions in NEEDS.values():
        lacking = [action for action in actions if not may(action, resource)]
        assert lacking == [], resource


def test_the_deployer_may_deploy_with_sam() -> None:
    stack = f"arn:aws:cloudformation:{HERE}:stack/local-dev/1a2b"
    for action in ("CreateChangeSet", "ExecuteChangeSet", "DescribeStackEvents", "DeleteStack", "GetTemplateSummary"):
        assert may(f"cloudformation:{action}", stack)
    for transform in as_list(Stack(TEMPLATE).template["Transform"]):
        assert may("cloudformation:CreateChangeSet", f"arn:aws:cloudformation:eu-west-1:aws:transform/{transform[5:]}")
    assert may(
        "s3:PutObject", "arn:aws:s3:::aws-sam-cli-managed-default-samclisourcebucket-1a2b/local-dev/1a2b.template"
    )


@pytest.mark.parametrize(
    ("action", "resource"),
    [
        ("sqs:DeleteQueue", f"arn:aws:sqs:{HERE}:shop-default"),
        ("iam:PutRolePolicy", "arn:aws:iam::123456789012:role/Admin"),
        ("iam:AttachRolePolicy", "arn:aws:iam::123456789012:role/local-dev-DefaultWorkerRole"),
        ("iam:CreateUser", "arn:aws:iam::123456789012:user/local-dev"),
        ("dynamodb:Scan", f"arn:aws:dynamodb:{HERE}:table/local-prod-tasks"),
        ("sqs:ReceiveMessage", f"arn:aws:sqs:{HERE}:local-prod-default"),
        ("lambda:InvokeFunction", f"arn:aws:lambda:{HERE}:function:local-prod-DefaultWorker"),
    ],
)
def test_the_deployer_touches_neither_other_stacks_nor_data(action: str, resource: str) -> None:
    assert not may(action, resource)


def test_what_the_deployer_may_do_on_everything_is_limited_by_a_condition() -> None:
    for statement in DEPLOYER["Statement"]:
        if statement["Resource"] == "*":
            assert statement["Condition"] == {"ArnLike": {"lambda:FunctionArn": "arn:aws:lambda:*:*:function:local-*"}}


def test_the_deployer_s_policy_fits_into_a_managed_policy() -> None:
    assert len(re.sub(r"\s", "", json.dumps(DEPLOYER))) <= 6_144


# -- the code ---------------------------------------------------------------------------------------------------


def pins(file: str) -> dict[str, str]:
    lines = (ROOT / file).read_text().splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


def closure(*names: str) -> set[str]:
    """What the packages of these names need, with themselves."""
    found: set[str] = set()
    waiting = [canonicalize_name(name) for name in names]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        for text in metadata.requires(name) or []:
            needed = Requirement(text)
            if needed.marker is None or needed.marker.evaluate({"extra": ""}):
                waiting.append(canonicalize_name(needed.name))
    return found


def test_the_functions_get_what_the_library_needs_and_boto3_apart() -> None:
    needed = [Requirement(text).name for text in PROJECT["project"]["dependencies"]]
    assert set(pins(build_artifact.BOTO3)) == closure("boto3")
    # Lambda's runtime has boto3 with everything it needs: croniter shares python-dateutil and six with it.
    assert set(pins(build_artifact.PACKAGES)) == closure(*needed) - closure("boto3")


def test_the_functions_run_what_is_tested() -> None:
    tested = pins("requirements/dev.txt")
    for file in (build_artifact.PACKAGES, build_artifact.BOTO3):
        assert pins(file).items() <= tested.items(), f"{file} names other versions than requirements/dev.txt"


def test_the_code_is_built_for_what_the_template_runs_it_on() -> None:
    makefile = (ROOT / "Makefile").read_text()
    declared = Stack(TEMPLATE).template["Parameters"]
    assert f"RUNTIME ?= {declared['Runtime']['Default']}\n" in makefile
    assert f"ARCHITECTURE ?= {declared['Architecture']['Default']}\n" in makefile
    assert set(declared["Architecture"]["AllowedValues"]) == set(MACHINES)
    assert declared["Runtime"]["Default"] == DEFAULT_RUNTIME
    for runtime in RUNTIMES:
        version = runtime.removeprefix("python")
        assert f"Programming Language :: Python :: {version}" in PROJECT["project"]["classifiers"]


def test_parts_that_no_function_imports_are_left_out() -> None:
    [layers] = [one["layers"] for one in PROJECT["tool"]["importlinter"]["contracts"] if one["type"] == "layers"]
    above = layers[: layers.index("worker | web") + 1]
    drivers = {part for layer in above for part in layer.split(" | ")} - {"web", "app", "__main__"}
    assert drivers <= set(build_artifact.LEFT_OUT)
