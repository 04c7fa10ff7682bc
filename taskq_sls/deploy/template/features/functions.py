"""Features of the Lambda functions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..document import Document, plain, resources_of, section
from ..emitter import Tag
from ..intrinsics import arn_of, either, queue_id, ref, sub
from ..parameters import RUNTIMES
from ..plan import Plan
from ..policies import allow, role

ALIAS = "live"

DEPLOYMENTS = (
    "AllAtOnce",
    "Canary10Percent5Minutes",
    "Canary10Percent10Minutes",
    "Canary10Percent30Minutes",
    "Linear10PercentEvery1Minute",
    "Linear10PercentEvery2Minutes",
    "Linear10PercentEvery3Minutes",
    "Linear10PercentEvery10Minutes",
)
"""AWS SAM developer guide, gradual deployments."""


def _globals(document: Document) -> dict[str, Any]:
    found: dict[str, Any] = plain(section(document, "Globals")["Function"])
    return found


def workers_of(document: Document, plan: Plan) -> Iterator[tuple[str, dict[str, Any]]]:
    """Logical id and properties of each queue's function."""
    ids = {f"{queue_id(queue.name)}Worker" for queue in plan.workers}
    for id, properties in resources_of(document, "AWS::Serverless::Function"):
        if id in ids:
            yield id, properties


def add_vpc(document: Document, plan: Plan) -> None:
    """Functions reach AWS through the VPC's endpoints or a NAT gateway: SQS, DynamoDB, S3, Scheduler, logs."""
    section(document, "Parameters").update(
        SubnetIds={"Type": "List<AWS::EC2::Subnet::Id>", "Description": "Private subnets of the functions"},
        SecurityGroupIds={"Type": "List<AWS::EC2::SecurityGroup::Id>", "Description": "Theirs; 443 outwards is needed"},
    )
    _globals(document)["VpcConfig"] = {"SubnetIds": ref("SubnetIds"), "SecurityGroupIds": ref("SecurityGroupIds")}
    for _, properties in resources_of(document, "AWS::IAM::Role"):
        trust = plain(properties["AssumeRolePolicyDocument"])["Statement"][0]
        if trust["Principal"] == {"Service": "lambda.amazonaws.com"}:
            # The names of network interfaces are unknown before they are created, so a policy cannot list them.
            actions = [
                "CreateNetworkInterface",
                "DeleteNetworkInterface",
                "DescribeNetworkInterfaces",
                "DescribeSubnets",
            ]
            statement = allow("UseNetwork", [f"ec2:{action}" for action in actions], "*")
            plain(properties["Policies"][0]["PolicyDocument"])["Statement"].append(statement)


def add_layers(document: Document, plan: Plan) -> None:
    section(document, "Parameters")["LayerArns"] = {
        "Type": "CommaDelimitedList",
        "Description": "ARNs of up to five layer versions, for all functions",
    }
    _globals(document)["Layers"] = ref("LayerArns")


def add_storage(document: Document, plan: Plan) -> None:
    section(document, "Parameters")["EphemeralStorage"] = {
        "Type": "Number",
        "Default": 2048,
        "MinValue": 512,
        "MaxValue": 10_240,
        "Description": "MB in /tmp of all functions",
    }
    _globals(document)["EphemeralStorage"] = {"Size": ref("EphemeralStorage")}


def add_architectures(document: Document, plan: Plan) -> None:
    for id, properties in workers_of(document, plan):
        section(document, "Parameters")[f"{id}Architecture"] = {
            "Type": "String",
            "Default": "arm64",
            "AllowedValues": ["arm64", "x86_64"],
            "Description": f"Of {id}; must be the one that its code was built for",
        }
        properties["Architectures"] = [ref(f"{id}Architecture")]


