"""A browser without a screen, as far as a client can be one, on the pages of an app in memory."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from starlette.testclient import TestClient

from taskq_sls import TaskQ
from tests.support.api import Served, served

SITE = "https://api.example.com"

BROWSER = {"Accept": "text/html,application/xhtml+xml", "Sec-Fetch-Site": "same-origin"}
"""What a browser says of itself."""


class Dashboard(NamedTuple):
    """The pages of an app in memory, and somebody who is logged in with all scopes."""

    api: Served
    browser: TestClient

    def get(self, page: str, **query: Any) -> str:
        """A page that must be there."""
        answer = self.browser.get(page, params=query)
        assert answer.status_code == 200, (answer.status_code, answer.text[-2000:])
        return answer.text

    def post(self, page: str, **form: Any) -> Any:
        """Send a form, as a browser does; a redirect is followed."""
        return self.browser.post(page, data=form, headers={"Origin": SITE})


@contextmanager
def dashboard(app: TaskQ | None = None, **options: Any) -> Iterator[Dashboard]:
    """Serve an app in memory, with somebody who is logged in."""
    with served(app, **options) as api:
        browser = browser_of(api)
        answer = browser.post("/login", data={"token": api.token}, headers={"Origin": SITE})
        assert answer.status_code == 200, answer.text
        yield Dashboard(api, browser)


def browser_of(api: Served) -> TestClient:
    """A browser that is not logged in."""
    return TestClient(api.client.app, base_url=SITE, headers=BROWSER)


def text_of(page: str) -> str:
    """What a reader sees, without markup; entities stay."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", page))
