"""Names of new projects: the app, its stacks and its Python package are all called after it."""

from __future__ import annotations

import keyword
import re
import sys

from ...errors import ConfigError

LONGEST = 32
"""Characters: the longest stage adds ``-staging``, and TASKQ_PREFIX has at most 40."""

PATTERN = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
"""Names valid for an app, a CloudFormation stack (no underscore) and, with underscores for hyphens, a package."""

TAKEN = frozenset(
    {"handlers", "tests", "taskq_sls", "taskq", "boto3", "botocore", "aiobotocore", "pydantic", "pytest", "moto"}
)
"""Installed packages that a project's package of the same name would hide."""


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
    if keyword.iskeyword(module):
        raise ConfigError(f"project name {name!r}: it is a word of Python; choose another, such as --name {name}-tasks")
    if module in TAKEN or module in sys.stdlib_module_names:
        raise ConfigError(
            f"project name {name!r}: its package would hide the module {module!r}; choose another, such as "
            f"--name {name}-tasks"
        )
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