def add_alias(document: Document, plan: Plan) -> None:
    """CodeDeploy's role is defined in the template: a permissions boundary would not apply to SAM's own."""
    section(document, "Parameters")["Deployment"] = {
        "Type": "String",
        "Default": "AllAtOnce",
        "AllowedValues": list(DEPLOYMENTS),
        "Description": "How traffic moves to a new version of the workers",
    }
    deployer = role("codedeploy.amazonaws.com")
    # Invokes hooks, moves aliases and reads alarms, without the rights of AWSCodeDeployRoleForLambda on SNS and S3.
    arn = sub("arn:${AWS::Partition}:iam::aws:policy/service-role/AWSCodeDeployRoleForLambdaLimited")
    deployer["Properties"]["ManagedPolicyArns"] = [arn]
    section(document, "Resources")["DeploymentRole"] = deployer
    for id, properties in workers_of(document, plan):
        properties["AutoPublishAlias"] = ALIAS
        properties["DeploymentPreference"] = {
            "Type": ref("Deployment"),
            "Alarms": [ref(f"{id}ErrorsAlarm")],
            "Role": arn_of("DeploymentRole"),
        }


def add_snapstart(document: Document, plan: Plan) -> None:
    parameters = section(document, "Parameters")
    # Lambda developer guide, SnapStart: Python 3.12 and later.
    parameters["Runtime"] = {
        **plain(parameters["Runtime"]),
        "AllowedValues": [runtime for runtime in RUNTIMES if runtime > "python3.11"],
    }
    for _, properties in workers_of(document, plan):
        properties["SnapStart"] = {"ApplyOn": "PublishedVersions"}


def add_provisioned(document: Document, plan: Plan) -> None:
    section(document, "Parameters")["ProvisionedConcurrency"] = {
        "Type": "Number",
        "Default": 1,
        "MinValue": 1,
        "Description": "Environments of each worker that are always warm, and paid for",
    }
    for _, properties in workers_of(document, plan):
        properties["ProvisionedConcurrencyConfig"] = {"ProvisionedConcurrentExecutions": ref("ProvisionedConcurrency")}


def add_pollers(document: Document, plan: Plan) -> None:
    """The mappings as resources of their own: SAM's event has no provisioned pollers. Their logical ids stay those that
    SAM makes, so that a stack changes them in place.
    """
    section(document, "Parameters").update(
        MinimumPollers=_number(2, 2, 200, "Pollers of each queue that are always there, and paid for"),
        MaximumPollers=_number(20, 2, 2_000, "Most pollers of each queue"),
    )
    resources = section(document, "Resources")
    for id, properties in list(workers_of(document, plan)):
        mapping = {name: value for name, value in _event(properties).items() if name != "ScalingConfig"}
        del properties["Events"]
        resources[f"{id}Messages"] = {
            "Type": "AWS::Lambda::EventSourceMapping",
            "Properties": {
                "EventSourceArn": mapping.pop("Queue"),
                "FunctionName": ref(f"{id}.Alias" if "AutoPublishAlias" in properties else id),
                **mapping,
                "ProvisionedPollerConfig": {
                    "MinimumPollers": ref("MinimumPollers"),
                    "MaximumPollers": ref("MaximumPollers"),
                },
            },
        }


def add_pause(document: Document, plan: Plan) -> None:
    section(document, "Parameters")["Consumers"] = {
        "Type": "String",
        "Default": "on",
        "AllowedValues": ["on", "off"],
        "Description": "off: no function consumes its queue; messages wait",
    }
    section(document, "Conditions")["IsConsuming"] = Tag("Equals", [ref("Consumers"), "on"])
    enabled = either("IsConsuming", True, False)
    resources = section(document, "Resources")
    for id, properties in workers_of(document, plan):
        mapping = resources.get(f"{id}Messages")
        target = plain(mapping)["Properties"] if mapping is not None else _event(properties)
        target["Enabled"] = enabled


def _event(properties: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = properties["Events"]["Messages"]["Properties"]
    return found


def _number(default: int, low: int, high: int, description: str) -> dict[str, Any]:
    return {"Type": "Number", "Default": default, "MinValue": low, "MaxValue": high, "Description": description}
