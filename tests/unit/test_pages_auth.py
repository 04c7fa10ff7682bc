"""Who sees the dashboard: log in with a token, a session that ends, and actions that other sites cannot send."""

from __future__ import annotations

import base64
import json
import logging
import string
from typing import Any

import pytest
from starlette.testclient import TestClient

from taskq_sls.errors import AwsError
from taskq_sls.web.auth import new_token
from taskq_sls.web.auth.authenticator import MAX_FAILURES
from taskq_sls.web.pages.routes import ACTIONS, LOGOUT, PAGES
from taskq_sls.web.pages.sessions import LIFETIME_SECONDS, PLAIN, SECURE
from tests.support.api import api_app, served
from tests.support.http_events import ARN, function_url
from tests.support.pages import BROWSER, SITE, Dashboard, browser_of, dashboard

OWN = {"Origin": SITE}


@pytest.fixture(autouse=True)
def without_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TASKQ_API_TOKENS", raising=False)
    monkeypatch.delenv("TASKQ_API_AUTH", raising=False)


def login(browser: Any, token: str, back: str = "") -> Any:
    return browser.post("/login", data={"token": token, "back": back}, headers=OWN, follow_redirects=False)


def status_of(site: Dashboard) -> int:
    return int(site.browser.get("/tasks", follow_redirects=False).status_code)


# -- in and out -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [*PAGES, *ACTIONS, LOGOUT])
def test_who_is_not_logged_in_is_sent_to_the_login(path: str) -> None:
    with served() as api:
        method = "GET" if path in PAGES else "POST"
        answer = browser_of(api).request(method, path, headers=OWN, follow_redirects=False)

    assert answer.status_code == 303
    assert answer.headers["location"].startswith("login")


def test_programs_that_ask_for_a_page_get_a_problem_document() -> None:
    with served() as api:
        answer = api.stranger.get("/tasks")

    assert (answer.status_code, answer.headers["content-type"]) == (401, "application/problem+json")


def test_after_the_login_comes_the_page_that_was_asked_for() -> None:
    with served() as api:
        browser = browser_of(api)
        sent = browser.get("/tasks?status=FAILED&label=a%3Db", follow_redirects=False).headers["location"]
        assert sent == "login?back=tasks%3Fstatus%3DFAILED%26label%3Da%253Db"

        answer = login(browser, api.token, "tasks?status=FAILED&label=a%3Db")

    assert answer.headers["location"] == "tasks?status=FAILED&label=a%3Db"


@pytest.mark.parametrize(
    "back",
    ["https://evil.example.org/", "//evil.example.org/tasks", "javascript:alert(1)", "/\\evil.example.org", "../x",
     "logout", "tasks\r\nX-Evil: 1", "v1/tasks"],
)  # fmt: skip
def test_the_login_leads_to_no_other_site(back: str) -> None:
    with served() as api:
        answer = login(browser_of(api), api.token, back)

    assert (answer.status_code, answer.headers["location"]) == (303, "./")


def test_the_session_is_a_cookie_that_scripts_and_other_sites_do_not_get_and_that_holds_no_token() -> None:
    with served() as api:
        cookie = login(browser_of(api), api.token).headers["set-cookie"]

    name, _, value = cookie.partition(";")[0].partition("=")
    assert name == SECURE == "__Host-taskq_session"
    for attribute in ("HttpOnly", "Secure", "SameSite=strict", "Path=/", f"Max-Age={LIFETIME_SECONDS}"):
        assert attribute in cookie
    assert "Domain" not in cookie
    id, ends = json.loads(base64.urlsafe_b64decode(value.partition(".")[0] + "==="))
    assert (len(id), ends) == (32, int(api.memory.clock.time()) + LIFETIME_SECONDS)
    assert api.token not in cookie


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]"])
def test_on_the_browser_s_own_machine_the_cookie_needs_no_https(host: str) -> None:
    with served() as api:
        browser = browser_of(api)
        browser.base_url = f"http://{host}:8000"
        answer = browser.post(
            "/login", data={"token": api.token}, headers={"Origin": f"http://{host}:8000"}, follow_redirects=False
        )

    assert answer.headers["set-cookie"].startswith(f"{PLAIN}=")
    assert "Secure" not in answer.headers["set-cookie"]


def test_logging_out_ends_the_session() -> None:
    with dashboard() as site:
        assert status_of(site) == 200
        answer = site.browser.post("/logout", headers=OWN, follow_redirects=False)

        assert answer.headers["location"] == "login"
        assert status_of(site) == 303


