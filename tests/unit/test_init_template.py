"""The template of a new project keeps the rules that every template keeps."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from taskq_sls import TaskQ
from taskq_sls.deploy.scaffold import contents
from tests.support.template import KEY, Stack
from tests.unit import test_template_audit as audit

FILES = contents("shop")

NEED_ROUTES = {"test_events_that_fail_are_kept", "test_somebody_is_told_when_tasks_wait_or_fail"}
"""A new project has no routes from EventBridge, and so nowhere to keep events."""

RULES: dict[str, Callable[..., None]] = {
    name: rule
    for name, rule in vars(audit).items()
    if name.startswith("test_")
    and name not in NEED_ROUTES
    and set(inspect.signature(rule).parameters) in ({"app", "stack"}, {"stack"})
}


@pytest.fixture(scope="module")
def app() -> TaskQ:
    module = ModuleType("shop.tasks")
    exec(compile(FILES["shop/tasks.py"], "tasks.py", "exec", dont_inherit=True), vars(module))
    made: TaskQ = vars(module)["app"]
    return made


def test_there_are_rules_to_keep() -> None:
    assert len(RULES) > 30


@pytest.mark.parametrize("stage", ["dev", "prod"])
@pytest.mark.parametrize("rule", RULES)
def test_the_template_keeps(rule: str, stage: str, app: TaskQ) -> None:
    key = KEY if stage == "prod" else ""
    stack = Stack(FILES["template.yaml"], Stage=stage, Prefix="shop-x", KmsKeyArn=key)
    given: dict[str, Any] = {"app": app, "stack": stack}

    RULES[rule](**{name: given[name] for name in inspect.signature(RULES[rule]).parameters})
