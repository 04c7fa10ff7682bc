"""Writes a new project: tasks, an entry point, tests, and everything needed to deploy them."""

from __future__ import annotations

import keyword
import re
import sys
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from ...core.version import __version__
from ...errors import ConfigError
from ..template import TemplateOptions, render

TEMPLATE = "template.yaml"

FILES = {
    ".gitignore": "gitignore.txt",
    "Makefile": "Makefile.txt",
    "README.md": "README.md.txt",
    "pyproject.toml": "pyproject.toml.txt",
    "requirements.txt": "requirements.txt",
    "requirements-dev.txt": "requirements-dev.txt",
    "samconfig.toml": "samconfig.toml.txt",
    "{{module}}/__init__.py": "package.py.txt",
    "{{module}}/tasks.py": "tasks.py.txt",
    "handlers/__init__.py": "handlers.py.txt",
    "handlers/worker.py": "worker.py.txt",
    "handlers/scheduler.py": "scheduler.py.txt",
    "tests/test_tasks.py": "test_tasks.py.txt",
    "tests/test_deployment.py": "test_deployment.py.txt",
}
"""Path in the project to the file in ``files/`` that it is made of; none of these is code of the library."""

IGNORED = frozenset({".git"})
"""Files that a folder may hold and still count as empty."""

_PLACE = re.compile(r"\{\{(\w+)\}\}")


LONGEST = 32
"""Characters: the longest stage adds ``-staging``, and TASKQ_PREFIX has at most 40."""

PATTERN = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
"""Names valid for an app, a CloudFormation stack (no underscore) and, with underscores for hyphens, a package."""

TAKEN = frozenset(
    {"handlers", "tests", "taskq_sls", "taskq", "boto3", "botocore", "aiobotocore", "pydantic", "pytest", "moto"}
)
"""Installed packages that a project's package of the same name would hide."""


class Project(NamedTuple):
    """A project that has been written.

    Args:
        name: of the app, and of its stacks.
        app: its name for commands, ``module:attribute``.
        files: paths in the folder.
    """

    folder: Path
    name: str
    app: str
    files: tuple[str, ...]


def write(folder: Path, name: str) -> Project:
    """Write a project of a checked name into a folder, which is created if needed.

    Raises:
        ConfigError: the folder is not empty, or it cannot be written to.
    """
    _check_empty(folder)
    files = contents(name)
    try:
        for path, text in files.items():
            file = folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{error.filename or folder}: {error.strerror}; the project is not complete") from None
    return Project(folder, name, app_of(name), tuple(files))


def contents(name: str) -> dict[str, str]:
    """Path to text of every file of a project, sorted."""
    values = {"name": name, "module": module_of(name), "app": app_of(name), "version": __version__}
    folder = resources.files(__package__) / "files"
    texts = {path: (folder / source).read_text(encoding="utf-8") for path, source in FILES.items()}
    files = {_fill(path, values): _fill(text, values) for path, text in texts.items()}
    tasks = files[f"{module_of(name)}/tasks.py"]
    return dict(sorted({**files, TEMPLATE: _rendered(name, tasks)}.items()))


def app_of(name: str) -> str:
    """The name of a project's app for commands."""
    return f"{module_of(name)}.tasks:app"


def _rendered(name: str, tasks: str) -> str:
    # Run here, and not imported from the folder: nothing of the project stays in this process.
    module = ModuleType(f"{module_of(name)}.tasks")
    exec(compile(tasks, "tasks.py", "exec", dont_inherit=True), module.__dict__)
    command = f"taskq template {app_of(name)} --build makefile"
    return render(module.__dict__["app"], TemplateOptions(build="makefile"), command=command)


def _check_empty(folder: Path) -> None:
    try:
        found = sorted(path.name for path in folder.iterdir() if path.name not in IGNORED)
    except FileNotFoundError:
        return
    except OSError as error:
        raise ConfigError(f"{folder}: {error.strerror}; name a folder that is empty or new") from None
    if found:
        raise ConfigError(f"{folder} is not empty ({', '.join(found[:3])}): name a folder that is empty or new")


def _fill(text: str, values: Mapping[str, str]) -> str:
    return _PLACE.sub(lambda found: values[found[1]], text)


def checked_name(name: str) -> str:
    """The name of a project, as given.

    Raises:
        ConfigError: no stack or no Python package can have it.
    """
    if not PATTERN.fullmatch(name) or len(name) > LONGEST:
        raise ConfigError(
            f"project name {name!r}: use 1 to {LONGEST} small letters, digits or single hyphens, a letter first, "
            "such as --name shop"
        )
    module = module_of(name)
    such = f", such as --name {name}-tasks"
    if keyword.iskeyword(module):
        raise ConfigError(f"project name {name!r}: it is a keyword of Python; choose another{such}")
    if module in TAKEN or module in sys.stdlib_module_names:
        raise ConfigError(f"project name {name!r}: its package would hide the module {module!r}; choose another{such}")
    return name


def name_for(folder: str) -> str:
    """The name of a project in a folder of this name: ``My_Shop`` makes ``my-shop``.

    Raises:
        ConfigError: the folder's name cannot become a project's name.
    """
    name = re.sub(r"[ ._-]+", "-", folder.lower()).strip("-")
    try:
        return checked_name(name)
    except ConfigError as error:
        raise ConfigError(f"{error} (the name was taken from the folder {folder!r})") from None


def module_of(name: str) -> str:
    """The package of a project: ``my_shop`` for ``my-shop``."""
    return name.replace("-", "_")
