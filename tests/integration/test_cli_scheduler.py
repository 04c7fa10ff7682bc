"""``taskq scheduler``: what it refuses before it runs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from taskq_sls.cli.main import main
from tests.support.aws_bench import AwsBench

ROLE = "arn:aws:iam::123456789012:role/taskq-scheduler"


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "timed_shop.py").write_text('from taskq_sls import TaskQ\napp = TaskQ("timed-shop")\n')
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_SCHEDULER", "TASKQ_SCHEDULE_GROUP"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("TASKQ_SCHEDULE_ROLE_ARN", ROLE)
    yield
    sys.modules.pop("timed_shop", None)


def failed(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """The one line that the command ends with."""
    assert main(["scheduler", "timed_shop:app", *argv]) == 2
    [line] = [line for line in capsys.readouterr().err.splitlines() if line.startswith("taskq: error")]
    return line


def test_in_aws_it_refuses_and_says_why(shop: None, capsys: pytest.CaptureFixture[str]) -> None:
    line = failed(capsys)

    assert "scheduler.eu-west-1.amazonaws.com" in line
    assert "where EventBridge Scheduler fires them" in line
    assert "--force" in line


@pytest.mark.parametrize("region", ["cn-north-1", "us-gov-west-1"])
def test_it_refuses_in_every_partition(
    shop: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], region: str
) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", region)

    assert region in failed(capsys)


def test_it_refuses_dual_stack_endpoints_too(
    shop: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AWS_USE_DUALSTACK_ENDPOINT", "true")

    assert "api.aws" in failed(capsys)


def test_an_endpoint_of_the_scheduler_alone_counts(
    shop: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ENDPOINT_URL_SCHEDULER", "https://scheduler.eu-west-1.amazonaws.com")

    assert "scheduler.eu-west-1.amazonaws.com" in failed(capsys)


def test_without_a_scheduler_configured_it_says_what_to_set(
    shop: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.delenv("TASKQ_SCHEDULE_ROLE_ARN")

    assert "TASKQ_SCHEDULE_ROLE_ARN" in failed(capsys)


def test_without_table_or_group_it_says_how_to_make_them(
    shop: None, make_aws_bench: Callable[..., AwsBench], capsys: pytest.CaptureFixture[str]
) -> None:
    make_aws_bench()  # an endpoint that holds another app's

    assert "taskq provision" in failed(capsys)


def test_a_group_that_the_app_names_itself_is_not_overruled(
    shop: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "timed_shop.py").write_text(
        'from taskq_sls import TaskQ\napp = TaskQ("timed-shop", schedule_group="mine")\n'
    )

    assert "'mine'" in failed(capsys, "--group", "other")
