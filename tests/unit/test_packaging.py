"""What is shipped, what it needs, and what importing it costs."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

import taskq_sls
from taskq_sls.local_aws.moto_version import LOWEST

ROOT = Path(__file__).resolve().parents[2]

PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

HEAVY = {"pydantic", "boto3", "botocore", "aiobotocore", "aiohttp", "moto", "flask", "werkzeug", "pytest", "watchfiles"}
HEAVY |= {"fastapi", "starlette", "mangum", "uvicorn", "rich", "croniter"}


def pins() -> dict[str, str]:
    lines = (ROOT / "requirements" / "dev.txt").read_text().splitlines()
    pinned = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(one.name): str(one.specifier).removeprefix("==") for one in pinned}


def modules_after(code: str) -> set[str]:
    """What is imported in a new interpreter that has run `code`."""
    program = f"{code}\nimport sys, json; print(json.dumps(list(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_an_app_of_plain_tasks_imports_no_aws_library_no_pydantic_and_no_driver() -> None:
    loaded = modules_after(
        """
from taskq_sls import Queue, Retry, TaskQ
app = TaskQ("shop", queues=[Queue("default")])
@app.task(name="shop:resize", retry=Retry(max_attempts=5), timeout=30)
def resize(path: str, width: int) -> dict[str, list[int]]: ...
resize.plan
"""
    )

    assert loaded & HEAVY == set()
    rooms = {f"taskq_sls.{room}" for room in ("cli", "worker", "serverless", "testing", "local_aws", "deploy", "web")}
    assert loaded & rooms == set()


def test_a_lambda_function_imports_no_command_no_test_code_and_no_local_stack() -> None:
    loaded = modules_after(
        """
from taskq_sls import TaskQ
app = TaskQ("shop")
@app.task(name="shop:ping", record="none")
async def ping() -> None: ...
handler = app.lambda_handler()
"""
    )

    assert loaded & (HEAVY - {"botocore", "boto3"}) == set()
    assert (
        loaded & {f"taskq_sls.{room}" for room in ("cli", "worker", "testing", "local_aws", "deploy", "web")} == set()
    )


def test_only_a_unix_expression_imports_croniter() -> None:
    program = """
from taskq_sls import TaskQ, cron
app = TaskQ("shop")
@app.task(name="shop:report", schedule={})
async def report() -> None: ...
handler = app.lambda_handler()
"""

    assert "croniter" not in modules_after(program.format("cron('0 9 * * ? *')"))
    assert "croniter" in modules_after(program.format("cron.unix('0 9 * * *')"))


def test_pytest_s_plugin_imports_the_library_only_when_its_fixture_is_used() -> None:
    loaded = modules_after("import taskq_sls.testing.plugin")

    assert loaded & (HEAVY - {"pytest"}) == set()


def test_the_command_imports_no_local_stack_before_it_is_asked_for() -> None:
    loaded = modules_after("from taskq_sls.cli import main; assert main(['--version']) == 0")

    assert loaded & {"moto", "flask", "werkzeug", "aiobotocore", "pytest", "fastapi", "uvicorn", "rich"} == set()


def test_the_version_is_the_same_everywhere() -> None:
    assert taskq_sls.__version__ == metadata.version("taskq-sls")


@pytest.mark.parametrize("group", ["console_scripts", "pytest11"])
def test_entry_points_exist(group: str) -> None:
    mine = [one for one in metadata.entry_points(group=group) if one.dist and one.dist.name == "taskq-sls"]

    assert len(mine) == 1
    assert mine[0].load()


def test_types_are_shipped() -> None:
    assert (Path(taskq_sls.__file__).parent / "py.typed").exists()


def test_every_pin_is_exact_and_names_no_place() -> None:
    text = (ROOT / "requirements" / "dev.txt").read_text()
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]

    assert all(re.fullmatch(r"[a-z0-9-]+==[0-9][0-9a-z.]*", line) for line in lines), lines
    assert len(pins()) == len(lines)


def test_what_the_package_asks_for_is_pinned_at_a_version_that_fits() -> None:
    asked = [*PROJECT["dependencies"], *(one for extra in PROJECT["optional-dependencies"].values() for one in extra)]
    pinned = pins()

    for requirement in map(Requirement, asked):
        assert requirement.specifier.contains(pinned[canonicalize_name(requirement.name)]), requirement


def test_the_pins_are_closed_under_what_they_need() -> None:
    """They are installed with --no-deps, so that one that is missing would be noticed only when it is imported."""
    pinned = pins()
    missing = []
    for name in pinned:
        for text in metadata.requires(name) or []:
            needed = Requirement(text)
            if needed.marker is not None and not needed.marker.evaluate({"extra": ""}):
                continue
            version = pinned.get(canonicalize_name(needed.name))
            if version is None or not needed.specifier.contains(version):
                missing.append(f"{name} needs {needed}, pinned is {version}")

    assert missing == []


def test_the_lowest_python_is_named_everywhere_alike() -> None:
    lowest = PROJECT["requires-python"].removeprefix(">=")

    assert SpecifierSet(PROJECT["requires-python"]).contains(lowest)
    assert f"Programming Language :: Python :: {lowest}" in PROJECT["classifiers"]
    assert f"({lowest.replace('.', ', ')})" in (ROOT / "Makefile").read_text()


def test_the_local_stack_names_the_bound_of_its_extra() -> None:
    [moto] = [Requirement(text) for text in PROJECT["optional-dependencies"]["local"] if text.startswith("moto")]
    assert str(moto.specifier) == f">={LOWEST}"
