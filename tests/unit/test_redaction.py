"""Values that are hidden by their names: one function, for the API, its pages, the logs and the messages of errors."""

from __future__ import annotations

import io
import json
import logging
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import BaseModel

from taskq_sls import ArgumentsError, ConfigError, Retry, TaskQ, TaskQError, current_task
from taskq_sls.core.message import decode
from taskq_sls.core.redaction import (
    MASK,
    MAX_DEPTH,
    contains_mask,
    mask_values,
    redact,
    redact_arguments,
    redacted_names,
    secret_values,
)
from taskq_sls.logs import configure
from taskq_sls.testing import in_memory

NAMES = redacted_names(["password", "API-Key"])


def test_what_is_named_is_hidden_at_any_depth() -> None:
    value = {"user": "ann", "Password": "x", "more": [{"api_key": 1, "kept": [2]}]}

    assert redact(value, NAMES) == {"user": "ann", "Password": MASK, "more": [{"api_key": MASK, "kept": [2]}]}
    assert value["Password"] == "x", "what is shown is a copy"


def test_without_names_a_value_is_shown_as_it_is() -> None:
    value = {"password": "x"}

    assert redact(value, frozenset()) is value


def test_a_value_that_holds_itself_comes_to_an_end() -> None:
    value: dict[str, Any] = {}
    value["again"] = value

    shown = redact(value, NAMES)

    for _ in range(MAX_DEPTH + 1):
        shown = shown["again"]
    assert shown == MASK


def test_positional_arguments_are_hidden_by_their_parameters() -> None:
    assert redact_arguments(["ann", "x", {"password": 1}], {}, NAMES, ["user", "password", "options"]) == (
        ["ann", MASK, {"password": MASK}],
        {},
    )


def test_arguments_of_nobody_knows_which_parameters_are_hidden_all() -> None:
    assert redact_arguments(["ann"], {"user": "ann", "password": "x"}, NAMES, None) == (
        [MASK],
        {"user": "ann", "password": MASK},
    )
    assert redact_arguments([1, 2], {}, NAMES, ["one"]) == ([1, MASK], {})
    assert redact_arguments(["ann"], {}, frozenset(), None) == (["ann"], {})


def test_a_mask_that_comes_back_is_noticed() -> None:
    assert contains_mask([None, {"a": [MASK]}])
    assert not contains_mask([None, {"a": ["x"]}])


# -- declared ---------------------------------------------------------------------------------------------------


def shop() -> TaskQ:
    app = TaskQ("shop", redact=["password"])

    @app.task(name="shop:login", redact=["pin"])
    def login(user: str, password: str, pin: int = 0, *rest: int, **more: int) -> None: ...

    @app.task(name="shop:plain")
    def plain(text: str) -> None: ...

    return app


def test_names_of_the_app_hold_for_all_its_tasks_and_those_of_a_task_for_it_alone() -> None:
    app = shop()

    assert app.redacted("shop:login", ["ann", "x", 1, 2], {}) == (["ann", MASK, MASK, 2], {})
    assert app.redacted("shop:plain", ["x"], {"pin": 1, "password": 2}) == (["x"], {"pin": 1, "password": MASK})
    assert app.redacted("elsewhere:task", ["x"], {"pin": 1}) == ([MASK], {"pin": 1})
    assert app.log_redaction == {"password", "pin"}


@pytest.mark.parametrize("given", ["password", [""], [1], None, 5])
def test_names_must_be_a_list_of_text(given: Any) -> None:
    with pytest.raises(ConfigError, match="must be a list of names"):
        TaskQ("shop", redact=given)


@pytest.mark.parametrize("given", ["yes", 1, None])
def test_whether_a_task_is_for_http_is_a_yes_or_no(given: Any) -> None:
    with pytest.raises(ConfigError, match=r"http=.* must be True .* or False"):
        TaskQ("shop").task(http=given)(shop)


