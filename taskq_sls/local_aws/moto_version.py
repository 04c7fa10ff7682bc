"""The moto that the local stack needs, and the error that names it."""

from __future__ import annotations

import re
from importlib import metadata

from ..errors import ConfigError

LOWEST = "5.2.5"
"""The bound of the extra `local`. Older versions lack message groups, bodies of 1 MiB or the names we import."""


def check_moto() -> None:
    """Raise ConfigError if moto is not installed, or older than `LOWEST`."""
    try:
        version = metadata.version("moto")
    except metadata.PackageNotFoundError:
        raise incomplete("moto is not installed") from None
    if _numbers(version) < _numbers(LOWEST):
        raise incomplete(f"moto {version} is too old")


def incomplete(reason: object) -> ConfigError:
    """The error for a local stack that lacks packages, or has old ones."""
    return ConfigError(
        f"the local stack cannot start ({reason}); it needs moto {LOWEST} or newer, with Flask: "
        "pip install --upgrade 'taskq-sls[local]'"
    )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:3])
