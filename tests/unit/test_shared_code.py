"""Code that sync and async callers share awaits only the AWS port and the flow.

An asyncio primitive there works for async callers and fails, or worse sends twice, for sync ones: `gather` driven
inside a running loop raises at once while its children still run.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import taskq_sls

LIBRARY = Path(taskq_sls.__file__).parent

SHARED = [
    *(
        f"client/{name}.py"
        for name in (
            "task",
            "handle",
            "waiting",
            "dispatch",
            "sending",
            "unique_keys",
            "schedules",
            "schedule_handle",
            "schedule_message",
            "schedule_sync",
            "schedule_value",
        )
    ),
    *(
        f"scheduler/{name}.py"
        for name in (
            "store",
            "eventbridge",
            "memory",
            "last_firings",
            "last_firings_table",
            "rate_limit",
            "overlap",
            "sync",
        )
    ),
    "brokers",
    "results",
    "payloads",
    "deploy/provision",
    "deploy/doctor",
    "operations",
]
"""What a sync call can drive."""

BANNED_MODULES = {"asyncio", "anyio", "trio", "concurrent", "time"}

HOOKS = "plain dispatch hooks of async callers run in a thread; sync callers have left before, by the blocking flow"

ALLOWED = {
    ("client/dispatch.py", "asyncio.CancelledError"): HOOKS,
    ("client/dispatch.py", "asyncio.current_task"): HOOKS,
    ("client/dispatch.py", "asyncio.get_running_loop"): HOOKS,
    ("client/dispatch.py", "asyncio.run_coroutine_threadsafe"): HOOKS,
}
"""(file, what it uses): why it never runs in a sync call."""


def files() -> list[str]:
    found: list[Path] = []
    for name in SHARED:
        place = LIBRARY / name
        assert place.exists(), f"{name} was moved: name its new place here"
        found += sorted(place.rglob("*.py")) if place.is_dir() else [place]
    return [str(file.relative_to(LIBRARY)) for file in found]


def uses(tree: ast.Module) -> Iterator[str]:
    """Every use of a banned module: ``module.name``, and the bare module where it is given away whole."""
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for one in node.names:
                if _banned(one.name):
                    names[one.asname or one.name.partition(".")[0]] = (
                        one.name if one.asname else one.name.partition(".")[0]
                    )
        elif isinstance(node, ast.ImportFrom) and not node.level and _banned(node.module or ""):
            yield from (f"{node.module}.{one.name}" for one in node.names)
    attributes = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in names:
            yield f"{names[node.value.id]}.{node.attr}"
        elif isinstance(node, ast.Name) and node.id in names and id(node) not in attributes:
            yield names[node.id]


def _banned(module: str) -> bool:
    return module.partition(".")[0] in BANNED_MODULES


@pytest.mark.parametrize("file", files())
def test_shared_code_uses_no_event_loop_no_pool_and_no_wall_clock(file: str) -> None:
    used = set(uses(ast.parse((LIBRARY / file).read_text())))

    assert {use for use in used if (file, use) not in ALLOWED} == set()


def test_every_exception_to_the_rule_is_still_needed() -> None:
    used = {(file, use) for file in files() for use in uses(ast.parse((LIBRARY / file).read_text()))}

    assert set(ALLOWED) <= used


WALL_CLOCK = {"time.time", "time.time_ns", "datetime.now", "datetime.utcnow", "datetime.today", "date.today"}

ASKS_THE_WALL_CLOCK = {
    "core/clock.py": "it is the clock that all others are given",
    "cli/api.py": "whether a token has expired, told to whoever starts the server",
    "core/forced_end.py": "the time of a line that is written when nothing else of the process is sure to work",
    "local_aws/container_main.py": "the end of a process, which no test can move",
}


def test_the_time_is_asked_of_the_given_clock_alone_so_that_tests_can_travel() -> None:
    found = set()
    for file in LIBRARY.rglob("*.py"):
        names = (node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Attribute))
        if WALL_CLOCK & set(map(ast.unparse, names)):
            found.add(str(file.relative_to(LIBRARY)))

    assert found == set(ASKS_THE_WALL_CLOCK)


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import asyncio\nasync def f(): await asyncio.sleep(1)", "asyncio.sleep"),
        ("import asyncio as a\nasync def f(): await a.gather()", "asyncio.gather"),
        ("from asyncio import timeout", "asyncio.timeout"),
        ("def f():\n    import time\n    time.sleep(1)", "time.sleep"),
        ("import asyncio\nx = asyncio", "asyncio"),
    ],
)
def test_the_rule_sees_every_way_to_use_a_module(source: str, found: str) -> None:
    assert list(uses(ast.parse(source))) == [found]