def test_logging_out_ends_copies_of_the_cookie_too_in_every_container() -> None:
    with dashboard() as site:
        (cookie,) = site.browser.cookies.jar
        copied = browser_of(
            site.api._replace(client=TestClient(site.api.app.api(tokens=authenticator_of(site)._tokens)))
        )
        copied.cookies.set(cookie.name, str(cookie.value))
        assert copied.get("/tasks", follow_redirects=False).status_code == 200

        site.browser.post("/logout", headers=OWN, follow_redirects=False)

        assert copied.get("/tasks", follow_redirects=False).status_code == 303
        login(site.browser, site.api.token)
        assert status_of(site) == 200


@pytest.mark.parametrize("spelling", ["last letter", "other letters"])
def test_a_logout_ends_the_same_session_in_another_spelling(spelling: str) -> None:
    with dashboard() as site:
        (cookie,) = site.browser.cookies.jar
        value = str(cookie.value)
        # The signature is base64: its last letter has bits that nothing reads, and letters of no meaning are skipped.
        letters = string.ascii_uppercase + string.ascii_lowercase + string.digits + "-_"
        other = value[:-1] + letters[letters.index(value[-1]) ^ 1] if spelling == "last letter" else value + "!!!!"
        assert other != value
        copied = browser_of(site.api)
        copied.cookies.set(cookie.name, other)
        assert copied.get("/tasks", follow_redirects=False).status_code == 200

        site.browser.post("/logout", headers=OWN, follow_redirects=False)

        assert copied.get("/tasks", follow_redirects=False).status_code == 303


def test_a_logout_that_cannot_be_noted_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(*given: Any) -> Any:
        raise AwsError("put_item", "Throttled", "slow down", transient=True)

    with dashboard() as site:
        monkeypatch.setattr(type(site.api.memory.results), "lock_key", refuse)

        answer = site.browser.post("/logout", headers=OWN, follow_redirects=False)

        assert (answer.status_code, "put_item: Throttled" in answer.text) == (503, True)
        assert "Max-Age=0" in answer.headers["set-cookie"]


@pytest.mark.parametrize("back", ["tasks?task=größe", "tasks?label=a=\u6771\u4eac", "//[", "http://[x"])
def test_a_way_back_in_any_letters_leads_somewhere(back: str) -> None:
    with served() as api:
        answer = login(browser_of(api), api.token, back)

    assert answer.status_code == 303
    assert answer.headers["location"].isascii()


def test_a_login_that_is_no_login_is_refused_by_its_size() -> None:
    with served() as api:
        answer = login(browser_of(api), api.token, "x" * 6_000_000)

    assert (answer.status_code, len(answer.content) < 20_000) == (413, True)


@pytest.mark.parametrize(("name", "value"), [("host", "[]"), ("host", "[::"), ("origin", "http://[")])
@pytest.mark.parametrize("path", ["/login", "/tasks", "/v1/queues", "/logout", "/cancel"])
def test_a_header_that_names_no_host_is_the_callers_fault(name: str, value: str, path: str) -> None:
    with dashboard() as site:
        for method in ("GET", "POST"):
            answer = site.browser.request(method, path, headers={name: value}, follow_redirects=False)
            assert answer.status_code < 500


# -- sessions ---------------------------------------------------------------------------------------------------


def test_a_session_ends_with_its_time() -> None:
    with dashboard() as site:
        site.api.memory.travel(LIFETIME_SECONDS - 1)
        assert status_of(site) == 200
        site.api.memory.travel(1)
        assert status_of(site) == 303


def test_a_session_holds_in_every_container_and_over_midnight() -> None:
    with dashboard() as site:
        site.api.memory.travel(14 * 3600)
        login(site.browser, site.api.token)
        (cookie,) = site.browser.cookies.jar
        site.api.memory.travel(LIFETIME_SECONDS - 60)
        another = site.api.app.api(tokens=authenticator_of(site)._tokens, auth="tokens")
        elsewhere = browser_of(site.api._replace(client=TestClient(another)))
        elsewhere.cookies.set(cookie.name, str(cookie.value))

        assert elsewhere.get("/tasks", follow_redirects=False).status_code == 200


def authenticator_of(site: Dashboard) -> Any:
    application: Any = site.api.client.app
    return next(middleware.kwargs["authenticator"] for middleware in application.user_middleware)


