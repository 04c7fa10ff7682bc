"""Where MiniStack differs from AWS so that a correct stack would not work, made good on the emulator's side."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import unquote

from tests.e2e.stack import Stack, client

BATCHES = {
    f"sqs:{action}": f"sqs:{action}Batch" for action in ("SendMessage", "DeleteMessage", "ChangeMessageVisibility")
}
"""IAM has no actions for batches: permission for the single call covers them. MiniStack asks for names of its own."""


def mend(stack: Stack) -> None:
    """To be called after each deployment of a stack."""
    _number_concurrency(stack)
    _allow_batches(stack)
    _keep_promises_of_state(stack)


def _number_concurrency(stack: Stack) -> None:
    """Parameters come as text; CloudFormation makes them numbers where one is due, and MiniStack's poller needs one."""
    prefix = stack.outputs["Prefix"]
    with client("lambda") as functions:
        for mapping in functions.list_event_source_mappings()["EventSourceMappings"]:
            if f":{prefix}-" in mapping["EventSourceArn"]:
                most = int(mapping["ScalingConfig"]["MaximumConcurrency"])
                # More at once than this machine has processors would only be slower.
                functions.update_event_source_mapping(
                    UUID=mapping["UUID"], ScalingConfig={"MaximumConcurrency": min(most, 4)}
                )


def _allow_batches(stack: Stack) -> None:
    """For each statement of a role that allows a single call, one that allows the batch on the same resources."""
    with client("iam") as iam, client("cloudformation") as cloudformation:
        pages = cloudformation.get_paginator("list_stack_resources").paginate(StackName=stack.name)
        found = [one for page in pages for one in page["StackResourceSummaries"]]
        for role in [one["PhysicalResourceId"] for one in found if one["ResourceType"] == "AWS::IAM::Role"]:
            statements = []
            for name in iam.list_role_policies(RoleName=role)["PolicyNames"]:
                document = iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]
                statements += [twin for one in _statements(document) if (twin := _batches(one))]
            if statements:
                policy = {"Version": "2012-10-17", "Statement": statements}
                iam.put_role_policy(RoleName=role, PolicyName="ministack-batches", PolicyDocument=json.dumps(policy))


def _keep_promises_of_state(stack: Stack) -> None:
    """Its CloudFormation leaves out what the template says of a table's time to live and a bucket's lifecycle."""
    outputs = stack.outputs
    with client("cloudformation") as cloudformation, client("dynamodb") as dynamodb, client("s3") as s3:
        found = cloudformation.get_template(StackName=stack.name, TemplateStage="Processed")["TemplateBody"]
        resources = (json.loads(found) if isinstance(found, str) else found)["Resources"]
        ttl = resources["TasksTable"]["Properties"]["TimeToLiveSpecification"]
        if (
            dynamodb.describe_time_to_live(TableName=outputs["Table"])["TimeToLiveDescription"]["TimeToLiveStatus"]
            != "ENABLED"
        ):
            dynamodb.update_time_to_live(TableName=outputs["Table"], TimeToLiveSpecification=ttl)
        rules = resources["PayloadBucket"]["Properties"]["LifecycleConfiguration"]["Rules"]
        lifecycle = {"Rules": [_rule(one) for one in rules]}
        s3.put_bucket_lifecycle_configuration(Bucket=outputs["Bucket"], LifecycleConfiguration=lifecycle)


def _rule(rule: dict[str, Any]) -> dict[str, Any]:
    """A lifecycle rule as S3's own API takes it."""
    made = {"ID": rule["Id"], "Status": rule["Status"], "Filter": {"Prefix": rule.get("Prefix", "")}}
    if "ExpirationInDays" in rule:
        made["Expiration"] = {"Days": rule["ExpirationInDays"]}
    if "AbortIncompleteMultipartUpload" in rule:
        made["AbortIncompleteMultipartUpload"] = rule["AbortIncompleteMultipartUpload"]
    return made


def _statements(document: Any) -> list[dict[str, Any]]:
    read = json.loads(unquote(document)) if isinstance(document, str) else document
    found = read["Statement"]
    return found if isinstance(found, list) else [found]


def _batches(statement: dict[str, Any]) -> dict[str, Any] | None:
    actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
    batches = [BATCHES[action] for action in actions if action in BATCHES]
    return {**statement, "Sid": f"{statement.get('Sid', 'All')}Batches", "Action": batches} if batches else None
