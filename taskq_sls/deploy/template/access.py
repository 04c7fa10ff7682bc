"""The policy that the roles of all workers have in common, written once."""

from __future__ import annotations

from typing import Any

from .intrinsics import ref
from .names import queue_id
from .plan import Plan
from .policies import document, run_tasks


def access_resources(plan: Plan) -> dict[str, Any]:
    """The rights of running tasks; nothing if no function runs any."""
    workers = [f"{queue_id(queue.name)}WorkerRole" for queue in plan.workers]
    if not workers:
        return {}
    return {
        "TaskPolicy": {
            "Type": "AWS::IAM::Policy",
            "Properties": {
                "PolicyName": "tasks",
                "PolicyDocument": document(*run_tasks(plan)),
                "Roles": [ref(role) for role in workers],
            },
        }
    }