def test_a_session_ends_when_its_token_is_taken_away_or_changed() -> None:
    with dashboard() as site:
        authenticator = authenticator_of(site)
        known = authenticator._tokens

        authenticator._tokens = tuple(token for token in known if token.name != "boss")
        assert status_of(site) == 303
        authenticator._tokens = tuple(token._replace(digest=b"x" * 32) for token in known)
        assert status_of(site) == 303
        authenticator._tokens = tuple(token._replace(expires=site.api.memory.clock.time()) for token in known)
        assert status_of(site) == 303
        authenticator._tokens = known
        assert status_of(site) == 200


@pytest.mark.parametrize(
    "value",
    ["", ".", "..", "boss", "eyJ4IjoxfQ", "W10.W10", ".eJyLBgAAXABc.AAAA", "WyJhIiw5OTk5OTk5OTk5OV0." + "A" * 43,
     "WyJhIiw5OTk5OTk5OTk5OV0.%C3%A9"],
)  # fmt: skip
def test_a_cookie_that_was_made_up_is_no_session(value: str) -> None:
    with served() as api:
        browser = browser_of(api)
        browser.cookies.set(SECURE, value)

        assert browser.get("/tasks", follow_redirects=False).status_code == 303


def test_a_cookie_whose_id_end_or_signature_was_changed_is_no_session() -> None:
    with served() as api:
        browser = browser_of(api)
        login(browser, api.token)
        (cookie,) = browser.cookies.jar
        payload, _, signature = str(cookie.value).partition(".")
        id, ends = json.loads(base64.urlsafe_b64decode(payload + "==="))
        browser.cookies.clear()
        for content, signed in (
            ([id, ends - 1], signature),
            (["0" * 32, ends], signature),
            ([id, ends], ""),
            ([id, ends], "A" * 43),
        ):
            changed = base64.urlsafe_b64encode(json.dumps(content, separators=(",", ":")).encode()).decode().rstrip("=")
            browser.cookies.set(SECURE, f"{changed}.{signed}")
            assert browser.get("/tasks", follow_redirects=False).status_code == 303
        browser.cookies.set(SECURE, f"{payload}.{signature}")
        assert browser.get("/tasks", follow_redirects=False).status_code == 200


