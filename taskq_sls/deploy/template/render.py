"""The whole template: sections in order, resources in groups, and the limits of a stack."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import ConfigError
from .api import api_conditions, api_parameters, api_resources
from .document import Document, name_by_parameters, plain, use_existing
from .emitter import Commented, dump
from .events import event_resources
from .functions import function_globals
from .monitoring import alarms, dashboard
from .parameters import conditions, mappings, outputs, parameters
from .plan import Plan, TemplateOptions
from .policies import task_policy
from .queues import queue_resources, worker_resources
from .schedules import scheduling_resources
from .state import state_resources

if TYPE_CHECKING:
    from ...app import TaskQ

MAX_RESOURCES, MAX_OUTPUTS, MAX_BYTES = 500, 200, 1_000_000
"""Limits of a stack, and of a template in S3 (CloudFormation quotas)."""

Resources = dict[str, Any]


def render(app: TaskQ, options: TemplateOptions | None = None, *, command: str | None = None) -> str:
    """The SAM template of an app, as YAML. Equal apps and options give equal text.

    Args:
        command: how it was made, for its first line.

    Raises:
        ConfigError: a task's timeout is longer than its function's, a name is too long, or the app is too large
            for one stack.
    """
    return render_plan(Plan.of(app, options or TemplateOptions()), command)


def render_plan(plan: Plan, command: str | None = None) -> str:
    """The template of a plan."""
    resources = _resources(plan)
    made = outputs(plan)
    _check_names(resources)
    document = _adapted(
        plan,
        {
            "AWSTemplateFormatVersion": "2010-09-09",
            "Transform": "AWS::Serverless-2016-10-31",
            "Description": f"Tasks of {plan.app}: queues, functions, state and schedules",
            "Parameters": Commented("", {**parameters(plan), **api_parameters(plan)}, title="Parameters of a stack"),
            **({"Mappings": stages} if (stages := mappings(plan)) else {}),
            "Conditions": {**conditions(plan), **api_conditions(plan)},
            "Globals": Commented("", function_globals(plan), title="Settings of all functions"),
            "Resources": resources,
            "Outputs": Commented("", made, title="Configuration of producers and workers outside of the stack"),
        },
    )
    _check_size(plan, plain(document["Resources"]), plain(document["Outputs"]))
    text = dump(document)
    made_by = f"# Rendered by `{command}`: change the app, then render again.\n" if command else ""
    text = made_by + text
    if len(text.encode()) > MAX_BYTES:
        raise ConfigError(
            f"the template has {len(text.encode()):,} bytes; CloudFormation takes {MAX_BYTES:,}{_fix(plan)}"
        )
    return text


def _adapted(plan: Plan, document: Document) -> Document:
    """The document with the options applied: features first, then existing resources, the overlay last."""
    options = plan.options
    document = use_existing(document, options.existing)
    if options.features:
        from .features import apply_features

        apply_features(document, plan, options.features)
        document = name_by_parameters(document, options.existing)
    if options.overlay is None:
        return document
    from .overlay import load_overlay, merge

    return merge(document, load_overlay(Path(options.overlay)), options.overlay)


def _resources(plan: Plan) -> Resources:
    resources: Resources = {}
    for title, group in _groups(plan):
        for number, (name, resource) in enumerate(group.items()):
            if name in resources:
                raise ConfigError(f"two resources would be named {name!r}; rename one of the two queues or schedules")
            resources[name] = Commented("", resource, title=title) if number == 0 else resource
    return resources


def _groups(plan: Plan) -> Iterable[tuple[str, Resources]]:
    for queue in plan.queues:
        yield f"Queue {queue.name}", queue_resources(queue)
        if queue.function_timeout is None:
            continue
        yield f"The worker of queue {queue.name}", worker_resources(plan, queue)
    yield "State", state_resources()
    yield "Schedules", scheduling_resources(plan)
    yield "Events of EventBridge", event_resources(plan)
    yield "The HTTP API", api_resources(plan)
    yield "Permissions of all workers", task_policy(plan)
    yield "Alarms", alarms(plan)
    yield "Dashboard", dashboard(plan)


def _check_size(plan: Plan, resources: Mapping[str, Any], made: Mapping[str, Any]) -> None:
    # SAM adds the event source mappings, how the function for events is invoked, and the URL of the API.
    count = len(resources) + len(plan.workers) + bool(plan.routes) + (plan.options.api is not None)
    if count > MAX_RESOURCES:
        raise ConfigError(f"the stack would have {count} resources; CloudFormation takes {MAX_RESOURCES}{_fix(plan)}")
    if len(made) > MAX_OUTPUTS:
        raise ConfigError(f"the stack would have {len(made)} outputs; CloudFormation takes {MAX_OUTPUTS}{_fix(plan)}")


def _check_names(resources: Mapping[str, Any]) -> None:
    """Refuse a queue if names of its alarms or logs are those of the stack: AWS would refuse it half-way."""
    owners: dict[Any, str] = {}
    for id, resource in resources.items():
        while isinstance(resource, Commented):
            resource = resource.value
        for property in ("AlarmName", "LogGroupName"):
            name = resource.get("Properties", {}).get(property)
            if name is not None and (other := owners.setdefault((property, name), id)) != id:
                raise ConfigError(
                    f"{other} and {id} would both have the {property} {name.value!r}; give the queue another name"
                )


def _fix(plan: Plan) -> str:
    if plan.schedules:
        return (
            f". {len(plan.schedules)} of them are schedules: render with --without-schedules, and keep the schedules with "
            "`taskq schedules sync --force`"
        )
    return ": let tasks that need the same settings share a queue, or split the app"
