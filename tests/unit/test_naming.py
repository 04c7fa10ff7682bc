"""Names of tasks."""

from __future__ import annotations

import functools
from typing import Any

import pytest

from taskq_sls import ConfigError, TaskQ
from taskq_sls.naming import check_task_name, task_name


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
