"""Fixtures of the tests that deploy: one emulated AWS, and on it the stack of a user's project."""

from __future__ import annotations

import importlib
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from taskq_sls.core.flow import drive
from tests.e2e.gaps import mend
from tests.e2e.machine import ROOT
from tests.e2e.ministack import MiniStack
from tests.e2e.project import Project
from tests.e2e.sam import Sam
from tests.e2e.stack import Stack

Until = Callable[..., None]


@pytest.fixture(scope="session")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MiniStack]:
    """The emulated AWS, to which this process's environment leads for the whole session."""
    with MiniStack(tmp_path_factory.mktemp("ministack")) as running, pytest.MonkeyPatch.context() as patch:
        for name, value in running.environment().items():
            patch.setenv(name, value)
        yield running


@pytest.fixture(scope="session")
def sam(emulator: MiniStack, tmp_path_factory: pytest.TempPathFactory) -> Sam:
    """The SAM CLI, aimed at the emulator."""
    return Sam(tmp_path_factory.mktemp("sam"), emulator.environment())


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library as users install it."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    [built] = folder.glob("*.whl")
    return built


@pytest.fixture(scope="session")
def project(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A user's project, with its rendered template."""
    folder = tmp_path_factory.mktemp("user") / "project"
    shutil.copytree(Path(__file__).parent / "user_project", folder, ignore=shutil.ignore_patterns("__pycache__"))
    return Project(folder, wheel)


@pytest.fixture(scope="session")
def stack(project: Project, sam: Sam, emulator: MiniStack) -> Stack:
    """The project's stack, deployed."""
    sam.validate(project.folder)
    sam.build(project.folder, project.built, "--cached")
    sam.deploy(project.folder, project.built, "shop")
    deployed = Stack("shop", emulator.environment())
    mend(deployed)
    return deployed


@pytest.fixture(scope="session")
def shop(stack: Stack, project: Project) -> Iterator[ModuleType]:
    """The project's tasks as its web server would import them: told where the stack is, and nothing else."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(project.folder))
        for name, value in stack.environment().items():
            patch.setenv(name, value)
        tasks = importlib.import_module("shop.tasks")
        assert tasks.app.settings.prefix == "shop"  # read now, since other tests have other stacks
        yield tasks
        for services in tasks.app.services._blocking.values():
            drive(services.close())


@pytest.fixture
def until(emulator: MiniStack) -> Until:
    """Wait for what happens in other processes."""

    def wait(condition: Callable[[], object], seconds: float = 60, every: float = 0.3) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"not within {seconds:g} s; MiniStack:\n{emulator.last_words()}"
            time.sleep(every)

    return wait
