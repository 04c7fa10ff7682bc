"""What the roles of a stack may do: exact actions on exact resources, and nothing without a reason."""

from __future__ import annotations

import re
from typing import Any

import pytest

from local.tasks import app as reference_app
from taskq_sls.deploy.template import render
from taskq_sls.deploy.template.intrinsics import queue_id
from tests.support.template import KEY, Stack
from tests.support.template_apps import full_app

APPS = {"reference": reference_app, "full": full_app()}

TRACING = {"xray:PutTraceSegments", "xray:PutTelemetryRecords"}

ENDINGS = (
    r":log-group:/taskq/[^*]+:\*",  # the streams of one log group
    r":schedule/[^*/]+/\*",  # the schedules of one group
    r"arn:aws:s3:::[^*]+/(messages|results)/\*",  # the objects under one prefix
)
"""The only places for a wildcard: where AWS names the things, within one thing of the stack."""

STACKS = {
    (name, kind): Stack(render(app), Stage="prod", Prefix="shop-x", KmsKeyArn=KEY if kind == "key" else "")
    for name, app in APPS.items()
    for kind in ("plain", "key")
}


@pytest.fixture(params=STACKS, ids=" ".join)
def stack(request: pytest.FixtureRequest) -> Stack:
    return STACKS[request.param]


def roles(stack: Stack) -> list[str]:
    return list(stack.of_type("AWS::IAM::Role"))


def resources_of(statement: dict[str, Any]) -> list[str]:
    found = statement["Resource"]
    return [found] if isinstance(found, str) else found


def everything(stack: Stack) -> list[tuple[str, dict[str, Any]]]:
    return [(role, statement) for role in roles(stack) for statement in stack.statements(role)]


def test_no_role_has_a_managed_policy(stack: Stack) -> None:
    for name, role in stack.of_type("AWS::IAM::Role").items():
        assert "ManagedPolicyArns" not in role, f"{name}: managed policies allow things on everything"
    assert not stack.of_type("AWS::IAM::ManagedPolicy")


def test_no_action_has_a_wildcard(stack: Stack) -> None:
    for role, statement in everything(stack):
        for action in statement["Action"]:
            assert re.fullmatch(r"[a-z0-9]+:[A-Za-z]+", action), f"{role}: {action}"


def test_no_resource_is_everything_but_for_tracing_which_knows_no_resources(stack: Stack) -> None:
    for role, statement in everything(stack):
        if "*" in resources_of(statement):
            assert set(statement["Action"]) == TRACING, f"{role} may {statement['Action']} on everything"
            assert statement["Condition"] == {"StringEquals": {"aws:RequestedRegion": "eu-west-1"}}


def test_without_tracing_no_resource_is_everything() -> None:
    for app in APPS.values():
        stack = Stack(render(app), Tracing="PassThrough")
        assert [statement for _, statement in everything(stack) if "*" in resources_of(statement)] == []


def test_wildcards_stand_only_for_what_is_within_one_thing_of_the_stack(stack: Stack) -> None:
    for role, statement in everything(stack):
        for resource in resources_of(statement):
            if resource != "*" and "*" in resource:
                assert any(re.search(f"{ending}$", resource) for ending in ENDINGS), f"{role}: {resource}"


def test_every_resource_is_of_this_stack(stack: Stack) -> None:
    mine = {
        stack.arn(name) for name, one in stack.resources.items() if one["Type"] in ("AWS::SQS::Queue", "AWS::IAM::Role")
    }
    mine |= {stack.arn("TasksTable"), stack.arn("PayloadBucket"), KEY}
    for role, statement in everything(stack):
        for resource in resources_of(statement):
            if "*" in resource or "/index/by-" in resource:
                assert resource == "*" or "shop-x" in resource or resource.startswith(stack.arn("PayloadBucket"))
            else:
                assert resource in mine, f"{role}: {resource}"


def test_every_function_has_a_role_of_its_own(stack: Stack) -> None:
    used = [stack.function_role(function) for function in stack.functions]
    assert len(set(used)) == len(used) == len(stack.functions)
    assert set(used) | {"ScheduleRole"} == set(roles(stack)), "a role that nobody uses waits for somebody who does"


