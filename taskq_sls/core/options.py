"""The options of a task and of a single enqueue, checked where they are given."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from ..errors import ConfigError
from .option_checks import CHECKS, Misfire, Overlap, RecordLevel, RunIn, UniquePolicy
from .redaction import Names
from .retry import Retry
from .times import DAY, MIN_RESULT_TTL

MIN_STOP_SECONDS = 5.0
"""Time that an attempt has to end after its `timeout`, unless `hard_timeout` is given."""

_NONE: Mapping[str, Any] = MappingProxyType({})


class TaskOptions(NamedTuple):
    """Options of a task. Those of an enqueue (`with_options`) come first. Times are in seconds.

    Args:
        queue: logical queue name, declared in the app.
        delay: shortest time from the enqueue to the start, up to a year. Above 900, and always on FIFO queues, it uses
            EventBridge Scheduler, which must be configured.
        group: message group, required on FIFO queues; on a standard queue the fair-queue tenant. 1 to 128 characters.
        id: the task's id. Repeating an enqueue with the same id is safe.
        labels: texts by name, in the envelope and the record: up to 4,096 bytes in all, names and values.
        unique_key: only one task of this name can hold the key at a time, from its enqueue until it ends. 1 to 200
            printable characters. Needs recording ``started`` or ``queued``.
        unique_ttl: time after which the key is released even if the task has not ended: 1 to 1,296,000 (15 days).
        unique: the result of an enqueue if the key is taken: ``return`` the handle of the task that holds it, or
            ``raise`` DuplicateTask.
        expires_in: the task ends as EXPIRED if its first attempt would start later than this after the enqueue.
        retry: number of attempts, and the delays between them.
        timeout: time limit of one attempt, above 0 to 43,200; None for no limit.
        hard_timeout: time after which an attempt that ignores its `timeout` ends the worker; at least `timeout`.
            Default: twice the `timeout`, and at least 5 seconds more than it.
        run_in: a sync function runs in a ``thread`` of the worker, or in a child ``process``. A process can be killed; it
            may crash or hold the GIL without affecting the worker.
        record: how much is written to the table: ``none``, ``finished``, ``started`` or ``queued``.
        result_ttl: time for which the record is kept after the end of the task: at least 15 days.
        overlap: ``allow`` runs of one schedule to overlap, or ``skip`` a run while the one before has not ended
            (``skip`` needs recording ``started`` or ``queued``).
        misfire: which runs missed while `taskq scheduler` was down are fired on restart: none (``skip``), the latest
            (``once``), or ``all``.
        http: the HTTP API may enqueue the task.
        record_arguments: record the arguments too, with redacted values masked: up to 400 bytes of JSON.
        redact: names of parameters, labels and fields whose values are masked in the HTTP API, its pages, the logs and
            errors. Upper and lower case are equal. The names given to the app apply to all its tasks.
        extra: options declared by middlewares.
    """

    queue: str = "default"
    delay: float = 0.0
    group: str | None = None
    id: str | None = None
    labels: Mapping[str, str] = _NONE
    expires_in: float | None = None
    retry: Retry = Retry()
    timeout: float | None = None
    hard_timeout: float | None = None
    run_in: RunIn = "thread"
    record: RecordLevel = "started"
    result_ttl: float = MIN_RESULT_TTL
    unique_key: str | None = None
    unique_ttl: float = DAY
    unique: UniquePolicy = "return"
    overlap: Overlap = "allow"
    misfire: Misfire = "once"
    http: bool = False
    record_arguments: bool = True
    redact: Names = frozenset()
    extra: Mapping[str, Any] = _NONE

    @property
    def stuck_after(self) -> float | None:
        """Time after which an attempt that ignores its time limit counts as stuck; None without a limit."""
        if self.hard_timeout is not None or self.timeout is None:
            return self.hard_timeout
        return self.timeout + max(self.timeout, MIN_STOP_SECONDS)

    def merged(
        self, where: str, given: Mapping[str, Any], allowed: Iterable[str], extra: Mapping[str, OptionCheck]
    ) -> TaskOptions:
        """These options, updated with `given`.

        Args:
            where: the configured task or app, for errors.
            allowed: names of the built-in options that may be given here.
            extra: checks of the options that middlewares declare.

        Raises:
            ConfigError: an option is unknown here, or its value is out of range.
        """
        names = frozenset(allowed)
        built_in: dict[str, Any] = {}
        added = dict(self.extra)
        for name, value in given.items():
            if name in names:
                built_in[name] = CHECKS[name](where, name, value)
            elif name in extra:
                added[name] = _middleware_option(where, name, value, extra[name])
            else:
                raise ConfigError(f"{where}: unknown option {name!r}{_suggest(name, [*names, *extra])}")
        if "labels" in built_in:
            built_in["labels"] = MappingProxyType(
                CHECKS["labels"](where, "labels", {**self.labels, **built_in["labels"]})
            )
        if "redact" in built_in:
            built_in["redact"] |= self.redact
        merged = self._replace(**built_in, extra=MappingProxyType(added))
        merged._check_combinations(where)
        return merged

    def _check_combinations(self, where: str) -> None:
        if self.unique_key is not None and self.record not in ("started", "queued"):
            raise ConfigError(
                f"{where}: unique_key={self.unique_key!r} with record={self.record!r}: the key is released when the "
                "task ends, which needs record='started' or 'queued'"
            )
        if self.overlap == "skip" and self.record not in ("started", "queued"):
            raise ConfigError(
                f"{where}: overlap='skip' with record={self.record!r}: only a record shows if the run before has ended; "
                "use record='started' or 'queued'"
            )
        if self.hard_timeout is not None and self.timeout is None:
            raise ConfigError(
                f"{where}: hard_timeout={self.hard_timeout:g} without a timeout: it limits attempts that ignore their "
                "timeout; give timeout=... too"
            )
        if self.hard_timeout is not None and self.timeout is not None and self.hard_timeout < self.timeout:
            raise ConfigError(
                f"{where}: hard_timeout={self.hard_timeout:g} is below timeout={self.timeout:g}: an attempt is stopped "
                "at its timeout first; raise hard_timeout, or leave it out for twice the timeout"
            )


OptionCheck = Callable[[Any], Any]
"""Checks and normalises the value of a middleware's option. Raises ValueError or TypeError with the reason."""


def _suggest(name: str, known: list[str]) -> str:
    import difflib  # needed for an error only: saves cold start

    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; known here: {', '.join(sorted(known))}"


def _middleware_option(where: str, name: str, value: Any, check: OptionCheck) -> Any:
    try:
        return check(value)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{where}: {name}={value!r}: {error}") from None


CALL_OPTIONS = (
    "queue",
    "delay",
    "group",
    "id",
    "labels",
    "expires_in",
    "unique_key",
    "unique_ttl",
    "unique",
    "overlap",
    "misfire",
)
"""The options of `with_options`."""

TASK_OPTIONS = tuple(name for name in CHECKS if name not in ("id", "unique_key"))
"""The options of `@app.task`."""

APP_OPTIONS = ("retry", "record", "result_ttl", "timeout", "labels", "expires_in", "record_arguments", "redact")
"""The options of `TaskQ`: defaults for all its tasks."""
