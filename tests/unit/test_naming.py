"""Names of tasks."""

from __future__ import annotations

import functools
import types
from typing import Any

import pytest

from taskq_sls import ConfigError, TaskQ
from taskq_sls.core.naming import check_task_name, task_name


def at_the_top() -> None: ...


def test_a_function_is_named_after_its_module_and_itself() -> None:
    assert task_name(at_the_top) == f"{__name__}:at_the_top"


@pytest.mark.parametrize("name", ["shop.tasks:resize", "resize", "a" * 200, "x.<locals>.y", "team/job@2+a-b"])
def test_names_given_by_hand_are_taken(name: str) -> None:
    assert check_task_name(name) == name


@pytest.mark.parametrize("name", ["", "a" * 201, "with space", "naïve", "line\n", None, 7])
def test_names_that_could_not_travel_are_refused_with_the_value(name: Any) -> None:
    with pytest.raises(ConfigError, match="use 1 to 200 letters"):
        check_task_name(name)


@pytest.mark.parametrize("function", [lambda: None, functools.partial(at_the_top)])
def test_what_has_no_name_needs_one(function: Any) -> None:
    app = TaskQ("shop")
    with pytest.raises(ConfigError, match="give name="):
        app.task(function)
    assert app.task(name="named")(function).name == "named"


def test_a_name_taken_by_another_function_is_refused() -> None:
    app = TaskQ("shop")
    app.task(name="job")(at_the_top)
    with pytest.raises(ConfigError, match="'job' is taken"):

        @app.task(name="job")
        def other() -> None: ...


def test_an_alias_taken_by_another_function_is_refused() -> None:
    app = TaskQ("shop")
    app.task(name="job", aliases=["former"])(at_the_top)
    with pytest.raises(ConfigError, match="'former' is taken"):

        @app.task(aliases=["former"])
        def other() -> None: ...


def test_an_alias_that_is_no_name_is_refused() -> None:
    with pytest.raises(ConfigError, match="task name 'a b'"):
        TaskQ("shop").task(aliases=["a b"])(at_the_top)


def test_a_module_imported_again_may_register_its_functions_again() -> None:
    app = TaskQ("shop")
    app.task(at_the_top)
    app.task(at_the_top)
    assert app.registry.names == (f"{__name__}:at_the_top",)


def test_a_function_is_found_by_name_and_by_alias_and_listed_once() -> None:
    app = TaskQ("shop")
    task = app.task(name="job", aliases=["former", "older"])(at_the_top)
    assert app.registry.get("job") is app.registry.get("former") is app.registry.get("older") is task
    assert app.registry.get("nobody") is None
    assert list(app.registry) == [task]


# -- one name, two functions ------------------------------------------------------------------------------------


def run_module(app: TaskQ, code: str, times: int = 1, module: types.ModuleType | None = None) -> None:
    """Import a module of that code so many times."""
    module = module or types.ModuleType("shop_tasks")
    module.__dict__["app"] = app
    for _ in range(times):
        exec(compile(code, "shop_tasks.py", "exec", dont_inherit=True), module.__dict__)


UNWRAPPED = """
def traced(function):
    def wrapper(number: int) -> str:
        return function(number)
    return wrapper
"""

FACTORY = """
def make(kind):
    @app.task
    def handle(number: int) -> str:
        return f"{kind} {number}"
    return handle
"""

PAIR = """
@app.task
@traced
def charge(number): return f"charged {number}"

@app.task
@traced
def refund(number): return f"refunded {number}"
"""


@pytest.mark.parametrize(
    ("code", "fix"),
    [
        (UNWRAPPED + PAIR, r"shop_tasks\.py:3, a decorator without functools\.wraps.*give each task its own name="),
        (FACTORY + "make('charge')\nmake('refund')\n", r"shop_tasks\.py:3, .*a function that makes functions"),
        (
            "for kind in ('charge', 'refund'):\n    @app.task\n    def handle(number: int, kind: str = kind): ...\n",
            "give each task its own name=",
        ),
        (
            "@app.task\ndef charge(): ...\n\n@app.task\ndef charge(): ...\n",
            "line 4 of the same module defines it again",
        ),
        (
            "@app.task(name='x')\ndef charge(): ...\n\n@app.task(name='x')\ndef refund(): ...\n",
            "give name=... to one of the two",
        ),
    ],
    ids=["unwrapped", "factory", "loop", "redefined", "named"],
)
def test_a_second_function_under_one_name_is_refused_with_the_fix(code: str, fix: str) -> None:
    app = TaskQ("shop")
    with pytest.raises(ConfigError, match=rf"is taken by <function .*{fix}"):
        run_module(app, code)


def test_factories_may_give_each_function_a_name() -> None:
    app = TaskQ("shop")
    run_module(app, FACTORY.replace("@app.task", "@app.task(name=kind)") + "make('charge')\nmake('refund')\n")
    assert app.registry.names == ("charge", "refund")


@pytest.mark.parametrize(
    "code",
    [
        "@app.task\ndef job(number: int = 7): ...\n",
        "import functools\n" + UNWRAPPED.replace("    def", "    @functools.wraps(function)\n    def", 1) + PAIR,
        UNWRAPPED + "@app.task(name='charge')\n@traced\ndef charge(number): ...\n",
        FACTORY + "make('charge')\n",
    ],
    ids=["plain", "wrapped", "unwrapped", "factory"],
)
def test_a_module_may_be_imported_again(code: str) -> None:
    app = TaskQ("shop")
    module = types.ModuleType("shop_tasks")
    run_module(app, code, 2, module)
    names = app.registry.names
    # Edited in between, and under a new module object, as importlib.reload and a fresh import do.
    run_module(app, "# a comment\n" + code, 1, module)
    run_module(app, code, 1)
    assert app.registry.names == names


def test_a_decorator_of_another_module_does_not_keep_a_module_from_being_imported_again() -> None:
    app = TaskQ("shop")
    decorators = types.ModuleType("decorators")
    exec(UNWRAPPED, decorators.__dict__)
    module = types.ModuleType("shop_tasks")
    module.__dict__["traced"] = decorators.__dict__["traced"]
    run_module(app, "@app.task\n@traced\ndef charge(number): ...\n", 2, module)
    with pytest.raises(ConfigError, match=r"a decorator without functools\.wraps"):
        run_module(app, "@app.task\n@traced\ndef refund(number): ...\n", 1, module)


def test_the_same_code_may_be_executed_again() -> None:
    app = TaskQ("shop")
    module = types.ModuleType("shop_tasks")
    module.__dict__["app"] = app
    code = compile("for _ in range(2):\n    @app.task\n    def job(): ...\n", "shop_tasks.py", "exec")
    for _ in range(2):
        exec(code, module.__dict__)
    assert len(app.registry) == 1


def test_the_same_function_may_be_registered_again() -> None:
    app = TaskQ("shop")
    for function in (at_the_top, functools.partial(at_the_top)):
        for _ in range(2):
            app.task(name=f"job-{type(function).__name__}")(function)
    assert len(app.registry) == 2
