"""A real Chromium on the pages of an app in memory, and what goes wrong there.

Playwright is no part of the environment of the other tests, so it is imported where it is used. Its browser is the one
of the machine: CHROMIUM names it, or it is found on the PATH.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from taskq_sls.client.schedule_sync import sync
from taskq_sls.core.flow import drive
from taskq_sls.metrics.counters import BUCKETS, CounterKey, Counters
from taskq_sls.results.workers import RunningTask, WorkerReport
from tests.support.api import Served

if TYPE_CHECKING:
    from playwright.sync_api import ConsoleMessage, Page

T = TypeVar("T")

ARTIFACTS = Path(__file__).parents[2] / ".browser"
"""Where screenshots are kept; git ignores it."""

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

NAMES = ("chromium", "chromium-browser", "google-chrome")


def chromium() -> str | None:
    """The browser of this machine."""
    return os.environ.get("CHROMIUM") or next((path for name in NAMES if (path := shutil.which(name))), None)


class Site(NamedTuple):
    """The pages of an app, served on this machine."""

    api: Served
    address: str

    def run_tasks(self) -> None:
        """Run what waits in the queues."""
        elsewhere(self.api.memory.run_until_idle)


class Tab(NamedTuple):
    """One page of a browser, logged in, and what went wrong on it."""

    page: Page
    site: Site
    faults: list[str]

    def open(self, page: str = "") -> Page:
        """Go to one of the pages."""
        self.page.goto(f"{self.site.address}/{page}")
        return self.page

    def keep(self, name: str) -> None:
        """Keep a screenshot."""
        ARTIFACTS.mkdir(exist_ok=True)
        self.page.screenshot(path=ARTIFACTS / f"{name}.png", full_page=True)


def watch(page: Page, site: Site, faults: list[str]) -> None:
    """Note what goes wrong on a page, also what its security policy refuses."""

    def said(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            faults.append(f"console: {message.text}")

    def asked(request: Any) -> None:
        if not request.url.startswith((site.address, "data:")):
            faults.append(f"asked {request.url}")

    page.on("console", said)
    page.on("pageerror", lambda error: faults.append(f"error: {error}"))
    page.on("request", asked)


def fill(api: Served) -> None:
    """Give an app a history: tasks of all kinds, schedules, workers, counters."""
    app, memory = api.app, api.memory
    drive(sync(app, app.services.blocking()))
    for number in range(12):
        api.client.post("/v1/tasks", json={"task": "shop:resize", "args": [f"{number}.png"], "labels": {"shop": "a"}})
    _enqueue(api, "shop:login", "login-1", "mallory", "hunter2")
    _enqueue(api, "shop:login", "login-2", "mallory", "hunter2", labels={"tenant": "7"})
    _enqueue(api, "shop:anything", "child", "<script>document.title = 'stolen'</script>")
    memory.run_until_idle()
    api.client.post("/v1/schedules", json={"task": "shop:anything", "expression": "rate(3 hours)", "id": "often"})
    now = memory.clock.time()
    _enqueue(api, "shop:resize", "waiting", "later.png")
    report = WorkerReport("shop", "w1", "worker-host", 7, now - 100, now, 2, 10, 8, "0.1.0", ("default", "slow"))
    drive(memory.results.workers.beat(report._replace(oldest=(RunningTask("child", "shop:anything"),))))
    minute = int(now // 60) * 60
    for ago in range(50):
        failed = ago % 9 == 0
        histogram = tuple(3 if bucket == 4 + ago % 4 else 0 for bucket in range(BUCKETS))
        counted = Counters(
            3, 3 - failed, int(failed), ago % 3, 0, 0, 0, 0.9, 0.8 + ago % 4, 3, 1.5 + (ago % 7) / 3, histogram
        )
        store = memory.results.metrics
        assert store is not None
        drive(
            store.add(
                "shop", CounterKey(60, minute - 60 * ago, "shop:login" if failed else "shop:resize", "default"), counted
            )
        )


def _enqueue(api: Served, task: str, id: str, *args: str, **options: Any) -> None:
    """Send a task by code: an id that is given over HTTP is kept in a space of its caller."""
    found = api.app.registry.get(task)
    assert found is not None
    elsewhere(lambda: found.with_options(id=id, **options).enqueue(*args))


def elsewhere(function: Callable[[], T]) -> T:
    """Call something that drives the app, which Playwright's own event loop in this thread would keep from it."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(function).result()
