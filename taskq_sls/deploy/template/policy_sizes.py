"""Checks the size of each role's inline policies against IAM's limit: else a deployment would fail half-way."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from ...errors import ConfigError
from .emitter import Commented, Tag, Text
from .plan import Plan

MAX_CHARACTERS = 10_240
"""Limit of all inline policies of one role together, without white space (IAM quotas)."""

_GIVEN = {"AWS::Partition": "aws", "AWS::Region": "us-east-1", "AWS::AccountId": "1" * 12, "Stage": "prod"}

_NAME = re.compile(r"\$\{([^}!]+)\}")

_OTHER = "x" * 70
"""In place of an ARN that AWS makes: of a role, a table, a bucket, a log group."""


def check_policy_sizes(plan: Plan, resources: Mapping[str, Any]) -> None:
    """Refuse an app with a role whose policies are too large if the prefix is the app's name.

    Raises:
        ConfigError: IAM would refuse a policy.
    """
    plain = _Estimate(plan.app, resources).value(resources)
    for name, role in plain.items():
        if role["Type"] != "AWS::IAM::Role":
            continue
        size = sum(len(json.dumps(document, separators=(",", ":"))) for document in _documents(plain, name))
        if size > MAX_CHARACTERS:
            raise ConfigError(
                f"role {name} would have {size:,} characters of policies; IAM takes {MAX_CHARACTERS:,}: let tasks that need "
                "the same settings share a queue, shorten names, or say less in function_policy"
            )


def _documents(plain: Mapping[str, Any], role: str) -> Iterator[Any]:
    for policy in plain[role]["Properties"].get("Policies", []):
        yield policy["PolicyDocument"]
    for resource in plain.values():
        if resource["Type"] == "AWS::IAM::Policy" and role in resource["Properties"]["Roles"]:
            yield resource["Properties"]["PolicyDocument"]


class _Estimate:
    """Values about as long as CloudFormation makes them."""

    def __init__(self, prefix: str, resources: Mapping[str, Any]) -> None:
        self._given = {**_GIVEN, "Prefix": prefix}
        self._resources = resources

    def value(self, value: Any) -> Any:
        if isinstance(value, Commented):
            return self.value(value.value)
        if isinstance(value, Tag):
            return self._tag(value)
        if isinstance(value, Mapping):
            return {name: self.value(inner) for name, inner in value.items()}
        if isinstance(value, list | tuple) and not isinstance(value, Text):
            return [self.value(item) for item in value]
        return value

    def _tag(self, tag: Tag) -> Any:
        if tag.name == "Ref":
            return self._given.get(tag.value, tag.value)
        if tag.name == "GetAtt":
            return self._attribute(tag.value)
        if tag.name == "If":
            return self.value(tag.value[1])
        if tag.name == "Sub" and isinstance(tag.value, str):
            return _NAME.sub(lambda found: self._name(found[1]), tag.value)
        return _OTHER

    def _name(self, name: str) -> str:
        return self._attribute(name) if "." in name else self._given.get(name, name)

    def _attribute(self, path: str) -> str:
        resource = self._resources[path.partition(".")[0]]
        while isinstance(resource, Commented):
            resource = resource.value
        name = resource["Properties"].get("QueueName")
        return _OTHER if name is None else f"arn:aws:sqs:us-east-1:{'1' * 12}:{self.value(name)}"
