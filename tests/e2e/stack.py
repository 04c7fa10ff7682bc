"""A deployed stack as its producers see it."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import boto3
from botocore.config import Config

OUTPUTS = {
    "TASKQ_PREFIX": "Prefix",
    "TASKQ_TABLE": "Table",
    "TASKQ_BUCKET": "Bucket",
    "TASKQ_SCHEDULE_GROUP": "ScheduleGroupName",
    "TASKQ_SCHEDULE_ROLE_ARN": "ScheduleRoleArn",
}
"""The stack's outputs that producers and workers outside of it are configured with."""


class Stack:
    """A stack by its name.

    Args:
        environment: variables that lead to the endpoint; they must be in this process's environment too.
    """

    def __init__(self, name: str, environment: Mapping[str, str]) -> None:
        self.name = name
        self._endpoint = dict(environment)

    @property
    def outputs(self) -> dict[str, str]:
        """The stack's outputs."""
        with client("cloudformation") as cloudformation:
            [stack] = cloudformation.describe_stacks(StackName=self.name)["Stacks"]
        return {one["OutputKey"]: one["OutputValue"] for one in stack["Outputs"]}

    def environment(self) -> dict[str, str]:
        """Environment variables that lead an app to this stack."""
        outputs = self.outputs
        return {**self._endpoint, **{variable: outputs[name] for variable, name in OUTPUTS.items()}}

    def resources(self) -> dict[str, str]:
        """Logical names of what the stack has, and the type of each."""
        with client("cloudformation") as cloudformation:
            pages = cloudformation.get_paginator("list_stack_resources").paginate(StackName=self.name)
            return {
                one["LogicalResourceId"]: one["ResourceType"]
                for page in pages
                for one in page["StackResourceSummaries"]
            }

    def mapping(self, queue: str) -> dict[str, Any]:
        """The event source mapping of a queue, by its physical name."""
        with client("lambda") as functions:
            found: list[dict[str, Any]] = functions.list_event_source_mappings()["EventSourceMappings"]
        [mapping] = [one for one in found if one["EventSourceArn"].endswith(f":{queue}")]
        return mapping

    def command(self, *words: str, path: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
        """Run ``taskq`` as somebody who was told the stack's outputs.

        Args:
            path: folders of the app's modules.
        """
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "TASKQ_"))}
        environment = {**kept, **self.environment(), "PYTHONPATH": os.pathsep.join(path)}
        return subprocess.run(
            [sys.executable, "-m", "taskq_sls", *words],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
        )


@contextlib.contextmanager
def client(service: str) -> Iterator[Any]:
    """A boto3 client of the endpoint in the environment, closed at the end."""
    # A session of its own: boto3's shared one would keep the credentials of whatever endpoint came first.
    made = boto3.session.Session().client(service, config=Config(retries={"mode": "standard"}, proxies={}))
    try:
        yield made
    finally:
        made.close()


def messages(url: str) -> list[dict[str, Any]]:
    """What is visible in a queue, without taking it out for good."""
    with client("sqs") as sqs:
        answer = sqs.receive_message(
            QueueUrl=url,
            MaxNumberOfMessages=10,
            VisibilityTimeout=0,
            MessageAttributeNames=["All"],
            MessageSystemAttributeNames=["All"],
        )
    found: list[dict[str, Any]] = answer.get("Messages", [])
    return found


def depth(url: str) -> tuple[int, int]:
    """Messages of a queue that are visible, and those that are hidden."""
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    with client("sqs") as sqs:
        found = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
    return int(found[names[0]]), int(found[names[1]])


def body(message: Mapping[str, Any]) -> dict[str, Any]:
    """The envelope in a message."""
    read: dict[str, Any] = json.loads(message["Body"])
    return read