def test_a_role_trusts_one_service(stack: Stack) -> None:
    for name, role in stack.of_type("AWS::IAM::Role").items():
        [trust] = role["AssumeRolePolicyDocument"]["Statement"]
        wanted = "scheduler" if name == "ScheduleRole" else "lambda"
        assert (trust["Action"], trust["Principal"]) == ("sts:AssumeRole", {"Service": f"{wanted}.amazonaws.com"})


@pytest.mark.parametrize("app", APPS)
def test_a_worker_reads_its_own_queue_and_buries_in_its_own_dead_letters(app: str) -> None:
    stack = STACKS[app, "plain"]
    for queue in APPS[app].queues.values():
        if queue.function_timeout is None:
            continue
        start = queue_id(queue.name)
        statements = stack.statements(f"{start}WorkerRole")
        reads = [one for one in statements if "sqs:ReceiveMessage" in one["Action"]]
        assert [resources_of(one) for one in reads] == [[stack.arn(f"{start}Queue")]]
        assert "sqs:ChangeMessageVisibility" in reads[0]["Action"], "retries and releases would wait for the whole hold"
        sends = {resource for one in statements if "sqs:SendMessage" in one["Action"] for resource in resources_of(one)}
        queues = {stack.arn(f"{queue_id(name)}Queue") for name in APPS[app].queues}
        assert sends == queues | {stack.arn(f"{start}DeadLetters")}
        logs = [resources_of(one) for one in statements if "logs:PutLogEvents" in one["Action"]]
        assert logs == [[stack.arn(f"{start}WorkerLogs")]]


def test_the_role_of_schedules_sends_to_the_queues_and_to_their_dead_letters_and_does_nothing_else() -> None:
    stack = STACKS["full", "plain"]
    [send] = stack.statements("ScheduleRole")
    assert send["Action"] == ["sqs:SendMessage"]
    queues = {stack.arn(f"{queue_id(name)}Queue") for name in APPS["full"].queues}
    assert set(send["Resource"]) == queues | {stack.arn("FailedSchedules")}


def test_a_role_is_handed_over_to_the_scheduler_only(stack: Stack) -> None:
    found = [statement for _, statement in everything(stack) if "iam:PassRole" in statement["Action"]]
    assert found
    for statement in found:
        assert statement["Action"] == ["iam:PassRole"]
        assert resources_of(statement) == [stack.arn("ScheduleRole")]
        assert statement["Condition"] == {"StringEquals": {"iam:PassedToService": "scheduler.amazonaws.com"}}


def test_the_key_is_for_all_roles_and_only_where_there_is_one() -> None:
    def users(stack: Stack) -> set[str]:
        return {
            role for role, one in everything(stack) if "kms:Decrypt" in one["Action"] and resources_of(one) == [KEY]
        }

    for app in APPS:
        assert users(STACKS[app, "key"]) == set(roles(STACKS[app, "key"])), "what is encrypted could not be read"
        assert users(STACKS[app, "plain"]) == set()


def test_inline_policies_stay_below_the_limit_of_a_role(stack: Stack) -> None:
    for role in roles(stack):
        size = len(re.sub(r"\s", "", str(stack.statements(role) + stack.declared(role))))
        assert size < 10_240, f"{role}: IAM takes 10,240 characters of inline policies"


def test_what_a_queue_declares_is_in_the_role_of_its_function_as_it_is_written_and_in_no_other() -> None:
    stack = STACKS["full", "plain"]

    assert stack.declared("ImagesSlowWorkerRole") == [
        {
            "Effect": "Allow",
            "Action": ["s3:GetObject", "s3:Put*"],
            "Resource": "arn:aws:s3:::pictures-prod/${aws:PrincipalTag/team}/*",
            "Condition": {"Bool": {"aws:SecureTransport": True}},
        },
        {"Sid": "Read", "Effect": "Allow", "Action": "rekognition:DetectLabels", "Resource": "*"},
    ]
    assert [role for role in roles(stack) if stack.declared(role)] == ["ImagesSlowWorkerRole"]


def test_statements_of_a_policy_have_names_of_their_own(stack: Stack) -> None:
    for name, policy in stack.of_type("AWS::IAM::Policy").items():
        sids = [one["Sid"] for one in policy["PolicyDocument"]["Statement"]]
        assert len(set(sids)) == len(sids), name
