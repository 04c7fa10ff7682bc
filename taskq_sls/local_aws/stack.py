"""The whole stack on this machine: the AWS server, and Lambda functions on an app's queues."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Self

from ..app import TaskQ
from ..aws.blocking import BlockingAws
from ..core.flow import call_sync
from ..core.queues import Queue
from .container import ProcessContainer
from .event_source_mapping import FUNCTION_TIMEOUT, EventSourceMapping
from .function import Function
from .server import HOST, MotoServer

BUCKET = "taskq-payloads"
"""The bucket of apps that name none; provisioning makes it."""

SCHEDULE_ROLE_ARN = "arn:aws:iam::123456789012:role/taskq-scheduler"
"""The role of apps that name none: no IAM is asked here, but without a role nothing can be scheduled."""

STOP_SECONDS = 3.0
"""Time that running invocations get when the stack stops; then their containers are killed."""

_REAL = ("AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_SESSION_TOKEN", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS")
"""Variables that would lead a client away from the local server, beside endpoints of single services."""


class LocalStack:
    """A local AWS endpoint with workers and mappings on it. A context manager; only one per process.

    While it runs, this process's environment points to the local server, so that clients and child processes find it.

    Args:
        port: of the server (1 to 65,535), or 0 for a free one.

    Attributes:
        misleading: variables of the surrounding environment that must be unset to use this stack there.
    """

    def __init__(self, port: int = 0) -> None:
        self._server = MotoServer(port)
        self._mappings: list[EventSourceMapping] = []
        self._containers: list[ProcessContainer] = []
        self._exits = contextlib.ExitStack()
        self.misleading: tuple[str, ...] = ()

    def __enter__(self) -> Self:
        self.misleading = tuple(name for name in os.environ if name in _REAL or name.startswith("AWS_ENDPOINT_URL_"))
        with contextlib.ExitStack() as starting:
            starting.enter_context(self._server)
            starting.enter_context(_environment(self.environment(), without=self.misleading))
            starting.callback(self._stop_functions)
            self._exits = starting.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._exits.close()

    def environment(self) -> dict[str, str]:
        """Environment variables that make every AWS client use this stack, and every app have bucket and scheduler."""
        defaults = {"TASKQ_BUCKET": BUCKET, "TASKQ_SCHEDULE_ROLE_ARN": SCHEDULE_ROLE_ARN}
        variables = {name: os.environ.get(name) or value for name, value in defaults.items()}
        variables |= self._server.environment()
        proxies = ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy")
        if not any(name in os.environ for name in proxies):
            return variables
        # A proxy would be asked for 127.0.0.1 too.
        direct = ",".join(filter(None, [os.environ.get("NO_PROXY", os.environ.get("no_proxy")), HOST]))
        return {**variables, "NO_PROXY": direct, "no_proxy": direct}

    def run_functions(self, target: str, app: TaskQ) -> None:
        """Consume the app's queues by Lambda functions.

        Args:
            target: ``MODULE:ATTRIBUTE`` of the app or of a handler, imported by the functions' own processes.
            app: the app, provisioned here before.
        """
        port = BlockingAws(app.clock)
        for queue in app.queues.values():
            name = app.settings.queue_name(queue.name)
            answer = call_sync("queue", port.client("sqs").call("get_queue_url", QueueName=name))
            self._run_function(target, queue, name, answer["QueueUrl"])
        call_sync("close", port.close())

    def _run_function(self, target: str, queue: Queue, name: str, url: str) -> None:
        timeout = float(queue.function_timeout or min(FUNCTION_TIMEOUT, queue.queue_visibility))
        function = Function(target, name=name.replace(".", "-"), timeout=timeout, region=self._server.region)

        def container() -> ProcessContainer:
            made = ProcessContainer(function)
            self._containers = [container for container in self._containers if container.alive] + [made]
            return made

        mapping = EventSourceMapping(queue, url, container, function_timeout=timeout)
        mapping.start()
        self._mappings.append(mapping)

    def _stop_functions(self) -> None:
        stopping = [threading.Thread(target=mapping.stop, daemon=True) for mapping in self._mappings]
        for thread in stopping:
            thread.start()
        patience = threading.Timer(STOP_SECONDS, self._kill_containers)
        patience.daemon = True
        patience.start()
        for thread in stopping:
            thread.join()
        patience.cancel()
        self._kill_containers()

    def _kill_containers(self) -> None:
        for container in self._containers:
            container.close()


@contextlib.contextmanager
def _environment(variables: dict[str, str], *, without: Sequence[str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in (*variables, *without)}
    for name in without:
        os.environ.pop(name, None)
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
