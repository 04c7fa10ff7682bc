"""Packages of the functions: what installs them, for which platform, and how often."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from taskq_sls.artifact import assemble, packages
from taskq_sls.artifact.packages import Wanted, installer, pip_platforms
from taskq_sls.errors import ConfigError


def wanted(
    runtime: str = "python3.13", architecture: str = "arm64", *, closure: bool = False, markers: bool = True
) -> Wanted:
    return Wanted(runtime, architecture, ["numpy"], closure, markers)


@pytest.fixture
def without_uv(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "_uv", lambda: None)


@pytest.mark.parametrize("runtime", ["python3.12", "python3.13", "python3.14"])
@pytest.mark.parametrize(("architecture", "machine"), [("arm64", "aarch64"), ("x86_64", "x86_64")])
def test_wheels_for_a_newer_glibc_fit_the_newer_runtimes(runtime: str, architecture: str, machine: str) -> None:
    tags = pip_platforms(wanted(runtime, architecture))

    assert tags[0] == f"manylinux_2_34_{machine}", "the newest first: pip takes the first that fits"
    assert {f"manylinux_2_{minor}_{machine}" for minor in (17, 27, 28, 31)} < set(tags)
    assert f"manylinux2014_{machine}" in tags


def test_python_3_11_runs_on_amazon_linux_2_with_an_older_glibc() -> None:
    tags = pip_platforms(wanted("python3.11", "x86_64"))

    assert tags[0] == "manylinux_2_26_x86_64"
    assert {"manylinux_2_17_x86_64", "manylinux2010_x86_64", "manylinux1_x86_64"} < set(tags)


@pytest.mark.parametrize(
    ("runtime", "architecture", "platform"),
    [
        ("python3.13", "arm64", "aarch64-manylinux_2_34"),
        ("python3.12", "x86_64", "x86_64-manylinux_2_34"),
        ("python3.11", "arm64", "aarch64-manylinux_2_17"),
    ],
)
def test_uv_resolves_for_the_functions_platform(
    runtime: str, architecture: str, platform: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packages, "_uv", lambda: ["uv"])

    command = installer(wanted(runtime, architecture))

    assert command[:3] == ["uv", "pip", "install"]
    assert command[command.index("--python-platform") + 1] == platform
    assert command[command.index("--python-version") + 1] == runtime.removeprefix("python")
    assert "--no-deps" not in command


@pytest.mark.usefixtures("without_uv")
def test_pip_is_used_for_a_closure_without_markers_since_it_has_nothing_to_evaluate() -> None:
    command = installer(wanted("python3.14", closure=True, markers=False))

    assert command[:4] == [sys.executable, "-m", "pip", "install"]
    assert {"--no-deps", "manylinux_2_28_aarch64"} < set(command)


@pytest.mark.usefixtures("without_uv")
@pytest.mark.parametrize(("closure", "markers"), [(True, True), (False, True), (False, False)])
def test_pip_of_another_python_or_machine_is_refused_where_it_would_evaluate_markers(
    closure: bool, markers: bool
) -> None:
    other = "python3.14" if sys.version_info[:2] != (3, 14) else "python3.13"

    with pytest.raises(ConfigError, match=r"pip install uv, or build on Linux of that architecture with that Python"):
        installer(wanted(other, closure=closure, markers=markers))


@pytest.mark.usefixtures("without_uv")
def test_pip_is_used_where_it_runs_on_what_it_installs_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    here = f"python{sys.version_info.major}.{sys.version_info.minor}"

    assert installer(wanted(here))[:3] == [sys.executable, "-m", "pip"]


INSTALLER = """
import pathlib, sys, time
target = pathlib.Path(sys.argv[sys.argv.index("--target") + 1])
with open({log!r}, "a") as log:
    log.write("installed\\n")
time.sleep(0.2)
(target / "pkg").mkdir(parents=True)
(target / "pkg" / "__init__.py").write_text("VALUE = 1\\n")
(target / "bin").mkdir()
"""


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A line for each installation, by an installer that makes a package of its own."""
    file = tmp_path / "log"
    program = INSTALLER.format(log=str(file))
    monkeypatch.setattr(packages, "installer", lambda wanted: [sys.executable, "-c", program])
    return file


def test_functions_that_are_built_side_by_side_share_one_installation(log: Path, tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("pkg==1\n")

    def build(number: int) -> Path:
        found = packages.install([tmp_path / "requirements.txt"], "python3.13", "arm64", tmp_path / "cache")
        target = tmp_path / f"function-{number}"
        assemble(target, [found], [], "python3.13")
        return target

    with ThreadPoolExecutor(6) as pool:
        targets = list(pool.map(build, range(6)))

    assert log.read_text() == "installed\n"
    assert all((target / "pkg" / "__init__.py").exists() and not (target / "bin").exists() for target in targets)


def test_other_requirements_and_another_platform_are_installed_apart(log: Path, tmp_path: Path) -> None:
    file = tmp_path / "requirements.txt"
    for text, runtime, architecture in (
        ("pkg==1", "python3.13", "arm64"),
        ("pkg==2", "python3.13", "arm64"),
        ("pkg==2", "python3.12", "arm64"),
        ("pkg==2", "python3.12", "x86_64"),
        ("pkg==1", "python3.13", "arm64"),
    ):
        file.write_text(text)
        packages.install([file], runtime, architecture, tmp_path / "cache")

    assert log.read_text() == "installed\n" * 4


def test_an_installation_that_fails_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "requirements.txt").write_text("pkg==1\n")
    monkeypatch.setattr(packages, "installer", lambda wanted: [sys.executable, "-c", "import sys; sys.exit(3)"])

    for _ in range(2):
        with pytest.raises(ConfigError, match=r"requirements.txt could not be installed for python3.13 on arm64"):
            packages.install([tmp_path / "requirements.txt"], "python3.13", "arm64", tmp_path / "cache")

    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".lock"]


def test_the_library_is_copied_without_what_no_function_imports(tmp_path: Path) -> None:
    found = tmp_path / "packages"
    for name in ("cli", "web", "serverless"):
        (found / "taskq_sls" / name).mkdir(parents=True)
        (found / "taskq_sls" / name / "__init__.py").write_text("")
    (found / "botocore").mkdir()
    (found / "boto3-1.43.dist-info").mkdir()

    assemble(tmp_path / "code", [found], [], "python3.13", left_out=("cli", "web"))
    assemble(tmp_path / "api", [found], [], "python3.13", left_out=("cli",), with_aws=True)

    assert {path.name for path in (tmp_path / "code" / "taskq_sls").iterdir()} == {"serverless"}
    assert {path.name for path in (tmp_path / "code").iterdir()} == {"taskq_sls"}
    assert {path.name for path in (tmp_path / "api" / "taskq_sls").iterdir()} == {"serverless", "web"}
    assert (tmp_path / "api" / "botocore").exists()


def test_a_module_of_the_app_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="shop does not exist"):
        assemble(tmp_path / "code", [], [(tmp_path / "shop", "shop")], "python3.13")
