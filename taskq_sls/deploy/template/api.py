"""The HTTP API: its function, behind a Function URL that by default only IAM users and roles may call."""

from __future__ import annotations

from typing import Any

from ...payloads.base import MESSAGES, RESULTS
from .emitter import Commented, Tag
from .intrinsics import arn_of, either, queue_id, ref, sub
from .parameters import log_group
from .plan import Plan
from .policies import (
    Statement,
    allow,
    document,
    hand_over_schedule_role,
    keep_state,
    list_tasks,
    payload_arns,
    queue_arns,
    role,
    schedule_arns,
    send,
    trace,
    use_key,
    write_logs,
)
from .queues import build

TIMEOUT = 30
"""Seconds: an API Gateway in front of it would wait no longer (API Gateway quotas)."""


MAX_TOKENS = 1_000
"""Characters of the tokens' JSON: Lambda takes 4 KB of environment in all."""


def api_parameters(plan: Plan) -> dict[str, Any]:
    """Parameters of the API."""
    if plan.options.api is None:
        return {}
    return {
        "ApiAuth": Commented(
            "With tokens the Function URL itself lets everybody through, and the API answers only those that have one.",
            {
                "Type": "String",
                "Default": "iam",
                "AllowedValues": ["iam", "tokens"],
                "Description": "Who may call the HTTP API: users and roles of IAM, or whoever has a token of ApiTokens",
            },
        ),
        "ApiTokens": {
            "Type": "String",
            "Default": "{}",
            "NoEcho": True,
            "MaxLength": MAX_TOKENS,
            "Description": "JSON of the tokens' hashes and scopes, as `taskq api-token new` prints it",
        },
    }


def api_conditions(plan: Plan) -> dict[str, Any]:
    """When the URL lets everybody through."""
    return {} if plan.options.api is None else {"ApiTakesTokens": Tag("Equals", [ref("ApiAuth"), "tokens"])}


def api_resources(plan: Plan) -> dict[str, Any]:
    """The function and its role; empty if no handler is named."""
    if plan.options.api is None:
        return {}
    return {
        "ApiFunction": {
            "Type": "AWS::Serverless::Function",
            **build(plan),
            "Properties": {
                "Description": sub("The HTTP API of ${Prefix}"),
                "Handler": plan.options.api,
                "Timeout": Commented("A wait for a task takes 25 s at most.", TIMEOUT),
                "Role": arn_of("ApiRole"),
                "LoggingConfig": {"LogGroup": ref("ApiLogs")},
                "FunctionUrlConfig": {
                    "AuthType": Commented(
                        "A caller needs lambda:InvokeFunctionUrl and lambda:InvokeFunction on this function.",
                        either("ApiTakesTokens", "NONE", "AWS_IAM"),
                    )
                },
                "Environment": {
                    "Variables": {
                        "TASKQ_API_AUTH": Commented(
                            "By iam callers are those that IAM has let through. Without an identity in the event nobody "
                            "is, should the URL ever be opened.",
                            ref("ApiAuth"),
                        ),
                        "TASKQ_API_TOKENS": ref("ApiTokens"),
                    }
                },
            },
        },
        "ApiUrlPermission": _everybody("lambda:InvokeFunctionUrl", {"FunctionUrlAuthType": "NONE"}),
        "ApiInvokePermission": _everybody("lambda:InvokeFunction", {"InvokedViaFunctionUrl": True}),
        "ApiRole": role(
            "lambda.amazonaws.com", None, {"PolicyName": "api", "PolicyDocument": document(*_statements(plan))}
        ),
        "ApiLogs": log_group("api"),
    }


def _everybody(action: str, limit: dict[str, Any]) -> dict[str, Any]:
    """One of the two permissions that a Function URL without IAM needs."""
    properties = {"Action": action, "FunctionName": ref("ApiFunction"), "Principal": "*", **limit}
    return {"Type": "AWS::Lambda::Permission", "Condition": "ApiTakesTokens", "Properties": properties}


def _statements(plan: Plan) -> list[Statement | Commented | Tag]:
    letters = [*[arn_of(f"{queue_id(queue.name)}DeadLetters") for queue in plan.queues], arn_of("FailedSchedules")]
    return [
        write_logs("ApiLogs"),
        send(plan),
        allow(
            "KnowQueues",
            ["sqs:GetQueueAttributes", "sqs:GetQueueUrl"],
            [*queue_arns(plan), *letters],
        ),
        allow(
            "RedriveDeadLetters",
            ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:ChangeMessageVisibility"],
            letters,
        ),
        keep_state(),
        list_tasks(),
        allow("KeepPayloads", ["s3:GetObject", "s3:PutObject"], payload_arns(MESSAGES, RESULTS)),
        allow("SeePayloads", ["s3:ListBucket"], arn_of("PayloadBucket")),
        allow(
            "Schedule",
            [
                "scheduler:CreateSchedule",
                "scheduler:DeleteSchedule",
                "scheduler:GetSchedule",
                "scheduler:ListSchedules",
                "scheduler:UpdateSchedule",
            ],
            schedule_arns(),
        ),
        hand_over_schedule_role(),
        Commented(
            "How old the oldest messages are. CloudWatch knows no resources for it: only in this region.",
            allow(
                "KnowAges",
                ["cloudwatch:GetMetricData"],
                "*",
                {"StringEquals": {"aws:RequestedRegion": ref("AWS::Region")}},
            ),
        ),
        trace(),
        use_key(),
    ]
