"""Fixtures of the tests in a real browser: `make browser`."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.support.api import served
from tests.support.browser import FLAGS, NAMES, Site, Tab, chromium, elsewhere, fill, watch

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium without a screen."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not here: run `make browser`")
    if (path := chromium()) is None:
        pytest.skip(f"no Chromium is here: none of {', '.join(NAMES)} is on the PATH, and CHROMIUM names none")
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield opened
        opened.close()


@pytest.fixture
def site() -> Iterator[Site]:
    """An app with a history, and its pages."""
    import uvicorn

    with served() as api:
        elsewhere(lambda: fill(api))
        with socket.create_server(("127.0.0.1", 0)) as listener:
            config = uvicorn.Config(api.client.app, lifespan="off", log_config=None, access_log=False)
            server = uvicorn.Server(config)
            thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
            thread.start()
            try:
                yield Site(api, f"http://127.0.0.1:{listener.getsockname()[1]}")
            finally:
                server.should_exit = True
                thread.join(10)


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """A browser that knows nothing yet; what takes longer than 15 s has failed."""
    opened = browser.new_context(viewport={"width": 1280, "height": 900})
    opened.set_default_timeout(15_000)
    yield opened
    opened.close()


@pytest.fixture
def tab(context: BrowserContext, site: Site) -> Iterator[Tab]:
    """A tab that is logged in. At the end nothing may have been said on its console, nor asked of another host."""
    page = context.new_page()
    faults: list[str] = []
    watch(page, site, faults)
    page.goto(f"{site.address}/login")
    page.get_by_label("Token").fill(site.api.token)
    page.get_by_role("button", name="Log in").click()
    page.get_by_role("heading", name="Overview", level=1).wait_for()
    yield Tab(page, site, faults)
    assert faults == []
