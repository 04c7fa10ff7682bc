"""The code of the Lambda functions as ``sam build`` makes it, imported where nothing else is.

Needs the package index: wheels are fetched, once, for the platform of this machine.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import boto3
import botocore
import dateutil
import jmespath
import pytest
import s3transfer
import six
import urllib3

from infra import build_artifact

RUNTIME = f"python{sys.version_info.major}.{sys.version_info.minor}"

ARCHITECTURE = {"x86_64": "x86_64", "aarch64": "arm64"}.get(platform.machine())

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or ARCHITECTURE is None, reason="wheels for Lambda run on Linux only"
)


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    assert ARCHITECTURE is not None
    target = tmp_path_factory.mktemp("artifact") / "code"
    build_artifact.build(target, RUNTIME, ARCHITECTURE)
    return target


@pytest.fixture(scope="module")
def sdk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with boto3 and what it needs, as Lambda's runtime has it."""
    folder = tmp_path_factory.mktemp("sdk")
    for package in (boto3, botocore, dateutil, jmespath, s3transfer, urllib3):
        place = Path(str(package.__file__)).parent
        (folder / place.name).symlink_to(place)
    (folder / "six.py").symlink_to(str(six.__file__))
    return folder


def run(program: str, *paths: Path) -> Any:
    """The JSON that a program prints in an interpreter with nothing but `paths` and the standard library."""
    program = f"import sys; sys.path[1:1] = {[str(path) for path in paths]!r}\n{program}"
    environment = {
        "PATH": os.environ["PATH"],
        "AWS_DEFAULT_REGION": "eu-west-1",
        "AWS_LAMBDA_FUNCTION_NAME": "worker",
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "x",
    }
    command = [sys.executable, "-I", "-S", "-W", "error", "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd="/", timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("module", ["handlers.worker", "handlers.scheduler"])
def test_the_handlers_can_be_imported_with_nothing_but_the_code_and_boto3(
    artifact: Path, sdk: Path, module: str
) -> None:
    program = f"""
import json
from {module} import handler
assert callable(handler)
for part in ("taskq_sls", "pydantic_core"):
    assert sys.modules[part].__file__.startswith({str(artifact)!r}), part
print(json.dumps(sorted(sys.modules)))
"""
    loaded = set(run(program, artifact, sdk))
    assert loaded & {"moto", "pytest", "aiobotocore", "flask"} == set()


def test_every_kind_of_task_runs_on_the_code_alone(artifact: Path, sdk: Path) -> None:
    program = """
import json
from local.tasks import app
found = {}
for task in app.registry:
    task.plan.signature
    found[task.name] = task.options.queue
found["schedules"] = len(app.schedules)
print(json.dumps(found))
"""
    found = run(program, artifact, sdk)
    assert found["local.tasks:survey"] == "default"


def test_it_is_small_and_says_how_small(artifact: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    size = sum(path.stat().st_size for path in artifact.rglob("*") if path.is_file())
    assert size < 15_000_000

    assert ARCHITECTURE is not None
    build_artifact.build(tmp_path / "code", RUNTIME, ARCHITECTURE)
    assert f"{size / 1e6:.1f} MB for {RUNTIME} on {ARCHITECTURE}\n" == capsys.readouterr().out


def test_only_what_runs_is_in_it(artifact: Path) -> None:
    names = {path.name for path in artifact.iterdir()} - {"__pycache__"}
    packages = {name for name in names if not name.endswith(".dist-info")}
    assert packages == {
        "annotated_types",
        "croniter",
        "handlers",
        "local",
        "pydantic",
        "pydantic_core",
        "taskq_sls",
        "typing_extensions.py",
        "typing_inspection",
    }
    for part in build_artifact.LEFT_OUT:
        assert not (artifact / "taskq_sls" / part).exists(), part
    assert {path.name for path in (artifact / "local").glob("*.py")} == {"__init__.py", "survey.py", "tasks.py"}
    assert not list(artifact.rglob("RECORD"))


def test_everything_is_compiled_and_never_looked_at_again(artifact: Path) -> None:
    tag = sys.implementation.cache_tag
    for source in artifact.rglob("*.py"):
        compiled = source.parent / "__pycache__" / f"{source.stem}.{tag}.pyc"
        assert compiled.exists(), source
        flags = int.from_bytes(compiled.read_bytes()[4:8], "little")
        assert flags == 0b01, f"{source}: it would be compared with its source, whose time a zip file changes"


def test_equal_sources_make_equal_code(artifact: Path, tmp_path: Path) -> None:
    assert ARCHITECTURE is not None
    build_artifact.build(tmp_path / "code", RUNTIME, ARCHITECTURE)

    def digests(folder: Path) -> dict[str, tuple[str, int, float]]:
        return {
            str(path.relative_to(folder)): (
                hashlib.sha256(path.read_bytes()).hexdigest(),
                path.stat().st_mode,
                path.stat().st_mtime,
            )
            for path in folder.rglob("*")
            if path.is_file()
        }

    assert digests(tmp_path / "code") == digests(artifact)


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    for target in (tmp_path, build_artifact.ROOT, build_artifact.ROOT.parent):
        with pytest.raises(SystemExit, match="error: "):
            build_artifact.build(target, RUNTIME, "arm64")
    assert (tmp_path / "thesis.txt").exists()
