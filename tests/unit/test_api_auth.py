"""Who may call the API: closed by default, tokens with scopes, IAM's word, and other sites kept out."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import Any

import pytest
from starlette.requests import HTTPConnection

from taskq_sls import ConfigError
from taskq_sls.web.auth import Authenticator, new_token
from taskq_sls.web.auth.authenticator import (
    MAX_FAILURES,
    MAX_SOURCES,
    WINDOW_SECONDS,
    LoginLimiter,
    iam_identity,
    source_of,
)
from taskq_sls.web.auth.tokens import read_tokens
from taskq_sls.web.problems import ProblemError
from taskq_sls.web.request_context import needs
from tests.support.api import api_app, served

ARN = "arn:aws:sts::123456789012:assumed-role/operator/ann"

FUNCTION_URL = {"version": "2.0", "requestContext": {"authorizer": {"iam": {"userArn": ARN}}}}


@pytest.fixture(autouse=True)
def without_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TASKQ_API_TOKENS", raising=False)
    monkeypatch.delenv("TASKQ_API_AUTH", raising=False)


def entry(scopes: list[str], **more: Any) -> tuple[str, dict[str, Any]]:
    token, digest = new_token()
    return token, {"hash": digest, "scopes": scopes, **more}


def connection(headers: dict[str, str] | None = None, event: Any = None, host: str = "203.0.113.7") -> HTTPConnection:
    raw = [(name.encode(), value.encode()) for name, value in (headers or {}).items()]
    return HTTPConnection({"type": "http", "headers": raw, "client": (host, 1), "aws.event": event})


def authenticator(now: list[float] | None = None, **options: Any) -> Authenticator:
    clock = now or [1_800_000_000.0]
    return Authenticator.load(lambda: clock[0], options.get("auth"), options.get("tokens"), options.get("iam_scopes"))


# -- closed -----------------------------------------------------------------------------------------------------


def test_without_authentication_there_is_no_api() -> None:
    with pytest.raises(ConfigError, match=r"never open.*taskq api-token new.*TASKQ_API_AUTH=iam"):
        api_app().api()


def test_tokens_that_were_asked_for_must_exist() -> None:
    with pytest.raises(ConfigError, match="there is none"):
        api_app().api(auth="tokens")


def test_a_way_to_authenticate_that_is_not_known_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASKQ_API_AUTH", "iam,none")

    with pytest.raises(ConfigError, match=r"'none'.*use iam, tokens, or both"):
        api_app().api()


def test_the_environment_configures_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASKQ_API_AUTH", "iam")

    assert authenticator().modes == {"iam"}


def test_nothing_but_the_health_check_answers_strangers() -> None:
    with served() as api:
        schema = api.client.get("/v1/openapi.json").json()
        answers = {
            f"{method} {path}": api.stranger.request(method.upper(), path.replace("{", "").replace("}", "")).status_code
            for path, methods in schema["paths"].items()
            for method in methods
        }
        answers["get /"] = api.stranger.get("/").status_code

    assert answers.pop("get /v1/health") == 200
    assert set(answers.values()) == {401}, answers


def test_every_route_names_the_scope_it_needs() -> None:
    with served() as api:
        router = api.client.app
        without = [
            route.path
            for route in _routes(router)
            if not any(one.dependency.__name__.startswith("needs_") for one in route.dependencies)
        ]

    assert without == ["/v1/health"]


def _routes(api: Any) -> list[Any]:
    found: list[Any] = []
    for route in api.routes:
        inner = getattr(route, "original_router", None)
        found += inner.routes if inner is not None else [route]
    return [route for route in found if hasattr(route, "dependencies")]


@pytest.mark.parametrize(
    ("who", "method", "path", "status"),
    [
        ("reader", "GET", "/v1/tasks", 200),
        ("reader", "POST", "/v1/tasks", 403),
        ("reader", "POST", "/v1/tasks/some/cancel", 403),
        ("sender", "GET", "/v1/tasks", 403),
        ("sender", "POST", "/v1/tasks", 422),
        ("sender", "POST", "/v1/dead-letters/purge", 403),
        ("reader", "DELETE", "/v1/dead-letters/default/x", 403),
        ("sender", "POST", "/v1/schedules", 403),
    ],
)
def test_a_token_may_do_what_its_scopes_say(who: str, method: str, path: str, status: int) -> None:
    with served() as api:
        answer = getattr(api, who).request(method, path, json={} if method == "POST" else None)

    assert answer.status_code == status
    if status == 403:
        assert answer.json()["type"] == "urn:taskq:problem:missing-scope"


def test_a_dependency_is_named_after_its_scope() -> None:
    assert needs("admin").__name__ == "needs_admin"


# -- tokens -----------------------------------------------------------------------------------------------------


def test_several_tokens_are_valid_at_once_so_that_they_can_be_rotated() -> None:
    old, old_entry = entry(["read"])
    new, new_entry = entry(["read", "enqueue"])
    both = authenticator(tokens={"ci-old": old_entry, "ci-new": new_entry})

    found = [both.principal(connection({"authorization": f"Bearer {token}"})) for token in (old, new)]

    assert [one.name for one in found] == ["ci-old", "ci-new"]
    assert found[1].scopes == {"read", "enqueue"}


def test_a_token_ends_at_its_time() -> None:
    now = [datetime(2026, 12, 31, 23, 59, tzinfo=UTC).timestamp()]
    token, expiring = entry(["read"], expires="2027-01-01T00:00:00Z")
    checked = authenticator(now, tokens={"ci": expiring})
    given = connection({"authorization": f"Bearer {token}"})

    assert checked.principal(given).name == "ci"
    now[0] += 60
    with pytest.raises(ProblemError, match="not valid, or has expired"):
        checked.principal(given)


def test_a_token_is_kept_as_its_hash_alone() -> None:
    token, configured = entry(["read"])

    assert token not in repr(configured) + repr(read_tokens({"ci": configured}))
    assert len(token) > 40


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("{", "TASKQ_API_TOKENS is not JSON"),
        ("[]", "must be a JSON object"),
        ({"a b": {}}, "1 to 64 letters"),
        ({"ci": {"hash": "tq_secret"}}, "must have hash and scopes"),
        ({"ci": {"hash": "tq_secret", "scopes": ["read"]}}, "taskq api-token new"),
        ({"ci": {"hash": "sha256:" + "0" * 64, "scopes": ["root"]}}, "read, enqueue, admin"),
        ({"ci": {"hash": "sha256:" + "0" * 64, "scopes": []}}, "at least one"),
        ({"ci": {"hash": "sha256:" + "0" * 64, "scopes": ["read"], "expires": "soon"}}, "2027-01-01T00:00:00Z"),
        ({"ci": {"hash": "sha256:" + "0" * 64, "scopes": ["read"], "expires": "2027-01-01"}}, "with its zone"),
    ],
)
def test_malformed_tokens_are_refused_at_the_start_without_being_repeated(given: Any, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as error:
        read_tokens(given)

    assert "secret" not in str(error.value)


@pytest.mark.parametrize("header", ["", "Basic YTpi", "Bearer", "Bearer   ", "tq_abc"])
def test_what_is_no_bearer_token_is_no_credential(header: str) -> None:
    _token, configured = entry(["read"])

    with pytest.raises(ProblemError, match="a token is needed") as error:
        authenticator(tokens={"ci": configured}).principal(connection({"authorization": header}))

    assert error.value.headers == {"WWW-Authenticate": "Bearer"}


# -- wrong tokens -----------------------------------------------------------------------------------------------


def test_many_wrong_tokens_have_their_source_refused_for_a_while() -> None:
    now = [1_800_000_000.0]
    token, configured = entry(["read"])
    checked = authenticator(now, tokens={"ci": configured})
    for _ in range(MAX_FAILURES):
        with pytest.raises(ProblemError, match="not valid"):
            checked.principal(connection({"authorization": "Bearer tq_wrong"}))

    good = {"authorization": f"Bearer {token}"}
    with pytest.raises(ProblemError) as refused:
        checked.principal(connection(good))
    assert refused.value.kind == "too-many-failures"
    assert refused.value.headers == {"Retry-After": "60"}
    assert checked.principal(connection(good, host="203.0.113.8")).name == "ci", "another source is not to blame"

    now[0] += WINDOW_SECONDS
    assert checked.principal(connection(good)).name == "ci"


def test_an_ipv6_network_is_one_source() -> None:
    failures = LoginLimiter()
    for number in range(MAX_FAILURES):
        failures.note(f"2001:db8::{number:x}", 0.0)

    assert failures.wait("2001:db8::ffff", 1.0) == WINDOW_SECONDS - 1
    assert failures.wait("2001:db8:0:1::1", 1.0) is None


def test_the_memory_for_failures_is_bounded() -> None:
    failures = LoginLimiter()
    for number in range(MAX_SOURCES + 10):
        failures.note(f"source-{number}", 0.0)

    assert len(failures._by_source) == MAX_SOURCES


def test_behind_a_load_balancer_the_address_is_the_one_that_it_wrote() -> None:
    given = connection({"x-forwarded-for": "1.2.3.4, 203.0.113.9"}, {"requestContext": {"elb": {}}})

    assert source_of(given) == "203.0.113.9"


def test_behind_a_load_balancer_a_second_header_hides_nothing() -> None:
    event: dict[str, Any] = {"requestContext": {"elb": {}}}
    headers = [(b"x-forwarded-for", b"1.2.3.4"), (b"x-forwarded-for", b"5.6.7.8, 203.0.113.9")]

    assert source_of(HTTPConnection({"type": "http", "headers": headers, "aws.event": event})) == "203.0.113.9"


@pytest.mark.parametrize(
    ("first", "second"), [("203.0.113.9:4711", "203.0.113.9:4712"), ("[2001:db8::1]:1", "[2001:db8::2]:2")]
)
def test_a_port_makes_no_other_source(first: str, second: str) -> None:
    failures = LoginLimiter()
    for _ in range(MAX_FAILURES):
        failures.note(first, 0.0)

    assert failures.wait(second, 1.0) == WINDOW_SECONDS - 1


# -- IAM --------------------------------------------------------------------------------------------------------


def test_iam_s_word_counts_where_it_was_asked_for() -> None:
    checked = authenticator(auth="iam", iam_scopes=["read"])

    found = checked.principal(connection(event=FUNCTION_URL))

    assert (found.name, found.scopes, found.by) == (ARN, {"read"}, "iam")


def test_a_rest_api_tells_the_caller_in_its_identity() -> None:
    event = {"resource": "/", "requestContext": {"identity": {"userArn": ARN}}}

    assert iam_identity(event) == ARN


@pytest.mark.parametrize(
    "event",
    [
        None,
        {"version": "2.0", "requestContext": {"http": {}}},
        {"requestContext": {"identity": {"userArn": None}}},
        {"requestContext": {"elb": {}, "identity": {"userArn": ARN}}},
    ],
)
def test_a_front_that_was_left_open_does_not_open_the_api(event: Any) -> None:
    with pytest.raises(ProblemError, match="takes IAM credentials"):
        authenticator(auth="iam").principal(connection({"authorization": "Bearer x"}, event))


def test_without_being_asked_for_iam_s_word_does_not_count() -> None:
    _token, configured = entry(["read"])

    with pytest.raises(ProblemError, match="a token is needed"):
        authenticator(tokens={"ci": configured}).principal(connection(event=FUNCTION_URL))


# -- other sites ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 202),
        ({"Origin": "https://api.example.com"}, 202),
        ({"Origin": "https://api.example.com", "Sec-Fetch-Site": "same-origin"}, 202),
        ({"Origin": "https://evil.example.org"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Origin": "https://tasks.example.com", "Sec-Fetch-Site": "cross-site"}, 202),
    ],
)
def test_a_change_that_another_site_sends_is_refused(headers: dict[str, str], status: int) -> None:
    with served(origins=["https://tasks.example.com"]) as api:
        body = {"task": "shop:resize", "args": ["a.png"]}

        assert api.client.post("/v1/tasks", json=body, headers=headers).status_code == status


def test_the_cookie_of_a_session_is_a_credential_and_changes_nothing_without_an_origin() -> None:
    with served() as api:
        body = {"task": "shop:resize", "args": ["a.png"]}
        own = {"Origin": "https://api.example.com"}
        assert api.stranger.get("/v1/tasks").status_code == 401
        api.stranger.post("/login", data={"token": api.token}, headers=own, follow_redirects=False)

        assert api.stranger.get("/v1/tasks").status_code == 200
        assert api.stranger.post("/v1/tasks", json=body).json()["type"] == "urn:taskq:problem:cross-site"
        assert api.stranger.post("/v1/tasks", json=body, headers=own).status_code == 202


def test_a_form_of_another_site_is_no_request() -> None:
    with served() as api:
        answer = api.client.post("/v1/tasks", data={"task": "shop:resize"})

    assert answer.status_code == 415


# -- what is told -----------------------------------------------------------------------------------------------


def test_every_answer_has_the_headers_that_protect_it() -> None:
    with served() as api:
        for answer in (api.client.get("/v1/tasks"), api.stranger.get("/v1/tasks"), api.client.get("/v1/none")):
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["cache-control"] == "no-store"
            assert "default-src 'none'" in answer.headers["content-security-policy"]
            assert answer.headers["strict-transport-security"].startswith("max-age=")
            assert "access-control-allow-origin" not in answer.headers


def test_no_log_line_tells_a_credential(caplog: pytest.LogCaptureFixture) -> None:
    with served() as api, caplog.at_level(logging.DEBUG):
        api.client.post("/v1/tasks", json={"task": "shop:login", "args": ["ann", "hunter2"]})
        api.client.post("/v1/tasks", json={"task": "shop:login", "args": ["ann", 7_777_777]})
        api.stranger.get("/v1/tasks", headers={"Authorization": "Bearer tq_guess"})
        api.memory.run_until_idle()

    for secret in (api.token, "hunter2", "7777777", "tq_guess"):
        assert secret not in caplog.text
