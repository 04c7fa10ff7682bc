"""What botocore is told about services is what is in its files, whoever parses them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from botocore.loaders import Loader

from taskq_sls.aws.config import ServiceLoader

SERVICES = ("dynamodb", "sqs", "s3", "scheduler", "sts", "cloudwatch", "lambda")


@pytest.mark.parametrize("kind", ["service-2", "endpoint-rule-set-1"])
@pytest.mark.parametrize("service", SERVICES)
def test_models_are_botocore_s(service: str, kind: str) -> None:
    ours = ServiceLoader(None)
    ours.want(service)
    assert json.dumps(ours.load_service_model(service, kind)) == json.dumps(Loader().load_service_model(service, kind))


@pytest.mark.parametrize("name", ["endpoints", "partitions", "sdk-default-configuration", "_retry"])
def test_data_of_all_services_is_botocore_s(name: str) -> None:
    assert json.dumps(ServiceLoader(None).load_data(name)) == json.dumps(Loader().load_data(name))


def test_models_of_one_s_own_are_found(tmp_path: Path) -> None:
    folder = tmp_path / "dynamodb" / "2999-01-01"
    folder.mkdir(parents=True)
    (folder / "service-2.json").write_text('{"metadata": {"ümlaut": 1}}', encoding="utf-8")
    assert ServiceLoader(str(tmp_path)).load_data("dynamodb/2999-01-01/service-2") == {"metadata": {"ümlaut": 1}}
