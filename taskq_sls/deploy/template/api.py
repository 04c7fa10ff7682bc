"""The HTTP API: its function, behind a Function URL that by default only IAM users and roles may call."""

from __future__ import annotations

from typing import Any

from .emitter import Commented, Tag
from .functions import function_resources
from .intrinsics import arn_of, either, queue_id, ref, resource, sub
from .plan import Plan
from .policies import (
    actions,
    allow,
    in_this_region,
    keep_payloads,
    keep_state,
    list_tasks,
    pass_schedule_role,
    queue_arns,
    see_payloads,
    trace,
    use_key,
    use_schedules,
    write_logs,
)

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
            "With tokens, the Function URL is open to everybody, and the API rejects requests without a valid token.",
            {
                "Type": "String",
                "Default": "iam",
                "AllowedValues": ["iam", "tokens"],
                "Description": "Who may call the HTTP API: IAM users and roles, or callers with a token of ApiTokens",
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
    """The condition for a URL that is open to everybody."""
    return {} if plan.options.api is None else {"ApiTakesTokens": Tag("Equals", [ref("ApiAuth"), "tokens"])}


def api_resources(plan: Plan) -> dict[str, Any]:
    """The function, its role and its permissions; empty if no handler is named."""
    if plan.options.api is None:
        return {}
    properties = {
        "Description": sub("The HTTP API of ${Prefix}"),
        "Handler": plan.options.api,
        "Timeout": Commented("The longest wait for a task is 25 s.", TIMEOUT),
    }
    url_auth = Commented(
        "A caller needs lambda:InvokeFunctionUrl and lambda:InvokeFunction on this function.",
        either("ApiTakesTokens", "NONE", "AWS_IAM"),
    )
    api_auth = Commented(
        "With iam, the API takes the caller from the event, and rejects events without one, should the URL ever be "
        "opened.",
        ref("ApiAuth"),
    )
    more = {
        "FunctionUrlConfig": {"AuthType": url_auth},
        "Environment": {"Variables": {"TASKQ_API_AUTH": api_auth, "TASKQ_API_TOKENS": ref("ApiTokens")}},
    }
    return {
        **function_resources(plan, "ApiFunction", _statements(plan), properties, more, logs="api", policy="api"),
        "ApiUrlPermission": _everybody("lambda:InvokeFunctionUrl", {"FunctionUrlAuthType": "NONE"}),
        "ApiInvokePermission": _everybody("lambda:InvokeFunction", {"InvokedViaFunctionUrl": True}),
    }


def _everybody(action: str, limit: dict[str, Any]) -> dict[str, Any]:
    """One of the two permissions that a Function URL without IAM needs."""
    properties = {"Action": action, "FunctionName": ref("ApiFunction"), "Principal": "*", **limit}
    return resource("AWS::Lambda::Permission", properties, Condition="ApiTakesTokens")


def _statements(plan: Plan) -> list[Any]:
    letters = [*[arn_of(f"{queue_id(queue.name)}DeadLetters") for queue in plan.queues], arn_of("FailedSchedules")]
    redrive = actions("sqs", "ReceiveMessage", "DeleteMessage", "ChangeMessageVisibility")
    return [
        write_logs("ApiLogs"),
        allow("Send", ["sqs:SendMessage"], queue_arns(plan)),
        allow("KnowQueues", actions("sqs", "GetQueueAttributes", "GetQueueUrl"), [*queue_arns(plan), *letters]),
        allow("RedriveDeadLetters", redrive, letters),
        keep_state(),
        list_tasks(),
        keep_payloads(),
        see_payloads(),
        use_schedules("ListSchedules"),
        pass_schedule_role(),
        Commented(
            "The age of the oldest messages. CloudWatch metrics are no resources; the condition limits the action to "
            "this region.",
            allow("KnowAges", ["cloudwatch:GetMetricData"], "*", in_this_region()),
        ),
        trace(),
        use_key(),
    ]
