"""``taskq init``: the files of a new project, and what it refuses."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from taskq_sls import __version__
from taskq_sls.cli import main
from taskq_sls.core.settings import PREFIX
from taskq_sls.deploy.scaffold import FILES, LONGEST, checked_name, contents
from taskq_sls.deploy.template.parameters import DEFAULT_RUNTIME
from tests.support.template import Stack

SOURCES = Path(sys.modules[checked_name.__module__].__file__ or "").parent / "files"


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    assert main(["init", str(tmp_path / "shop")]) == 0
    return tmp_path / "shop"


def test_a_project_has_all_that_a_deployment_needs(shop: Path) -> None:
    found = {str(path.relative_to(shop)) for path in shop.rglob("*") if path.is_file()}

    assert found == {
        ".gitignore",
        "Makefile",
        "README.md",
        "handlers/__init__.py",
        "handlers/scheduler.py",
        "handlers/worker.py",
        "pyproject.toml",
        "requirements-dev.txt",
        "requirements.txt",
        "samconfig.toml",
        "shop/__init__.py",
        "shop/tasks.py",
        "template.yaml",
        "tests/test_deployment.py",
        "tests/test_tasks.py",
    }


def test_nothing_is_left_to_fill_in(shop: Path) -> None:
    for path in shop.rglob("*"):
        if path.is_file():
            assert not re.search(r"\{\{\w+\}\}", path.read_text()), path


def test_every_file_that_is_shipped_is_written() -> None:
    assert {path.name for path in SOURCES.iterdir()} == set(FILES.values())


def test_the_package_is_named_after_the_project_and_hyphens_are_underscores(tmp_path: Path) -> None:
    main(["init", str(tmp_path / "anywhere"), "--name", "my-shop"])

    assert 'TaskQ("my-shop"' in (tmp_path / "anywhere" / "my_shop" / "tasks.py").read_text()
    assert "from my_shop.tasks import app" in (tmp_path / "anywhere" / "handlers" / "worker.py").read_text()
    assert Stack((tmp_path / "anywhere" / "template.yaml").read_text()).outputs["Prefix"] == "my-shop"


@pytest.mark.parametrize(("folder", "name"), [("My_Shop", "my-shop"), ("web.shop 2", "web-shop-2")])
def test_without_a_name_it_is_the_folder_s(folder: str, name: str, tmp_path: Path) -> None:
    assert main(["init", str(tmp_path / folder)]) == 0

    assert tomllib.loads((tmp_path / folder / "pyproject.toml").read_text())["project"]["name"] == name


def test_without_a_folder_it_is_this_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "shop" / ".git").mkdir(parents=True)  # a repository without a file counts as empty
    monkeypatch.chdir(tmp_path / "shop")

    assert main(["init"]) == 0

    assert (tmp_path / "shop" / "Makefile").exists()
    assert capsys.readouterr().out.splitlines()[-3:] == ["  make test", "  make local", "  make deploy"]


def test_it_says_the_next_three_commands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)

    main(["init", "new/shop"])

    first, _, *commands = capsys.readouterr().out.splitlines()
    assert first == f"shop: 15 files in {tmp_path}/new/shop; the tasks are in shop/tasks.py"
    assert commands == ["  cd new/shop && make test", "  make local", "  make deploy"]


def test_machines_get_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)

    main(["init", "shop", "--json"])

    answer = json.loads(capsys.readouterr().out)
    assert (answer["name"], answer["app"], answer["folder"]) == ("shop", "shop.tasks:app", str(tmp_path / "shop"))
    assert "template.yaml" in answer["files"]
    assert answer["next"] == ["cd shop && make test", "make local", "make deploy"]


def test_a_folder_with_something_in_it_is_refused_and_left_as_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "notes.txt").write_text("mine")

    assert main(["init", str(tmp_path), "--name", "shop"]) == 2

    assert "is not empty (notes.txt): name a folder that is empty or new" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_file_is_no_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "shop").write_text("")

    assert main(["init", str(tmp_path / "shop")]) == 2

    assert "name a folder that is empty or new" in capsys.readouterr().err


def test_a_folder_that_cannot_be_made_is_an_error_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")

    assert main(["init", str(tmp_path / "file" / "shop")]) == 2

    assert capsys.readouterr().err.startswith("taskq: error: ")


@pytest.mark.parametrize(
    "name",
    ["", "Shop", "my_shop", "2shop", "-shop", "shop-", "my--shop", "s.hop", "größe", "shop\n", "x" * (LONGEST + 1)],
)
def test_names_that_no_stack_can_have_are_refused(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["init", str(tmp_path / "new"), f"--name={name}"]) == 2

    assert "small letters, digits or single hyphens" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("name", "why"),
    [("class", "a keyword of Python"), ("json", "would hide"), ("tests", "would hide"), ("moto", "hide")],
)
def test_names_that_no_package_can_have_are_refused(
    name: str, why: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["init", str(tmp_path / "new"), "--name", name]) == 2

    assert why in capsys.readouterr().err


def test_a_folder_whose_name_is_none_for_a_project_needs_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["init", str(tmp_path / "2026")]) == 2

    assert "taken from the folder '2026'" in capsys.readouterr().err


def test_the_longest_name_leaves_room_for_every_stage() -> None:
    config = tomllib.loads(contents("x" * LONGEST)["samconfig.toml"])
    for stage in ("staging", "prod"):
        prefix = config[stage]["global"]["parameters"]["stack_name"]
        assert PREFIX.fullmatch(prefix)
        Stack(contents("x" * LONGEST)["template.yaml"], Prefix=prefix)


def test_the_stages_set_parameters_that_the_template_has(shop: Path) -> None:
    config = tomllib.loads((shop / "samconfig.toml").read_text())
    for stage, named in (("default", "dev"), ("staging", "staging"), ("prod", "prod")):
        deploy = config[stage]["deploy"]["parameters"]
        given = dict(one.split("=") for one in deploy["parameter_overrides"].split())
        stack = Stack((shop / "template.yaml").read_text(), **given)
        assert given["Stage"] == named
        assert stack.outputs["Prefix"] == config[stage]["global"]["parameters"]["stack_name"]
        assert set(deploy["capabilities"].split()) == {"CAPABILITY_IAM"}
        assert deploy["confirm_changeset"] is (stage == "prod"), "production changes only after somebody has looked"
        assert config[stage]["build"]["parameters"]["build_in_source"] is True, ".venv would be copied per function"


def test_the_code_is_built_for_what_the_template_runs_it_on(shop: Path) -> None:
    makefile = (shop / "Makefile").read_text()
    declared = Stack((shop / "template.yaml").read_text()).template["Parameters"]

    assert f"RUNTIME ?= {DEFAULT_RUNTIME}\n" in makefile
    assert f"ARCHITECTURE ?= {declared['Architecture']['Default']}\n" in makefile


def test_the_functions_get_a_library_that_is_not_older_than_this_one(shop: Path) -> None:
    assert f"\ntaskq-sls>={__version__}\n" in (shop / "requirements.txt").read_text()


def test_making_a_project_leaves_nothing_of_it_in_this_process() -> None:
    before = set(sys.modules)

    contents("shop")

    assert {name for name in set(sys.modules) - before if name.split(".")[0] == "shop"} == set()


def test_the_makefile_is_one_that_make_understands(shop: Path) -> None:
    plan = subprocess.run(
        ["make", "--dry-run", "build-DefaultWorker", "ARTIFACTS_DIR=out", "ARCHITECTURE=x86_64", "TASKQ_SLS=/mine"],
        cwd=shop,
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    ).stdout

    assert '-m taskq_sls.artifact "out" --runtime python3.13 --architecture x86_64' in plan
    assert "--requirements requirements.txt --code shop handlers --library /mine" in plan
