"""The options of a task and of a single enqueue, checked where they are given."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from ..errors import ConfigError
from .lifetimes import DAY, MIN_RESULT_TTL
from .option_checks import CHECKS, Misfire, Overlap, RecordLevel, RunIn, UniquePolicy
from .redaction import Names
from .retry import Retry

MIN_STOP_SECONDS = 5.0
"""Seconds beyond its `timeout` that an attempt gets to end, unless `hard_timeout` says otherwise."""

_NONE: Mapping[str, Any] = MappingProxyType({})


class TaskOptions(NamedTuple):
    """Options of a task. Those of an enqueue (`with_options`) are named first; times in seconds.

    Args:
        queue: logical queue name, declared in the app.
        delay: start no earlier than this long after the enqueue: up to a year. Above 900 on standard queues, and on
            FIFO, it goes by EventBridge Scheduler, which must be configured.
        group: FIFO message group (needed on FIFO); on a standard queue the fair-queue tenant. 1 to 128 characters.
        id: the task's id, chosen by the caller; repeating an enqueue with it is safe.
        labels: text by name, carried in the envelope and the record: up to 4,096 bytes in all, names and values.
        unique_key: no two tasks of one name hold the same key at a time; from the enqueue to the end of the task.
            1 to 200 printable characters. Needs recording ``started`` or ``queued``.
        unique_ttl: the key is free after this long, whatever became of the task: 1 to 1,296,000 (15 days).
        unique: what an enqueue does when its key is taken: ``return`` the handle of the task that holds it, or
            ``raise`` DuplicateTask.
        expires_in: the task ends EXPIRED when its first attempt would start later than this after the enqueue.
        retry: when failed attempts are tried again.
        timeout: time limit of one attempt, above 0 to 43,200; None for no limit.
        hard_timeout: seconds after which an attempt that ignores its `timeout` makes the worker end; at least
            `timeout`. Default: twice the `timeout`, and at least 5 seconds more than it.
        run_in: where a plain function runs: in a ``thread`` of the worker, or in a child ``process``, which can be
            killed, and whose crash or hold on the interpreter lock does not touch the worker.
        record: how much is written to the table: ``none``, ``finished``, ``started`` or ``queued``.
        result_ttl: how long the record is kept after the task ended: at least 15 days.
        overlap: whether runs of one schedule of the task may overlap (``allow``), or one is dropped while the one
            before has not ended (``skip``, which needs recording ``started`` or ``queued``).
        misfire: what is made up for of a schedule's runs that were missed while the local clock was down: ``skip``
            nothing, the latest one ``once``, or ``all``.
        http: whether the HTTP API may enqueue the task.
        record_arguments: whether the record holds the arguments too, for those who look at tasks: up to 400 bytes of JSON,
            what is redacted hidden.
        redact: names of parameters, labels and fields whose values the HTTP API, its pages, the logs and the messages of
            errors do not show. Capitals do not count. Those of the app hold for all its tasks.
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
        """Seconds after which an attempt that ignores its time limit counts as stuck; None without a limit."""
        if self.hard_timeout is not None or self.timeout is None:
            return self.hard_timeout
        return self.timeout + max(self.timeout, MIN_STOP_SECONDS)

    def merged(
        self, where: str, given: Mapping[str, Any], allowed: Iterable[str], extra: Mapping[str, OptionCheck]
    ) -> TaskOptions:
        """These options with `given` laid over them.

        Args:
            where: what is being configured, for messages.
            allowed: names of the built-in options that may be given here.
            extra: checks of the options that middlewares declare.

        Raises:
            ConfigError: an option is unknown here or its value is out of range.
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
        if merged.unique_key is not None and merged.record not in ("started", "queued"):
            raise ConfigError(
                f"{where}: unique_key={merged.unique_key!r} with record={merged.record!r}: the end of a task frees its "
                "key, which needs record='started' or 'queued'"
            )
        if merged.overlap == "skip" and merged.record not in ("started", "queued"):
            raise ConfigError(
                f"{where}: overlap='skip' with record={merged.record!r}: only a record tells whether the run before has "
                "ended, which needs record='started' or 'queued'"
            )
        if merged.hard_timeout is not None and merged.timeout is None:
            raise ConfigError(
                f"{where}: hard_timeout={merged.hard_timeout:g} without a timeout: it is for attempts that ignore their "
                "time limit; give timeout=... too"
            )
        if merged.hard_timeout is not None and merged.timeout is not None and merged.hard_timeout < merged.timeout:
            raise ConfigError(
                f"{where}: hard_timeout={merged.hard_timeout:g} is below timeout={merged.timeout:g}: an attempt has to "
                "be told to stop before it can ignore that; raise hard_timeout, or leave it out for twice the timeout"
            )
        return merged


OptionCheck = Callable[[Any], Any]
"""Checks and normalises a middleware's option; raises ValueError or TypeError with the reason."""


def _suggest(name: str, known: list[str]) -> str:
    import difflib  # only an error needs it, and a cold start should not pay for it

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
"""What `with_options` takes."""

TASK_OPTIONS = tuple(name for name in CHECKS if name not in ("id", "unique_key"))
"""What `@app.task` takes."""

APP_OPTIONS = ("retry", "record", "result_ttl", "timeout", "labels", "expires_in", "record_arguments", "redact")
"""What `TaskQ` takes as defaults for all its tasks."""
