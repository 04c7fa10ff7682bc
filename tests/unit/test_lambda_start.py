"""What a Lambda container does while it starts."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from taskq_sls import TaskQ
from taskq_sls.aws.blocking import Clients


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The services whose clients were made, in an environment like Lambda's."""
    services: list[str] = []
    real = Clients.get

    def get(self: Clients, service: str) -> object:
        client = real(self, service)
        services.append(service)
        return client

    monkeypatch.setattr(Clients, "get", get)
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "worker")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    return services


def _app(record: str) -> TaskQ:
    app = TaskQ("start", record=record)

    @app.task(name="work")
    def work() -> None: ...

    return app


def test_the_client_of_the_table_is_made_while_the_container_starts(made: list[str]) -> None:
    with _app("started").lambda_handler():
        assert made == ["dynamodb"]


def test_no_client_is_made_where_nothing_is_recorded(made: list[str]) -> None:
    with _app("none").lambda_handler():
        assert made == []


def test_outside_of_lambda_nothing_is_made_before_the_first_event(
    made: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_LAMBDA_FUNCTION_NAME")
    with _app("started").lambda_handler():
        assert made == []


def test_a_start_without_a_region_leaves_the_fault_to_the_first_event(
    made: list[str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    with _app("started").lambda_handler():
        assert made == []
    assert "the clients could not be made at start-up" in caplog.text


START = """
import sys
from taskq_sls import Queue, TaskQ
app = TaskQ("start", queues=[Queue("default", function_timeout=60)])
@app.task(name="work")
def work(a: int) -> int: return a
handler = app.lambda_handler()
names = [name for name in sys.modules if name.startswith("taskq_sls.")]
print("\\n".join(names))
"""


def test_a_container_without_schedules_loads_nothing_of_them_nor_of_templates_pages_and_commands() -> None:
    environment = {**os.environ, "AWS_LAMBDA_FUNCTION_NAME": "worker", "AWS_DEFAULT_REGION": "eu-west-1"}
    run = subprocess.run(
        [sys.executable, "-c", START], env=environment, capture_output=True, text=True, check=True, timeout=60
    )
    loaded = {name.removeprefix("taskq_sls.") for name in run.stdout.split()}
    assert "engine.executor" in loaded
    rooms = ("scheduler", "deploy", "web", "cli", "worker", "local_aws")
    unwanted = (*(f"{room}." for room in rooms), "client.schedule", "client.event", "core.function_settings")
    assert [name for name in loaded if name.startswith(unwanted)] == []
