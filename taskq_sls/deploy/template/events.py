"""The function that makes tasks of EventBridge events, and the rules that send them."""

from __future__ import annotations

from typing import Any

from ...client.events import Route
from ...payloads.base import MESSAGES
from .emitter import Commented
from .functions import function_resources
from .intrinsics import arn_of, ref, resource, route_id, sub
from .plan import Plan
from .policies import (
    actions,
    allow,
    document,
    pass_schedule_role,
    payload_arns,
    schedule_arns,
    trace,
    use_key,
    use_queues,
    write_logs,
)
from .queues import retention

TIMEOUT = 30
"""Seconds: an event makes a handful of messages."""


def event_resources(plan: Plan) -> dict[str, Any]:
    """The function and its rules; empty if the app has no routes."""
    if not plan.routes:
        return {}
    rules = {route_id(name): route for name, route in _named(plan).items()}
    properties = {
        "Description": sub("Makes tasks of the EventBridge events that ${Prefix} takes"),
        "Handler": plan.options.event_handler,
        "Timeout": TIMEOUT,
    }
    retries = Commented("Repeating an event is safe: its tasks get the same ids.", 2)
    on_failure = {"OnFailure": {"Type": "SQS", "Destination": arn_of("FailedEvents")}}
    failed_events = Commented(
        "Events that could not be made tasks. CloudFormation names it, so that the name is never that of one of the "
        "app's queues. Its key is SQS's own: EventBridge has no role here that could use another.",
        resource("AWS::SQS::Queue", {**retention(), "SqsManagedSseEnabled": True}),
    )
    from_rules = {"ArnEquals": {"aws:SourceArn": [arn_of(id) for id in rules]}}
    keep = allow("KeepEvents", ["sqs:SendMessage"], arn_of("FailedEvents"), from_rules)
    policy = document({**keep, "Principal": {"Service": "events.amazonaws.com"}})
    return {
        **function_resources(
            plan,
            "EventsFunction",
            _statements(plan),
            properties,
            {"EventInvokeConfig": {"MaximumRetryAttempts": retries, "DestinationConfig": on_failure}},
            logs="eventbridge-events",
            policy="events",
        ),
        "FailedEvents": failed_events,
        "FailedEventsPolicy": resource(
            "AWS::SQS::QueuePolicy", {"Queues": [ref("FailedEvents")], "PolicyDocument": policy}
        ),
        **{name: made for id, route in rules.items() for name, made in _rule(id, route).items()},
    }


def _statements(plan: Plan) -> list[Any]:
    state = actions("dynamodb", "DeleteItem", "GetItem", "PutItem", "UpdateItem")
    return [
        write_logs("EventsLogs"),
        use_queues(plan),
        allow("KeepFailures", ["sqs:SendMessage"], arn_of("FailedEvents")),
        allow("KeepState", state, arn_of("TasksTable")),
        allow("KeepPayloads", ["s3:PutObject"], payload_arns(MESSAGES)),
        allow("Delay", ["scheduler:CreateSchedule"], schedule_arns()),
        pass_schedule_role(),
        trace(),
        use_key(),
    ]


def _rule(id: str, route: Route) -> dict[str, Any]:
    target = {
        "Id": "events",
        "Arn": arn_of("EventsFunction"),
        "DeadLetterConfig": {"Arn": arn_of("FailedEvents")},
    }
    rule = {
        "Description": f"Events for task {route.task}"[:512],
        **({} if route.bus is None else {"EventBusName": route.bus}),
        "EventPattern": route.pattern(),
        "Targets": [target],
    }
    permission = {
        "Action": "lambda:InvokeFunction",
        "FunctionName": ref("EventsFunction"),
        "Principal": "events.amazonaws.com",
        "SourceArn": arn_of(id),
    }
    return {
        id: resource("AWS::Events::Rule", rule),
        f"{id}Permission": resource("AWS::Lambda::Permission", permission),
    }


def _named(plan: Plan) -> dict[str, Route]:
    """Routes by a name that does not change when other routes are added."""
    named: dict[str, Route] = {}
    for route in plan.routes:
        name = route.task
        ordinal = 1
        while name in named:
            ordinal += 1
            name = f"{route.task}-{ordinal}"
        named[name] = route
    return named
