"""The storm over SQS and DynamoDB as moto has them: every call to AWS may fail, before its effect and after it.

``TASKQ_STORM_SEED`` repeats one seed, ``TASKQ_AWS_STORM_SEEDS`` tries more, ``TASKQ_AWS_STORM_TASKS`` makes it larger.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import moto.sqs.models
import pytest
from moto import mock_aws

from tests.model.aftermath import check_all
from tests.model.aws_storm import AwsStorm
from tests.model.storm import Weather

TASKS = int(os.environ.get("TASKQ_AWS_STORM_TASKS", "200"))
SEEDS = (
    [int(os.environ["TASKQ_STORM_SEED"])]
    if "TASKQ_STORM_SEED" in os.environ
    else list(range(1, 1 + int(os.environ.get("TASKQ_AWS_STORM_SEEDS", "1"))))
)

WEATHER = Weather(tasks=TASKS, workers=3, crash=0.0005, faults=0.05, entries=0.05, poison=2)


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    with mock_aws():
        yield


@pytest.mark.timeout(120 + TASKS)
@pytest.mark.parametrize("seed", SEEDS)
def test_no_rule_of_the_protocol_is_broken_over_sqs_and_dynamodb(
    seed: int, aws: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    storm = AwsStorm(seed, WEATHER)
    monkeypatch.setattr(moto.sqs.models, "unix_time", lambda: storm.clock.time())
    monkeypatch.setattr(moto.sqs.models, "unix_time_millis", lambda: storm.clock.time() * 1000)
    storm.run()
    broken = {rule: found[:3] for rule, found in check_all(storm).items()}
    assert not broken, f"TASKQ_STORM_SEED={seed} TASKQ_AWS_STORM_TASKS={TASKS} repeats it: {broken}"
    for fault in ("ThrottlingException", "ExpiredTokenException", "ConnectionClosedError", "IncompleteReadError"):
        assert any(fault in name for name in storm.faults.counts)
    for operation in ("send_message_batch", "receive_message", "delete_message_batch", "update_item"):
        assert any(name.startswith(operation) and "(after)" in name for name in storm.faults.counts)
