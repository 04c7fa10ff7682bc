"""Texts of exceptions, signatures and values whose classes raise: they never end what they are made for."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import pytest
from pydantic import BeforeValidator

from taskq_sls import ArgumentsError, ConfigError, Retry, TaskQ, rate
from taskq_sls.core import error_info as error_text
from taskq_sls.core.delivery import DeadLetter, RetryIn
from taskq_sls.core.error_info import RemoteTraceback, error_info
from taskq_sls.core.message import ErrorInfo
from taskq_sls.core.safe_text import class_name, repr_of, text_of
from taskq_sls.serialization import compile_signature
from taskq_sls.testing import in_memory
from tests.support.engine_harness import EngineHarness, delivery


class Text(str):
    """A text of its own that cannot be formatted."""

    def __format__(self, spec: str) -> str:
        raise LookupError

    def __str__(self) -> str:
        raise LookupError


class Meta(type):
    @property
    def __module__(cls) -> str:  # type: ignore[override]  # it is broken on purpose
        raise LookupError


class BrokenStr(Exception):
    def __str__(self) -> str:
        raise BrokenRepr


class Exits(Exception):
    def __str__(self) -> str:
        sys.exit(3)


class BrokenRepr(Exception, metaclass=Meta):
    def __str__(self) -> str:
        raise self

    __repr__ = __str__


class NoModule(Exception):
    __module__ = None  # type: ignore[assignment]  # it is broken on purpose


class BrokenArgs(Exception):
    args = property(lambda self: 1 / 0)


class BrokenCause(Exception):
    __cause__ = property(lambda self: 1 / 0)


class OwnText(Exception):
    def __str__(self) -> str:
        return Text("own text")


def deep() -> BaseException:
    error: Exception = ValueError("the innermost")
    for _ in range(5000):
        error = ExceptionGroup("all", [error])
    return error


def chained() -> BaseException:
    first = error = ValueError("the last")
    for _ in range(5000):
        error.__context__ = ValueError("before")
        error = error.__context__
    return first


HOSTILE = [BrokenStr(), Exits(), BrokenRepr(), NoModule("no module"), BrokenArgs("x"), BrokenCause("x"), OwnText()]


@pytest.mark.parametrize("error", [*HOSTILE, deep(), chained()], ids=lambda error: type(error).__name__)
def test_every_exception_has_a_text(error: BaseException) -> None:
    info = error_info(error)
    assert [type(part) for part in info] == [str, str, str]
    assert info.type
    assert info.traceback


def test_of_endless_recursion_the_innermost_frames_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(error_text, "MAX_FRAMES", 20)

    def descend(depth: int) -> None:
        descend(depth - 1) if depth else int("no number")

    def fail() -> None:
        try:
            descend(50)
        except ValueError as error:
            raise KeyError("x") from error

    with pytest.raises(KeyError) as raised:
        fail()
    cause = raised.value.__cause__
    assert isinstance(cause, ValueError)
    assert "in descend" in error_info(cause).traceback
    assert "in fail" not in error_info(cause).traceback  # the outermost frame
    assert 'int("no number")' in error_info(cause).traceback
    assert "in test_of_endless_recursion" in error_info(raised.value).traceback
    assert "[Previous line repeated 16 more times]" in error_info(raised.value).traceback

    monkeypatch.setattr(error_text, "MAX_FRAMES", 51)
    assert "in fail" not in error_info(cause).traceback
    monkeypatch.setattr(error_text, "MAX_FRAMES", 52)
    assert "in fail" in error_info(cause).traceback


def test_what_can_be_shown_is_shown() -> None:
    assert error_info(OwnText())[:2] == ("test_safe_text.OwnText", "own text")
    assert error_info(NoModule("no module"))[:2] == ("NoModule", "no module")
    assert error_info(BrokenStr())[:2] == (
        "test_safe_text.BrokenStr",
        "<test_safe_text.BrokenStr: it cannot be shown, BrokenRepr>",
    )
    assert error_info(BrokenCause("x"))[:2] == ("test_safe_text.BrokenCause", "x")
    info = ErrorInfo("E", "m", "t")
    remote = ValueError("here")
    remote.__cause__ = RemoteTraceback(info)
    assert error_info(remote) is info
    assert (class_name(BrokenRepr), repr_of(BrokenRepr())) == (
        "BrokenRepr",
        "<BrokenRepr: it cannot be shown, BrokenRepr>",
    )
    assert text_of(Text("x")).startswith("<test_safe_text.Text: it cannot be shown")


@pytest.mark.parametrize("error", HOSTILE, ids=lambda error: type(error).__name__)
async def test_an_attempt_that_raises_one_fails_and_is_retried(error: BaseException) -> None:
    harness = EngineHarness(retry=Retry(max_attempts=2, backoff=0))

    @harness.task(name="job")
    async def job() -> None:
        raise error

    assert isinstance(await harness.run(job), RetryIn)
    harness.clock.travel(1)
    assert isinstance(await harness.process(delivery(job, receive_count=2)), DeadLetter)


class Hostile:
    def __repr__(self) -> str:
        raise LookupError

    __str__ = __repr__


def test_a_signature_has_a_text_whatever_its_defaults_and_annotations_are() -> None:
    def job(number: int, option: Any = Hostile(), *rest: int, **more: int) -> None: ...  # noqa: B008  # the default is what is tested

    signature = compile_signature(job, skip_first=False)
    assert str(signature).endswith("job(number, option, rest, more)")
    app = TaskQ("shop")
    with in_memory(app), pytest.raises(ArgumentsError, match=r"its signature is .*job\(number, option, rest, more\)"):
        app.task(name="job")(job).enqueue()  # type: ignore[call-arg]  # it is refused


def test_an_annotation_that_cannot_be_shown_is_refused_as_any_other() -> None:
    def job(number: Any) -> None: ...

    job.__annotations__["number"] = Annotated[int, Hostile()]
    with pytest.raises(
        ConfigError, match="'number': values of <_AnnotatedAlias> cannot be written as JSON: LookupError"
    ):
        compile_signature(job, skip_first=False)


def test_a_value_that_cannot_be_shown_is_refused_by_its_class() -> None:
    app = TaskQ("shop")

    @app.task(name="job")
    def job(number: int) -> None: ...

    with in_memory(app), pytest.raises(ArgumentsError, match="'number' got <Hostile instance"):
        job.enqueue(Hostile())  # type: ignore[arg-type]  # that is the test


def refuse(value: Any) -> Any:
    raise BrokenStr


def test_a_validator_that_raises_what_cannot_be_shown_is_a_refusal() -> None:
    app = TaskQ("shop")

    @app.task(name="job")
    def job(number: Annotated[int, BeforeValidator(refuse)]) -> None: ...

    with in_memory(app), pytest.raises(ArgumentsError, match="it cannot be shown, BrokenRepr"):
        job.enqueue(1)


# -- names of parameters ----------------------------------------------------------------------------------------


NAMES = (
    "self",
    "cls",
    "app",
    "task",
    "name",
    "args",
    "kwargs",
    "when",
    "options",
    "context",
    "function",
    "message",
    "id",
)


def test_parameters_may_have_any_name() -> None:
    app = TaskQ("shop")
    namespace: dict[str, Any] = {"app": app}
    exec(f"def job({': int, '.join(NAMES)}: int) -> int: return sum([{', '.join(NAMES)}])", namespace)
    job = app.task(name="job")(namespace["job"])
    exec(f"async def ajob({': int, '.join(NAMES)}: int) -> int: return {NAMES[0]}", namespace)
    ajob = app.task(name="ajob")(namespace["ajob"])
    call = dict.fromkeys(NAMES, 1)
    with in_memory(app):
        assert job(**call) == len(NAMES)
        assert job.enqueue(**call).result() == len(NAMES)
        assert [handle.result() for handle in job.enqueue_many([job.call(**call)])] == [len(NAMES)]
        assert job.schedule(rate("1 hour"), **call).id
        assert ajob.with_options(delay=1).enqueue(**call).result() == 1


async def test_parameters_of_async_calls_may_have_any_name() -> None:
    app = TaskQ("shop")

    @app.task(name="job")
    async def job(self: int, args: int) -> int:
        return self + args

    with in_memory(app):
        assert await job(self=1, args=2) == 3
        assert await (await job.aenqueue(self=1, args=2)).aresult() == 3
