"""The code of the HTTP API's function, in an interpreter that has nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from infra import build_artifact
from tests.integration.test_artifact import ARCHITECTURE, RUNTIME, run, sdk
from tests.support.http_events import function_url
from tests.unit.test_infra import PROJECT, closure, pins

__all__ = ["sdk"]

pytestmark = pytest.mark.skipif(ARCHITECTURE is None, reason="there are wheels for two architectures")


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    assert ARCHITECTURE is not None
    target = tmp_path_factory.mktemp("artifact") / "api"
    build_artifact.build(target, RUNTIME, ARCHITECTURE, with_api=True)
    return target


def test_the_function_answers_with_nothing_but_its_code_and_boto3(code: Path, sdk: Path) -> None:
    event = json.dumps(function_url("GET", "/v1/health", {}, {}, None))
    program = f"""
import json, os
os.environ["TASKQ_API_AUTH"] = "iam"
from handlers.api import handler
print(json.dumps(handler(json.loads({event!r}))))
"""
    answer = run(program, code, sdk)

    assert (answer["statusCode"], json.loads(answer["body"])) == (200, {"status": "ok"})


def test_it_holds_neither_commands_nor_a_web_server(code: Path) -> None:
    for name in ("cli", "worker", "offline", "template", "testing"):
        assert not (code / "taskq_sls" / name).exists()
    assert not (code / "uvicorn").exists()


def test_its_packages_are_what_the_extra_needs_as_the_tests_run_with_it() -> None:
    mine, others = pins(build_artifact.API_PACKAGES), pins(build_artifact.PACKAGES)
    extra = [Requirement(text).name for text in PROJECT["project"]["optional-dependencies"]["api"]]

    assert set(mine) == closure(*extra) - set(others)
    assert mine.items() <= pins("requirements/dev.txt").items()
