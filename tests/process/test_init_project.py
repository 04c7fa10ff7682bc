"""A new project, used as its README says, but for the installation: this environment is its environment."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.template import Stack

SECONDS = 60


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("projects") / "corner-shop"
    run("-m", "taskq_sls", "init", str(folder), folder=folder.parent)
    return folder


def run(*words: str, folder: Path, fine: bool = True) -> subprocess.CompletedProcess[str]:
    # Neither credentials nor a region, and no proxy that would answer: what reaches for AWS or a network fails.
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "TASKQ_", "PYTEST_"))}
    done = subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env={**kept, "AWS_EC2_METADATA_DISABLED": "true", "https_proxy": "http://127.0.0.1:9"},
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert not fine or done.returncode == 0, done.stdout + done.stderr
    return done


def pytest_of(project: Path, *, fine: bool = True) -> str:
    # What else is installed here is not in the project's own environment.
    return run(
        "-W", "error", "-m", "pytest", "-p", "no:asyncio", "-p", "no:cacheprovider", folder=project, fine=fine
    ).stdout


def test_its_own_tests_pass(project: Path) -> None:
    assert "6 passed" in pytest_of(project)


def test_its_template_is_the_one_that_the_command_would_write(project: Path) -> None:
    run(
        "-m",
        "taskq_sls",
        "template",
        "corner_shop.tasks:app",
        "--build",
        "makefile",
        "--check",
        "template.yaml",
        folder=project,
    )


def test_its_own_tests_fail_when_the_template_is_stale(project: Path) -> None:
    tasks = project / "corner_shop" / "tasks.py"
    text = tasks.read_text()
    try:
        tasks.write_text(text.replace("function_timeout=60", "function_timeout=90"))
        assert "make template" in pytest_of(project, fine=False)
    finally:
        tasks.write_text(text)


def test_its_stack_runs_its_tasks(project: Path) -> None:
    stack = Stack((project / "template.yaml").read_text(), Stage="prod", Prefix="corner-shop-prod")
    worker = stack.functions["DefaultWorker"]
    module, _, attribute = worker["Handler"].rpartition(".")

    found = run("-c", f"from {module} import {attribute}; print(type({attribute}).__name__)", folder=project)

    assert found.stdout.strip() == "LambdaHandler"
    assert worker["CodeUri"] == "."
    assert stack.template["Resources"]["DefaultWorker"]["Metadata"] == {"BuildMethod": "makefile"}
    [schedule] = stack.of_type("AWS::Scheduler::Schedule").values()
    assert '"task":"corner_shop.tasks:good_morning"' in schedule["Target"]["Input"]
