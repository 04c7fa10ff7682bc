"""Client options: timeouts, retries, connections, user agent; and faster loading of botocore's models."""

from __future__ import annotations

import functools
import gzip
import os
from collections.abc import Iterable
from typing import Any, NamedTuple

from botocore import __version__ as botocore_version
from botocore.loaders import JSONFileLoader, Loader
from pydantic_core import from_json

from ..core.number_checks import MAX_FLOAT, is_number, is_whole
from ..errors import ConfigError

LIBRARY_VERSION = "0.1.0"
"""For the user agent. A literal, since reading package metadata would slow down Lambda cold starts."""

_READ_TIMEOUTS = {"sqs": 30.0}
"""Read timeouts in seconds by service. A long poll of SQS takes up to 20."""

_READ_TIMEOUT = 10.0


class ClientOptions(NamedTuple):
    """Options of every client of a port; `of` checks them.

    Args:
        connect_timeout: seconds to wait for a connection, above 0.
        read_timeout: seconds to wait for an answer, above 0; None for 30 with SQS and 10 elsewhere. Below
            21 it breaks long polls of 20 seconds.
        retry_mode: ``standard``, or ``adaptive`` to also slow down when the service throttles.
        max_attempts: tries of one call before it fails, the first included; 1 or more.
        max_pool_connections: connections kept per service, 1 or more.
    """

    connect_timeout: float = 5.0
    read_timeout: float | None = None
    retry_mode: str = "standard"
    max_attempts: int = 3
    max_pool_connections: int = 50

    @classmethod
    def of(cls, options: dict[str, Any]) -> ClientOptions:
        """From keyword arguments. Raises ConfigError if one is unknown or out of range."""
        for name in options:
            if name not in cls._fields:
                raise ConfigError(f"AWS client option {name!r} is unknown; the options are {', '.join(cls._fields)}")
        checked = cls(**options)
        checked._check()
        return checked

    def _check(self) -> None:
        for name in ("connect_timeout", "read_timeout"):
            value = getattr(self, name)
            if not (value is None and name == "read_timeout") and not (is_number(value, 0, MAX_FLOAT) and value > 0):
                raise ConfigError(f"AWS client option {name}={value!r} must be a number of seconds above 0")
        for name in ("max_attempts", "max_pool_connections"):
            value = getattr(self, name)
            if not is_whole(value, 1):
                raise ConfigError(f"AWS client option {name}={value!r} must be a whole number of 1 or more")
        if self.retry_mode not in ("standard", "adaptive"):
            raise ConfigError(f"AWS client option retry_mode={self.retry_mode!r} must be 'standard' or 'adaptive'")

    def arguments(self, service: str, *libraries: str) -> dict[str, Any]:
        """Arguments for botocore's Config. `libraries` are further ``name/version`` for the user agent."""
        return {
            # Our parameters are built from checked values; botocore's validation takes a third of a call.
            "parameter_validation": False,
            # botocore builds its own user agent for each request, but not a given one.
            "user_agent": " ".join((f"taskq-sls/{LIBRARY_VERSION}", *libraries, f"botocore/{botocore_version}")),
            "connect_timeout": self.connect_timeout,
            "read_timeout": self.read_timeout or _READ_TIMEOUTS.get(service, _READ_TIMEOUT),
            "retries": {"mode": self.retry_mode, "total_max_attempts": self.max_attempts},
            "max_pool_connections": self.max_pool_connections,
            "tcp_keepalive": True,
        }


class _ModelFiles(JSONFileLoader):
    """Reads botocore's JSON files with a faster parser: they take a good part of the first client's creation."""

    def load_file(self, file_path: str) -> Any:
        for extension, read in ((".json", open), (".json.gz", gzip.open)):
            try:
                with read(file_path + extension, "rb") as file:
                    return from_json(file.read())
            except FileNotFoundError:
                continue
        return None


class ServiceLoader(Loader):
    """Loads the models of requested services without listing the folders of all others."""

    FILE_LOADER_CLASS = _ModelFiles

    def __init__(self, data_path: str | None) -> None:
        paths = data_path.split(os.pathsep) if data_path else []
        super().__init__(extra_search_paths=[os.path.expanduser(os.path.expandvars(path)) for path in paths])
        self._wanted: set[str] = set()

    def want(self, service: str) -> None:
        self._wanted.add(service)

    def list_available_services(self, type_name: str) -> list[str]:
        return sorted(self._wanted)


def install_loader(session: Any) -> ServiceLoader:
    """Give a botocore or aiobotocore session the faster loader."""
    loader = _loader(session.get_config_variable("data_path"))
    session.register_component("data_loader", loader)
    return loader


@functools.cache
def _loader(data_path: str | None) -> ServiceLoader:
    """Shared by all sessions of the process, so that each model is read once."""
    return ServiceLoader(data_path)


def describe_clients(clients: Iterable[Any]) -> str:
    """Endpoint and region of botocore clients in words; from the environment if there are none yet."""
    metas = [client.meta for client in clients]
    endpoints = sorted({meta.endpoint_url for meta in metas})
    regions = sorted({meta.region_name for meta in metas})
    if not metas:
        endpoints = [os.environ.get("AWS_ENDPOINT_URL", "of AWS")]
        regions = [os.environ.get("AWS_DEFAULT_REGION", "of the AWS configuration")]
    return f"endpoint {', '.join(endpoints)} region {', '.join(regions)}"
