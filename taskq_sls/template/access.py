"""Policies that several roles have in common; inline ones, each written once."""

from __future__ import annotations

from typing import Any

from .emitter import Noted
from .intrinsics import ref
from .names import queue_id
from .plan import Plan
from .policies import allow, document, run_tasks, use_key


def access_resources(plan: Plan) -> dict[str, Any]:
    """What running tasks may do, tracing, and the use of the key."""
    workers = [f"{queue_id(queue.name)}WorkerRole" for queue in plan.workers]
    functions = [*workers, *(["EventsRole"] if plan.routes else []), *(["ApiRole"] if plan.options.api else [])]
    resources: dict[str, Any] = {}
    if workers:
        resources["TaskPolicy"] = _policy("tasks", workers, *run_tasks(plan))
    if functions:
        resources["TracingPolicy"] = Noted(
            "X-Ray knows no resources, so that these two actions cannot be allowed on less than *: only in this region, "
            "and only while the parameter Tracing is Active.",
            {
                **_policy(
                    "tracing",
                    functions,
                    allow(
                        "Trace",
                        ["xray:PutTraceSegments", "xray:PutTelemetryRecords"],
                        "*",
                        {"StringEquals": {"aws:RequestedRegion": ref("AWS::Region")}},
                    ),
                ),
                "Condition": "IsTraced",
            },
        )
    resources["KeyPolicy"] = {**_policy("key", [*functions, "ScheduleRole"], use_key()), "Condition": "HasKey"}
    return resources


def _policy(name: str, roles: list[str], *statements: Any) -> dict[str, Any]:
    return {
        "Type": "AWS::IAM::Policy",
        "Properties": {
            "PolicyName": name,
            "PolicyDocument": document(*statements),
            "Roles": [ref(role) for role in roles],
        },
    }
