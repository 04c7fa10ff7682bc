"""The dashboard as Lambda serves it, with the events of every front, over AWS emulated by moto."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple
from urllib.parse import urlencode

import pytest
from moto import mock_aws

from taskq_sls import Retry, Schedule, TaskQ, rate
from taskq_sls.client.schedule_sync import sync
from taskq_sls.core.flow import call_sync
from taskq_sls.web import ApiHandler
from taskq_sls.web.auth.tokens import SCOPES, new_token
from tests.support.http_events import FRONTS
from tests.support.pages import BROWSER, text_of
from tests.unit.test_api_guard import Context


class Answer(NamedTuple):
    status: int
    text: str
    headers: dict[str, str]


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> Iterator[TaskQ]:
    for name, value in (
        ("AWS_ACCESS_KEY_ID", "x"),
        ("AWS_SECRET_ACCESS_KEY", "x"),
        ("AWS_DEFAULT_REGION", "eu-central-1"),
        ("TASKQ_SCHEDULE_ROLE_ARN", "arn:aws:iam::123456789012:role/scheduler"),
    ):
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with mock_aws():
        app = TaskQ("shop", record="queued")

        @app.task(name="shop:resize", schedule=Schedule(rate("6 hours"), args=("daily.png",)))
        def resize(path: str) -> str:
            return path

        @app.task(name="shop:fail", retry=Retry(max_attempts=1))
        def fail(path: str) -> None:
            raise ValueError(f"no {path}")

        from taskq_sls.cli.deploy import provision_app

        provision_app(app)
        call_sync("sync", sync(app, app.services.blocking()))
        resize.with_options(id="done").enqueue("a.png")
        fail.with_options(id="dead").enqueue("b.png")
        app.worker(burst=True, poll_wait=1).run()
        yield app


@pytest.mark.parametrize("front", FRONTS)
def test_pages_are_served_and_their_actions_carried_out_behind_every_front(app: TaskQ, front: str) -> None:
    token, digest = new_token()
    with app.api_handler(auth="tokens", tokens={"ann": {"hash": digest, "scopes": list(SCOPES)}}) as handler:
        ask = asking(handler, FRONTS[front])
        assert ask("GET", "/tasks").headers["location"] == "login?back=tasks"
        entered = ask("POST", "/login", token=token)
        assert (entered.status, entered.headers["location"]) == (303, "./")
        cookie = entered.headers["set-cookie"].partition(";")[0]
        ask = asking(handler, FRONTS[front], {"cookie": cookie})

        overview = ask("GET", "/")
        assert overview.status == 200
        assert "default 0 0 0 - 1" in text_of(overview.text)
        assert "shop:fail 1 0 100%" in text_of(overview.text), "what the worker has counted"
        assert "dead" in ask("GET", "/tasks", status="FAILED").text
        assert "b.png" in ask("GET", "/task", id="dead", arguments="1").text
        assert "runs in the next 24 hours" in ask("GET", "/schedules").text
        assert "exhausted" in ask("GET", "/dead-letters").text
        sent = ask("POST", "/redrive", which="all", sure="yes", reason="exhausted")
        assert "1 redriven" in sent.text
        assert "text/css" in ask("GET", "/dashboard.css").headers["content-type"]


def asking(
    handler: ApiHandler, front: Callable[..., dict[str, Any]], more: dict[str, str] | None = None
) -> Callable[..., Answer]:
    host = front("GET", "/", {}, {}, None)["headers"].get("host")

    def ask(method: str, path: str, **given: str) -> Answer:
        headers = {name.lower(): value for name, value in BROWSER.items()} | (more or {})
        headers |= {"host": host or "shop.example.com", "x-forwarded-proto": "https"}
        body = None
        if method == "POST":
            headers |= {"origin": f"https://{headers['host']}", "content-type": "application/x-www-form-urlencoded"}
            body, given = urlencode(given), {}
        answer = handler(front(method, path, given, headers, body), Context(30.0))
        text = answer["body"]
        if answer["isBase64Encoded"]:
            text = base64.b64decode(text).decode()
        found = dict(answer.get("headers") or {})
        found |= {name: values[0] for name, values in (answer.get("multiValueHeaders") or {}).items()}
        found |= {"set-cookie": cookies[0]} if (cookies := answer.get("cookies")) else {}
        return Answer(answer["statusCode"], text, {name.lower(): value for name, value in found.items()})

    return ask
