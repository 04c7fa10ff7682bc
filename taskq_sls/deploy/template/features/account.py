"""Features required by an account's policies: roles, keys, transport, and exports for other stacks."""

from __future__ import annotations

from typing import Any

from ....payloads.base import MESSAGES, RESULTS
from ..document import Document, plain, resources_of, section
from ..intrinsics import arn_of, ref, sub
from ..plan import Plan
from ..policies import (
    allow,
    keep_state,
    list_tasks,
    pass_schedule_role,
    payload_arns,
    schedule_arns,
    use_key,
    use_queues,
)
from ..policies import document as policy


def add_boundary(document: Document, plan: Plan) -> None:
    section(document, "Parameters").update(
        PermissionsBoundaryArn={
            "Type": "String",
            "Description": "ARN of the policy that bounds every role of the stack",
        },
        RolePath={
            "Type": "String",
            "Default": "/",
            "AllowedPattern": "/([!-~]+/)?",
            "Description": "IAM path of the roles, such as /tasks/",
        },
    )
    for _, properties in resources_of(document, "AWS::IAM::Role"):
        properties["Path"] = ref("RolePath")
        properties["PermissionsBoundary"] = ref("PermissionsBoundaryArn")


def add_log_key(document: Document, plan: Plan) -> None:
    """The key's policy must let logs.REGION.amazonaws.com use it (CloudWatch Logs user guide, encryption)."""
    section(document, "Parameters")["LogKmsKeyArn"] = {
        "Type": "String",
        "AllowedPattern": "arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:key/[A-Za-z0-9-]+",
        "Description": "KMS key of the log groups",
    }
    for _, properties in resources_of(document, "AWS::Logs::LogGroup"):
        properties["KmsKeyId"] = ref("LogKmsKeyArn")


def require_tls(document: Document, plan: Plan) -> None:
    resources = section(document, "Resources")
    queues = [name for name, _ in resources_of(document, "AWS::SQS::Queue")]
    for name in queues:
        known = next(
            (policy for _, policy in resources_of(document, "AWS::SQS::QueuePolicy") if ref(name) in policy["Queues"]),
            None,
        )
        refusal = _without_tls("sqs:*", [arn_of(name)])
        if known is not None:
            # A queue has one policy: a second one would replace it.
            plain(known["PolicyDocument"])["Statement"].append(refusal)
        else:
            resources[f"{name}Tls"] = {
                "Type": "AWS::SQS::QueuePolicy",
                "Properties": {"Queues": [ref(name)], "PolicyDocument": policy(refusal)},
            }
    for name in [name for name, _ in resources_of(document, "AWS::S3::Bucket")]:
        resources[f"{name}Tls"] = {
            "Type": "AWS::S3::BucketPolicy",
            "Properties": {
                "Bucket": ref(name),
                "PolicyDocument": policy(_without_tls("s3:*", [arn_of(name), sub(f"${{{name}.Arn}}/*")])),
            },
        }


def _without_tls(action: str, resources: list[Any]) -> dict[str, Any]:
    return {
        "Sid": "RefuseWithoutTls",
        "Effect": "Deny",
        "Principal": "*",
        "Action": action,
        "Resource": resources,
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }


def add_exports(document: Document, plan: Plan) -> None:
    for name, output in section(document, "Outputs").items():
        plain(output)["Export"] = {"Name": sub(f"${{AWS::StackName}}-{name}")}


def add_producer_policy(document: Document, plan: Plan) -> None:
    """The rights of `enqueue`, `result` and `cancel` on the stack's resources."""
    section(document, "Resources")["ProducerPolicy"] = {
        "Type": "AWS::IAM::ManagedPolicy",
        "Properties": {
            "Description": sub("Send tasks to ${Prefix}, and read what became of them"),
            **({"Path": ref("RolePath")} if "RolePath" in section(document, "Parameters") else {}),
            "PolicyDocument": policy(
                use_queues(plan),
                keep_state(),
                list_tasks(),
                allow("KeepPayloads", ["s3:GetObject", "s3:PutObject"], payload_arns(MESSAGES, RESULTS)),
                allow("Delay", ["scheduler:CreateSchedule", "scheduler:DeleteSchedule"], schedule_arns()),
                pass_schedule_role(),
                use_key(),
            ),
        },
    }
    section(document, "Outputs")["ProducerPolicyArn"] = {
        "Description": "Managed policy for whoever sends tasks",
        "Value": ref("ProducerPolicy"),
    }
