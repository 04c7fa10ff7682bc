"""A rendered template as CloudFormation sees it: parsed, and resolved for the parameters of one stack."""

from __future__ import annotations

import re
from typing import Any

import yaml

from taskq_sls.deploy.template.queues import DECLARED

ACCOUNT, REGION, STACK = "123456789012", "eu-west-1", "stack"

KEY = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/11111111-2222-3333-4444-555555555555"

PSEUDO = {
    "AWS::AccountId": ACCOUNT,
    "AWS::Partition": "aws",
    "AWS::Region": REGION,
    "AWS::StackName": STACK,
}


class _Loader(yaml.SafeLoader):
    """Knows CloudFormation's short tags, and refuses keys that stand twice."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        assert len(keys) == len(set(keys)), f"a key stands twice: {keys}"
        return super().construct_mapping(node, deep=deep)


def _tag(loader: _Loader, suffix: str, node: yaml.Node) -> dict[str, Any]:
    if isinstance(node, yaml.ScalarNode):
        value: Any = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        value = loader.construct_mapping(node, deep=True)
    if suffix == "GetAtt":
        value = value.split(".", 1)
    return {"Ref" if suffix == "Ref" else f"Fn::{suffix}": value}


_Loader.add_multi_constructor("!", _tag)


def parse(text: str) -> dict[str, Any]:
    """The template as it stands."""
    return yaml.load(text, _Loader)


class _NoValue:
    pass


class Stack:
    """A stack of a template.

    Attributes:
        template: as parsed.
        resources: logical id to resource, functions resolved; without those whose condition does not hold.
    """

    def __init__(self, text: str, **parameters: str) -> None:
        self.template = parse(text)
        declared = self.template["Parameters"]
        assert set(parameters) <= set(declared), f"unknown parameters {set(parameters) - set(declared)}"
        self._parameters = {name: one.get("Default", f"given {name}") for name, one in declared.items()} | parameters
        self._raw = self.template["Resources"]
        self.resources = {
            name: self.resolve(resource)
            for name, resource in self._raw.items()
            if "Condition" not in resource or self._in_flight(resource["Condition"])
        }
        self.outputs = {name: self.resolve(one["Value"]) for name, one in self.template["Outputs"].items()}
        shared = self.resolve(self.template["Globals"]["Function"])
        self.functions = {
            name: _merged(shared, resource["Properties"])
            for name, resource in self.resources.items()
            if resource["Type"] == "AWS::Serverless::Function"
        }

    def of_type(self, kind: str) -> dict[str, dict[str, Any]]:
        """Properties by logical id."""
        return {
            name: resource.get("Properties", {})
            for name, resource in self.resources.items()
            if resource["Type"] == kind
        }

    def declared(self, role: str) -> list[dict[str, Any]]:
        """What a role (by logical id) may do because the app declares it for a queue."""
        return [statement for policy in self._inline(role, True) for statement in policy["PolicyDocument"]["Statement"]]

    def _inline(self, role: str, declared: bool) -> list[dict[str, Any]]:
        policies = self.resources[role]["Properties"].get("Policies", [])
        return [policy for policy in policies if (policy["PolicyName"] == DECLARED) is declared]

    def statements(self, role: str) -> list[dict[str, Any]]:
        """What a role (by logical id) may do, but for what the app declares."""
        found = [
            statement for policy in self._inline(role, False) for statement in policy["PolicyDocument"]["Statement"]
        ]
        for policy in self.of_type("AWS::IAM::Policy").values():
            if self.name_of(role) in policy["Roles"]:
                found += policy["PolicyDocument"]["Statement"]
        return found

    def function_role(self, function: str) -> str:
        """Logical id of a function's role."""
        arn = self.functions[function]["Role"]
        return next(name for name in self.of_type("AWS::IAM::Role") if self.arn(name) == arn)

    def name_of(self, resource: str) -> str:
        """What Ref answers, but for queues their name."""
        found = self._raw[resource]
        names = {
            "AWS::SQS::Queue": "QueueName",
            "AWS::DynamoDB::Table": "TableName",
            "AWS::Scheduler::ScheduleGroup": "Name",
            "AWS::Scheduler::Schedule": "Name",
            "AWS::Logs::LogGroup": "LogGroupName",
            "AWS::CloudWatch::Alarm": "AlarmName",
            "AWS::CloudWatch::Dashboard": "DashboardName",
        }
        given = found.get("Properties", {}).get(names.get(found["Type"], ""))
        if given is not None:
            return self.resolve(given)
        return (
            f"{STACK}-{resource}-1A2B3C".lower() if found["Type"] == "AWS::S3::Bucket" else f"{STACK}-{resource}-1A2B3C"
        )

    def arn(self, resource: str) -> str:
        """The ARN of a resource."""
        name, kind = self.name_of(resource), self._raw[resource]["Type"]
        here = f"{REGION}:{ACCOUNT}"
        return {
            "AWS::SQS::Queue": f"arn:aws:sqs:{here}:{name}",
            "AWS::DynamoDB::Table": f"arn:aws:dynamodb:{here}:table/{name}",
            "AWS::S3::Bucket": f"arn:aws:s3:::{name}",
            "AWS::IAM::Role": f"arn:aws:iam::{ACCOUNT}:role/{name}",
            "AWS::Logs::LogGroup": f"arn:aws:logs:{here}:log-group:{name}:*",
            "AWS::Serverless::Function": f"arn:aws:lambda:{here}:function:{name}",
            "AWS::Events::Rule": f"arn:aws:events:{here}:rule/{name}",
        }[kind]

    def resolve(self, value: Any) -> Any:
        """A value without functions."""
        if isinstance(value, list):
            return [one for one in map(self.resolve, value) if one is not _NoValue]
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            [(key, inner)] = value.items()
            if key == "Ref" or key.startswith("Fn::"):
                return getattr(self, f"_{key.removeprefix('Fn::').lower()}")(inner)
        resolved = {key: self.resolve(inner) for key, inner in value.items()}
        return {key: inner for key, inner in resolved.items() if inner is not _NoValue}

    def _ref(self, name: str) -> Any:
        if name == "AWS::NoValue":
            return _NoValue
        if name in PSEUDO:
            return PSEUDO[name]
        if name in self._parameters:
            return self._parameters[name]
        name = name.removesuffix(".Alias")  # SAM makes it
        assert name in self._raw, f"!Ref {name}: there is no such parameter or resource"
        if self._raw[name]["Type"] == "AWS::SQS::Queue":
            return f"https://sqs.{REGION}.amazonaws.com/{ACCOUNT}/{self.name_of(name)}"
        return self.name_of(name)

    def _getatt(self, path: list[str]) -> Any:
        name, attribute = path
        if attribute == "FunctionUrl" and "FunctionUrlConfig" in self._raw[name.removesuffix("Url")]["Properties"]:
            return f"https://url-id.lambda-url.{REGION}.on.aws/"  # a resource that SAM adds
        assert name in self._raw, f"!GetAtt {name}.{attribute}: there is no such resource"
        return {"Arn": self.arn, "QueueName": self.name_of}[attribute](name)

    def _sub(self, text: str) -> str:
        def value(found: re.Match[str]) -> str:
            name = found[1]
            if name.startswith("!"):
                return f"${{{name[1:]}}}"
            if "." in name:
                return str(self._getatt(name.split(".", 1)))
            return str(self._ref(name))

        return re.sub(r"\$\{([^}]+)\}", value, text)

    def _if(self, arguments: list[Any]) -> Any:
        condition, yes, no = arguments
        return self.resolve(yes if self._in_flight(condition) else no)

    def _in_flight(self, condition: str) -> bool:
        return bool(self.resolve(self.template["Conditions"][condition]))

    def _equals(self, arguments: list[Any]) -> bool:
        one, other = self.resolve(arguments)
        return bool(one == other)

    def _not(self, arguments: list[Any]) -> bool:
        return not self.resolve(arguments[0])

    def _findinmap(self, path: list[Any]) -> Any:
        found = self.template["Mappings"]
        for key in self.resolve(path):
            found = found[key]
        return found


def _merged(shared: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    merged = dict(shared)
    for key, value in own.items():
        below = merged.get(key)
        merged[key] = _merged(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged
