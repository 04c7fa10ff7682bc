"""Error codes and hosts of AWS, against what botocore knows of them."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError
from botocore.loaders import Loader
from botocore.session import get_session

from taskq_sls.aws.answers import translate
from taskq_sls.aws.blocking import aws_host
from taskq_sls.aws.port import DENIED_CODES, TRANSIENT_CODES, plain_code
from taskq_sls.errors import AwsError

SPELLINGS = {
    "KMS.ThrottlingException": "KmsThrottled",
    "com.amazonaws.sqs#KmsThrottled": "KmsThrottled",
    "KMS.DisabledException": "KmsDisabled",
    "KMSDisabledException": "KmsDisabled",
    "KMS.KMSInvalidStateException": "KmsInvalidState",
    "KMS.InvalidStateException": "KmsInvalidState",
    "KMS.AccessDeniedException": "KmsAccessDenied",
    "KMS.NotFoundException": "KmsNotFound",
    "KMS.OptInRequired": "KmsOptInRequired",
}


@pytest.mark.parametrize(("code", "plain"), SPELLINGS.items())
def test_a_fault_of_a_key_has_one_name_whichever_service_reports_it(code: str, plain: str) -> None:
    assert plain_code(code) == plain


@pytest.mark.parametrize(
    ("code", "transient"),
    [
        ("KMS.ThrottlingException", True),
        ("KMS.DisabledException", True),
        ("KMS.InvalidStateException", True),
        ("KMS.AccessDeniedException", False),
    ],
)
def test_a_key_that_is_throttled_disabled_or_not_ready_is_a_passing_fault(code: str, transient: bool) -> None:
    answer: Any = {"Error": {"Code": code, "Message": "the key"}, "ResponseMetadata": {"HTTPStatusCode": 400}}

    error = translate("send_message", ClientError(answer, "SendMessage"))

    assert isinstance(error, AwsError)
    assert (error.transient, error.ambiguous) == (transient, False)


def test_every_fault_of_a_key_that_sqs_has_is_known() -> None:
    names = [name for name in get_session().get_service_model("sqs").shape_names if name.startswith("Kms")]
    assert len(names) > 5
    assert set(names) <= TRANSIENT_CODES | DENIED_CODES


@pytest.mark.parametrize("partition", Loader().load_data("partitions")["partitions"], ids=lambda one: str(one["id"]))
@pytest.mark.parametrize("suffix", ["dnsSuffix", "dualStackDnsSuffix"])
def test_the_hosts_of_every_partition_are_aws_itself(
    partition: Any, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = f"scheduler.a-region-1.{partition['outputs'][suffix]}"
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"https://{host}")

    assert aws_host("scheduler") == host


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "amazonaws.com.example.org", "scheduler.eu-west-1.localhost.localstack.cloud"]
)
def test_other_endpoints_are_not_aws(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}")

    assert aws_host("scheduler") is None
