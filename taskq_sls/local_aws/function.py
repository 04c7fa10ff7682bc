"""A Lambda function as its containers see it."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field

from ..errors import ConfigError
from .context import function_arn

_TARGET = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")


@dataclass(frozen=True, slots=True)
class Function:
    """A function that runs in child processes.

    Args:
        handler: ``MODULE:ATTRIBUTE``, a handler or an app that has ``lambda_handler()``.
        name: the function's name.
        timeout: seconds an invocation may take (above 0, at most 900, Lambda's limit).
        memory_size: MB that the context names (128 to 10,240); nothing enforces it here.
        region: the region it believes to be in.
        environment: variables beside those that Lambda sets; they win over the parent's.
        directory: working directory, from which the module is imported; default the parent's.
        init_timeout: seconds that importing the module may take. Lambda allows 10; a busy laptop needs more.

    Raises:
        ConfigError: a value is malformed or out of its range.
    """

    handler: str
    name: str = "taskq"
    timeout: float = 30.0
    memory_size: int = 128
    region: str = "us-east-1"
    environment: Mapping[str, str] = field(default_factory=dict)
    directory: str | os.PathLike[str] | None = None
    init_timeout: float = 60.0

    def __post_init__(self) -> None:
        if not _TARGET.fullmatch(self.handler):
            raise ConfigError(f"handler {self.handler!r} must be MODULE:ATTRIBUTE, such as shop.tasks:app")
        if not 0 < self.timeout <= 900:
            raise ConfigError(f"timeout={self.timeout!r} must be above 0 and at most 900 seconds")
        if not 128 <= self.memory_size <= 10_240:
            raise ConfigError(f"memory_size={self.memory_size!r} must be 128 to 10240 MB")

    @property
    def arn(self) -> str:
        """Its ARN in moto's account."""
        return function_arn(self.name, self.region)

    def process_environment(self, log_stream: str) -> dict[str, str]:
        """The environment of a container: the parent's, then Lambda's variables, then the function's own."""
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        return {
            **os.environ,
            "AWS_REGION": self.region,
            "AWS_DEFAULT_REGION": self.region,
            "AWS_EXECUTION_ENV": f"AWS_Lambda_python{version}",
            "AWS_LAMBDA_FUNCTION_NAME": self.name,
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(self.memory_size),
            # Not set by Lambda itself, but by its Runtime Interface Emulator.
            "AWS_LAMBDA_FUNCTION_TIMEOUT": f"{self.timeout:g}",
            "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
            "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{self.name}",
            "AWS_LAMBDA_LOG_STREAM_NAME": log_stream,
            "LAMBDA_TASK_ROOT": os.path.abspath(self.directory or os.getcwd()),
            "TZ": ":UTC",
            "_HANDLER": self.handler,
            **self.environment,
        }