def test_while_the_table_cannot_be_reached_nobody_is_logged_in_and_the_login_says_why(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def refuse(*given: Any) -> Any:
        raise AwsError("put_item", "Throttled", "slow down", transient=True)

    with served() as api:
        monkeypatch.setattr(type(api.memory.results), "lock_key", refuse)

        answer = login(browser_of(api), api.token)

    assert answer.status_code == 503
    assert "put_item: Throttled" in answer.text
    assert "set-cookie" not in answer.headers


# -- wrong tokens -----------------------------------------------------------------------------------------------


def test_a_wrong_token_is_told_and_many_of_them_are_refused_unread(caplog: pytest.LogCaptureFixture) -> None:
    with served() as api, caplog.at_level(logging.DEBUG):
        browser = browser_of(api)
        answer = login(browser, "tq_guess")
        assert (answer.status_code, "not valid" in answer.text) == (401, True)
        assert "tq_guess" not in answer.text
        for _ in range(MAX_FAILURES):
            answer = login(browser, "tq_guess")

        assert answer.status_code == 429
        assert answer.headers["retry-after"] == "60"
        assert login(browser, api.token).status_code == 429
    assert "tq_guess" not in caplog.text


# -- other sites ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [*ACTIONS, "/logout", "/login"])
@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example.org", "Sec-Fetch-Site": "cross-site"},
        {"Origin": "null", "Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_what_another_site_sends_changes_nothing(path: str, headers: dict[str, str]) -> None:
    with dashboard() as site:
        answer = site.browser.post(path, data={"token": site.api.token, "id": "x"}, headers=headers)

        assert answer.status_code == 403
        assert "came from another site" in answer.text
        assert status_of(site) == 200


def test_a_program_that_has_the_cookie_says_its_origin() -> None:
    with dashboard() as site:
        (cookie,) = site.browser.cookies.jar
        site.api.stranger.cookies.set(cookie.name, str(cookie.value))

        assert site.api.stranger.post("/cancel", data={"id": "x"}).status_code == 403
        assert site.api.stranger.post("/cancel", data={"id": "x"}, headers=OWN).status_code == 404


def test_actions_are_forms_and_nothing_else() -> None:
    with dashboard() as site:
        for path in ACTIONS:
            answer = site.browser.post(path, json={"id": "x"}, headers=OWN)
            assert (answer.status_code, "the body must be a form" in answer.text) == (400, True)
            looked = site.browser.get(path, headers=OWN, follow_redirects=False)
            assert (looked.status_code, looked.headers["location"]) == (303, ACTIONS[path].page)


# -- scopes -----------------------------------------------------------------------------------------------------


@pytest.fixture
def reader() -> Any:
    with served() as api:
        token, digest = new_token()
        tokens = {"reader": {"hash": digest, "scopes": ["read"]}}
        browser = browser_of(api._replace(client=TestClient(api.app.api(tokens=tokens, auth="tokens"))))
        login(browser, token)
        api.app.ref("shop:login").with_options(id="t1").enqueue("mallory", "x")
        api.memory.run_until_idle()
        yield browser


def test_who_may_only_read_sees_no_button(reader: Any) -> None:
    for page in ("/", "/tasks", "/task?id=t1", "/schedules", "/dead-letters"):
        answer = reader.get(page)
        assert answer.status_code == 200, page
        assert answer.text.count('method="post"') == 1, "to log out"


@pytest.mark.parametrize("path", ACTIONS)
def test_who_may_only_read_changes_nothing(reader: Any, path: str) -> None:
    answer = reader.post(path, data={"id": "t1", "which": "all", "sure": "yes"}, headers=OWN)

    assert answer.status_code == 403
    assert "this needs the scope admin" in answer.text


def test_who_may_only_enqueue_sees_nothing() -> None:
    with served() as api:
        browser = browser_of(api)
        login(browser, api.sender.headers["authorization"].removeprefix("Bearer "))

        answer = browser.get("/tasks")

    assert (answer.status_code, "this needs the scope read" in answer.text) == (403, True)


# -- what protects a page ---------------------------------------------------------------------------------------


def test_pages_run_no_script_but_their_own_and_stand_in_no_frame() -> None:
    with dashboard() as site:
        for path in (*PAGES, "/login"):
            headers = site.browser.get(path).headers
            policy = headers["content-security-policy"]
            assert "default-src 'none'" in policy
            assert "script-src 'self'" in policy
            assert "unsafe" not in policy
            assert "frame-ancestors 'none'" in policy
            assert "form-action 'self'" in policy
            assert headers["cache-control"] == "no-store"
            assert headers["referrer-policy"] == "same-origin", "or browsers would not tell the origin of a form"


def test_style_and_script_are_kept_by_browsers_under_the_name_of_their_content() -> None:
    with served() as api:
        page = browser_of(api).get("/login").text
        for name in ("dashboard.css", "dashboard.js"):
            address = page.partition(f'"{name}')[2].partition('"')[0]
            assert address.startswith("?v=")
            answer = api.stranger.get(f"/{name}{address}")
            assert answer.status_code == 200
            assert "immutable" in answer.headers["cache-control"]


def test_pages_are_no_part_of_the_api_s_description() -> None:
    with served() as api:
        assert all(path.startswith("/v1/") for path in api.client.get("/v1/openapi.json").json()["paths"])


def test_an_api_without_pages_has_none() -> None:
    with served(pages=False) as api:
        browser = browser_of(api)
        browser.headers["Authorization"] = f"Bearer {api.token}"

        assert browser.get("/").status_code == 404
        assert browser.get("/login").status_code == 404


# -- IAM --------------------------------------------------------------------------------------------------------


def test_with_iam_there_is_no_login_and_the_front_says_who_looks() -> None:
    with served(auth="iam") as api:
        browser = browser_of(api)
        for path in ("/", "/login"):
            answer = browser.get(path, follow_redirects=False)
            assert (answer.status_code, "No valid credentials" in answer.text) == (401, True)

        with api.app.api_handler(auth="iam") as handler:
            page = handler(function_url("GET", "/tasks", {}, BROWSER, None, iam=True), None)
    assert (page["statusCode"], page["isBase64Encoded"]) == (200, False)
    assert ARN in page["body"]
    assert "Log out" not in page["body"]


def test_behind_a_base_path_every_address_is_still_one_of_the_pages() -> None:
    app = api_app()
    with dashboard(app) as site:
        for path in PAGES:
            page = site.browser.get(path).text
            for attribute in ('href="', 'src="', 'action="'):
                for address in page.split(attribute)[1:]:
                    assert not address.startswith(("/", "http")), address[:80]
