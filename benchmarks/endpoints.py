"""Starts and stops the endpoints: fauxqs for SQS, a proxy that counts its requests, and a DynamoDB stub."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import boto3

from .environments import fauxqs_command
from .wire import CONTROL


class Endpoints:
    """Running servers on free ports of the loopback.

    Attributes:
        direct: URL of SQS itself.
        tapped: URL of SQS behind the proxy, which counts and delays requests.
        dynamodb: URL of the table.
    """

    def __init__(self, sqs: int, tap: int, dynamodb: int) -> None:
        self._tap, self._dynamodb = tap, dynamodb
        self.direct = f"http://127.0.0.1:{sqs}"
        self.tapped = f"http://127.0.0.1:{tap}"
        self.dynamodb = f"http://127.0.0.1:{dynamodb}"
        self._names = (f"bench{number}" for number in itertools.count())
        self._admin = boto3.client(
            "sqs",
            endpoint_url=self.direct,
            region_name="us-east-1",
            aws_access_key_id="x",
            aws_secret_access_key="x",
        )

    @contextlib.contextmanager
    def queue(self) -> Iterator[str]:
        """The URL of a new queue."""
        url = self._admin.create_queue(QueueName=next(self._names))["QueueUrl"]
        yield url
        self._admin.delete_queue(QueueUrl=url)

    def environment(self, *, tapped: bool) -> dict[str, str]:
        """The environment of a process that uses them."""
        return {
            "AWS_ENDPOINT_URL_SQS": self.tapped if tapped else self.direct,
            "AWS_ENDPOINT_URL_DYNAMODB": self.dynamodb,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "x",
            "AWS_SECRET_ACCESS_KEY": "x",
        }

    def counts(self, *, delay: float = 0.0) -> dict[str, int]:
        """SQS requests through the proxy since the last call; later ones are delayed by `delay` seconds each."""
        return _control(self._tap, {"delay": delay})

    def writes(self) -> dict[str, int]:
        """DynamoDB requests since the last call."""
        return _control(self._dynamodb, {})


def _control(port: int, order: dict[str, Any]) -> dict[str, int]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("POST", CONTROL, json.dumps(order))
        counts: dict[str, int] = json.loads(connection.getresponse().read())
    finally:
        connection.close()
    return counts


@contextlib.contextmanager
def running() -> Iterator[Endpoints]:
    """Start all, and stop them at the end."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = {"FAUXQS_HOST": "127.0.0.1", "FAUXQS_PORT": str(port), "FAUXQS_LOGGER": "false"}
    with contextlib.ExitStack() as stack:
        stack.enter_context(_process(fauxqs_command(), stdout=subprocess.DEVNULL, env={**os.environ, **settings}))
        _until_open(port)
        tap = stack.enter_context(_process([sys.executable, "-m", "benchmarks.wire", str(port)]))
        table = stack.enter_context(_process([sys.executable, "-m", "benchmarks.dynamodb"]))
        yield Endpoints(port, int(tap.stdout.readline()), int(table.stdout.readline()))


@contextlib.contextmanager
def _process(command: list[str], **options: Any) -> Iterator[Any]:
    process = subprocess.Popen(command, **{"stdout": subprocess.PIPE, **options})
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _until_open(port: int) -> None:
    until = time.monotonic() + 20
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.1)