def test_http_is_said_of_each_task() -> None:
    with pytest.raises(ConfigError, match="unknown option 'http'"):
        TaskQ("shop", http=True)


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [(["ann", 7_777_777], {}), (["ann"], {"password": 7_777_777}), (["ann", "x", "7777777"], {})],
)
def test_the_error_about_an_argument_does_not_tell_what_is_hidden(args: list[Any], kwargs: dict[str, Any]) -> None:
    task = shop().registry.get("shop:login")
    assert task is not None

    for refuse in (task.plan.signature.decode, lambda args, kwargs: task.enqueue(*args, **kwargs)):
        with pytest.raises(ArgumentsError, match="does not fit it, and is not shown") as error:
            refuse(args, kwargs)
        assert "7777777" not in str(error.value)


def test_the_error_about_any_other_argument_does() -> None:
    task = shop().registry.get("shop:plain")
    assert task is not None

    with pytest.raises(ArgumentsError, match="got 5"):
        task.plan.signature.decode([5], {})


# -- logs -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("format", ["json", "text"])
def test_fields_of_log_lines_are_hidden_by_name(format: str) -> None:
    stream = io.StringIO()
    configure("INFO", format, stream, redact=shop().log_redaction)

    logging.getLogger("shop").info("login", extra={"user": "ann", "password": "hunter2", "deep": {"pin": "1234"}})

    assert "ann" in stream.getvalue()
    assert MASK in stream.getvalue()
    assert "hunter2" not in stream.getvalue()
    assert "1234" not in stream.getvalue().replace(json.dumps("deep"), "")


# -- exceptions of tasks ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        (["ann", "hunter2"], {}),
        (["ann"], {"password": "hunter2"}),
        (["ann", "x", {"deep": [{"Pass-Word": "-"}, {"password": ["hunter2"]}]}], {}),
        (["ann", "x"], {"more": {"password": {"old": "hunter2"}}}),
    ],
)
def test_what_an_exception_tells_of_hidden_arguments_is_hidden(
    args: list[Any], kwargs: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    app = TaskQ("shop", redact=["password"])

    @app.task(retry=Retry(max_attempts=2, jitter="none"))
    def login(user: str, password: str, more: dict[str, Any] | None = None) -> None:
        raise PermissionError(f"{user} may not, with hunter2 in {more}")

    with in_memory(app) as memory:
        handle = login.enqueue(*args, **kwargs)
        memory.run_until_idle(travel=True)
        record = app.results.get(handle.id)
        [letter] = memory.broker.messages("default-dlq")

    assert record is not None
    assert record.error is not None
    assert f"ann may not, with {MASK}" in record.error.message
    assert "hunter2" not in repr(record) + repr(letter.attributes) + caplog.text
    assert MASK in record.error.traceback
    assert all("hunter2" not in str(vars(one)) for one in caplog.records)


def test_values_are_hidden_also_as_python_quotes_them_and_the_longer_first() -> None:
    values = secret_values(
        {"password": ["it's\n", "secret", "secrets", 1.25, 12, True, None], "user": "secretary"}, NAMES
    )

    text = mask_values("'secrets' or secret, not \"it's\\n\" nor 1.25, but 12", values)

    assert text == f"'{MASK}' or {MASK}, not \"{MASK}\" nor {MASK}, but 12"


def test_what_is_short_is_part_of_other_words_and_stays() -> None:
    assert list(secret_values({"password": ["abc", 123]}, NAMES)) == []


# -- values whose place is not known ----------------------------------------------------------------------------

SECRET = "hunter2-hunter2"


class Login(BaseModel):
    user: str
    password: str


@dataclass
class Wrong:
    password: str = SECRET


class Number(int):
    def __repr__(self) -> str:
        return SECRET


def models() -> TaskQ:
    app = TaskQ("shop", redact=["password"])

    @app.task(name="shop:login", retry=Retry(max_attempts=1))
    def login(given: Login, text: str = "") -> Login:
        if text == "json":
            raise ValueError(json.dumps({"given": given.model_dump(), "quoted": json.dumps(given.password + "\u00fc")}))
        if text == "pydantic":
            Login.model_validate({"user": 1, "password": given.password * 9})
        if text == "result":
            return {"user": "ann", "password": given.password}  # type: ignore[return-value]  # what is tested
        note = f"logging in with {given.password}"
        current_task().progress(1, 2, note)
        return given

    return app


def refusals() -> list[Callable[[TaskQ], object]]:
    def login(app: TaskQ) -> Any:
        task = app.registry.get("shop:login")
        assert task is not None
        return task

    return [
        lambda app: login(app).enqueue({"user": "ann", "password": SECRET}),
        lambda app: login(app).enqueue([("password", SECRET)]),
        lambda app: login(app).enqueue(Wrong()),
        lambda app: login(app).enqueue(Number(1)),
        lambda app: login(app).enqueue(Login(user="ann", password="x"), json.loads(json.dumps({"password": SECRET}))),
        lambda app: login(app).enqueue(json.dumps({"password": SECRET})),
        lambda app: login(app).enqueue_many([{"password": SECRET}]),
        lambda app: login(app).with_options(labels={"password": [SECRET]}),
        lambda app: login(app).with_options(labels=[("password", SECRET)]),
        lambda app: app.ref("shop:login").enqueue({"password": {SECRET}}),
        lambda app: decode(json.dumps({"v": 1, "id": "a", "task": "shop:login", "args": {"password": SECRET}})),
        lambda app: decode(json.dumps({"v": 1, "id": "a", "task": "shop:login", "args": SECRET})),
        lambda app: decode(json.dumps({"v": 1, "id": "a", "task": "shop:login", "labels": {"password": [SECRET]}})),
        lambda app: login(app).plan.signature.decode([{"user": 1, "password": SECRET}], {}),
    ]


@pytest.mark.parametrize("refuse", refusals())
def test_no_refusal_quotes_a_value_whose_inside_is_not_known(refuse: Callable[[TaskQ], object]) -> None:
    with pytest.raises(TaskQError) as error:
        refuse(models())

    assert "hunter2" not in "".join(traceback.format_exception(error.value))


@pytest.mark.parametrize("kind", ["json", "pydantic", "result", ""])
def test_nothing_that_is_recorded_or_logged_tells_a_hidden_field(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    app = models()
    login = app.registry.get("shop:login")
    assert login is not None

    with in_memory(app) as memory:
        handle: Any = login.enqueue(Login(user="ann", password=SECRET), kind)
        memory.run_until_idle(travel=True)
        record = app.results.get(handle.id)
        letters = memory.broker.messages("default-dlq")

    assert record is not None
    assert record.status == ("SUCCEEDED" if kind == "" else "FAILED")
    told = [record.error, record.progress, [letter.attributes for letter in letters], caplog.text]
    assert "hunter2" not in repr(told)
    assert record.progress is None or record.progress.note == f"logging in with {MASK}"


class Key(BaseModel):
    password: bytes


@pytest.mark.parametrize(
    ("kind", "value", "text"),
    [
        (bytes, SECRET.encode(), repr),
        (bytes, SECRET.encode(), bytes.decode),
        (bytes, b"\xffhunter2", repr),
        (Key, Key(password=SECRET.encode()), repr),
        (dict[str, str], {SECRET: "x"}, repr),
        (str, "hunt\u00fcer2", ascii),
    ],
)
def test_bytes_keys_and_letters_are_hidden_as_exceptions_write_them(
    kind: Any, value: Any, text: Callable[[Any], str]
) -> None:
    app = TaskQ("shop", redact=["password"])

    def login(password: Any) -> None:
        raise ValueError(f"not {text(password)}")

    login.__annotations__["password"] = kind
    task = app.task(name="shop:login", retry=Retry(max_attempts=1))(login)
    with in_memory(app) as memory:
        handle = task.enqueue(value)
        memory.run_until_idle()
        record = app.results.get(handle.id)

    assert record is not None
    assert record.error is not None
    assert MASK in record.error.message
    assert "hunt" not in repr(record.error)


def test_a_hidden_name_inside_of_json_text_hides_the_text() -> None:
    assert redact(["{not json, password", '{"user": "ann"}', ' [{"password": 1}]'], NAMES) == [
        "{not json, password",
        '{"user": "ann"}',
        MASK,
    ]
    assert list(secret_values(['{"password": "hunter2"}', '{"user": "hunter3"}'], NAMES)) == ["hunter2"]
