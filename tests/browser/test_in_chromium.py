"""The pages in a real browser: log in, look, act; on a screen, on a phone, in the dark, by keyboard."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.support.browser import Site, Tab, elsewhere, watch

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

pytestmark = pytest.mark.browser

PAGES = {
    "overview": "",
    "tasks": "tasks",
    "task-succeeded": "task?id=child",
    "task-failed": "task?id=login-1&arguments=1&children=1",
    "schedules": "schedules",
    "dead-letters": "dead-letters",
}

LOOKS: dict[str, dict[str, Any]] = {
    "screen": {"viewport": {"width": 1280, "height": 900}},
    "phone": {
        "viewport": {"width": 360, "height": 740},
        "device_scale_factor": 2,
        "is_mobile": True,
        "has_touch": True,
    },
    "dark": {"viewport": {"width": 1280, "height": 900}, "color_scheme": "dark"},
}


def expect(page: Page, text: str) -> None:
    page.get_by_text(text).first.wait_for()


def logged_in(page: Page, site: Site) -> None:
    page.goto(f"{site.address}/login")
    page.get_by_label("Token").fill(site.api.token)
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Overview", level=1).wait_for()


# -- to read ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("look", LOOKS)
def test_every_page_can_be_read_by_assistive_technology_and_fits(browser: Browser, site: Site, look: str) -> None:
    from axe_playwright_python.sync_playwright import Axe

    context = browser.new_context(**LOOKS[look])
    context.set_default_timeout(15_000)
    page = context.new_page()
    faults: list[str] = []
    watch(page, site, faults)
    tab = Tab(page, site, faults)
    found: dict[str, Any] = {}
    try:
        tab.open("login")
        tab.keep(f"login-{look}")
        found["login"] = problems(Axe().run(page))
        logged_in(page, site)
        for name, path in PAGES.items():
            tab.open(path)
            for summary in page.locator("summary").all():
                summary.click()
            tab.keep(f"{name}-{look}")
            found[name] = problems(Axe().run(page))
            wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
            if wide > 0:
                found[name].append(f"{wide} px wider than the window")
    finally:
        context.close()

    assert {name: faults for name, faults in found.items() if faults} == {}
    assert faults == []


def problems(results: Any) -> list[str]:
    """What axe-core found, in a line each."""
    return [
        f"{one['id']}: {one['help']}: {[node['html'][:120] for node in one['nodes'][:3]]}"
        for one in results.response["violations"]
    ]


def test_the_keyboard_is_enough(tab: Tab) -> None:
    page = tab.open("tasks")

    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "content"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.name") == "q"
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"


# -- log in and out ---------------------------------------------------------------------------------------------


def test_who_is_not_logged_in_comes_back_to_the_page_that_was_asked_for(context: BrowserContext, site: Site) -> None:
    page = context.new_page()

    page.goto(f"{site.address}/tasks?status=FAILED")
    page.get_by_label("Token").fill("tq_wrong")
    page.get_by_role("button", name="Log in").click()
    expect(page, "This token is not valid")
    page.get_by_label("Token").fill(site.api.token)
    page.get_by_role("button", name="Log in").click()

    page.get_by_role("heading", name="Tasks", level=1).wait_for()
    assert page.url == f"{site.address}/tasks?status=FAILED"
    (cookie,) = context.cookies()
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
    assert page.evaluate("document.cookie") == ""
    page.get_by_role("button", name="Log out").click()
    page.get_by_role("heading", name="Log in", level=1).wait_for()
    assert context.cookies() == []


# -- tasks ------------------------------------------------------------------------------------------------------


def test_tasks_are_filtered_found_by_id_and_paged(tab: Tab) -> None:
    page = tab.open("tasks")

    page.get_by_label("Status").select_option("FAILED")
    page.get_by_role("button", name="Search").click()
    page.get_by_role("link", name="login-2").wait_for()
    assert page.get_by_role("row").count() == 3
    page.get_by_label("Label").fill("tenant=7")
    page.get_by_role("button", name="Search").click()
    page.wait_for_url("**label=tenant**")
    assert page.get_by_role("row").count() == 2
    page.get_by_label("Task or id").fill("child")
    page.get_by_role("button", name="Search").click()
    page.get_by_role("heading", name="shop:anything", level=1).wait_for()


def test_a_list_of_tasks_shows_what_changes_while_it_is_looked_at(tab: Tab) -> None:
    page = tab.open("tasks")
    link = page.get_by_role("link", name="waiting", exact=True)
    link.focus()
    assert page.get_by_role("status").inner_text() == ""

    tab.site.run_tasks()
    row = page.get_by_role("row").filter(has=link)
    row.get_by_text("SUCCEEDED").wait_for()

    assert "changed" in page.get_by_role("status").inner_text()
    assert page.evaluate("document.activeElement.textContent") == "waiting", "the focus stays where it was"


def test_looking_again_keeps_what_is_open_focused_and_scrolled(tab: Tab) -> None:
    page = tab.open()
    figures = page.locator("summary").first
    figures.click()
    page.mouse.wheel(0, 300)
    page.wait_for_function("scrollY > 0")
    page.wait_for_timeout(300)
    before = page.evaluate("scrollY")
    assert before > 0
    page.evaluate("document.getElementById('live').dataset.every = 1")
    page.get_by_label("Update every").uncheck()
    page.get_by_label("Update every").check()
    figures.focus()
    page.evaluate(f"scrollTo(0, {before})")

    tab.site.run_tasks()
    page.get_by_role("status").filter(has_text="changed").wait_for()

    assert page.evaluate("document.activeElement.tagName") == "SUMMARY"
    assert page.locator("details").first.evaluate("one => one.open")
    assert page.evaluate("scrollY") == before


def test_text_that_is_being_marked_is_not_taken_away(tab: Tab) -> None:
    page = tab.open("tasks")
    page.evaluate("document.getElementById('live').dataset.every = 1")
    page.get_by_label("Update every").uncheck()
    page.get_by_label("Update every").check()
    page.evaluate("getSelection().selectAllChildren(document.querySelector('#live tbody tr'))")

    tab.site.run_tasks()
    page.wait_for_timeout(2_500)
    assert "QUEUED" in page.locator("#live").inner_text()

    page.evaluate("getSelection().removeAllRanges()")
    page.get_by_role("row").filter(has_text="waiting").get_by_text("SUCCEEDED").wait_for()


def test_a_page_that_nobody_sees_does_not_ask(tab: Tab) -> None:
    page = tab.open("tasks")
    page.evaluate(
        "Object.defineProperty(document, 'hidden', {get: () => true});"
        "document.dispatchEvent(new Event('visibilitychange'))"
    )
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))

    page.wait_for_timeout(6_000)

    assert asked == []


def test_what_a_task_was_given_stays_text(tab: Tab) -> None:
    page = tab.page

    for path in PAGES.values():
        tab.open(path)
        assert page.title() != "stolen"


def test_a_task_is_cancelled_and_another_runs_again(tab: Tab) -> None:
    page = tab.open("task?id=waiting")
    page.get_by_role("button", name="Cancel").click()
    expect(page, "The task was cancelled and will not run again.")

    tab.open("task?id=waiting")
    page.locator("summary", has_text="Run it again").click()
    page.get_by_label("Positional arguments").fill('["again.png"]')
    page.get_by_role("button", name="Run it again").click()
    expect(page, "A new task was sent in place of the old one.")
    tab.keep("task-run-again")


def test_the_arguments_of_a_failed_task_are_shown_and_hide_secrets(tab: Tab) -> None:
    page = tab.open("task?id=login-1")

    shown = page.get_by_role("region", name="Arguments").inner_text()

    assert "mallory" in shown
    assert "[redacted]" in shown
    assert "hunter2" not in page.content()


# -- schedules --------------------------------------------------------------------------------------------------


def test_a_schedule_is_paused_and_resumed(tab: Tab) -> None:
    page = tab.open("schedules")
    assert page.get_by_role("img", name="runs in the next 24 hours").count() >= 1

    page.get_by_role("button", name="Pause").first.click()
    expect(page, "The schedule is paused.")
    page.get_by_role("button", name="Resume").first.click()
    expect(page, "The schedule was resumed.")


# -- dead letters -----------------------------------------------------------------------------------------------


def test_dead_letters_are_chosen_sent_back_at_a_rate_and_deleted(tab: Tab) -> None:
    page = tab.open("dead-letters")
    page.get_by_role("link", name="exhausted").first.click()
    page.get_by_label("Select login-1").check()
    page.get_by_label("Messages per second").fill("50")
    page.get_by_role("button", name="Redrive selected").click()
    expect(page, "1 redriven")
    tab.keep("redriven")

    page.get_by_role("link", name="Dead letters").first.click()
    page.get_by_label("Select all shown").check()
    page.get_by_role("button", name="Delete selected").click()
    page.get_by_role("heading", name="Delete dead letters?").wait_for()
    tab.keep("purge-asks")
    page.get_by_role("button", name="Delete for good").click()
    expect(page, "1 deleted")


def test_what_one_request_cannot_send_back_goes_on_by_itself_until_it_is_stopped(tab: Tab) -> None:
    for number in range(28):
        body = {"task": "shop:login", "args": ["mallory", "x"], "id": f"more-{number}"}
        assert tab.site.api.client.post("/v1/tasks", json=body).status_code == 202
    tab.site.run_tasks()
    elsewhere(lambda: tab.site.api.memory.travel(1))
    page = tab.open("dead-letters")
    page.get_by_label("Messages per second").fill("1")
    page.get_by_role("button", name="Redrive all matching").click()
    page.get_by_role("button", name="Redrive", exact=True).click()
    page.get_by_text("Continues in 1 s.").wait_for()
    tab.keep("redrive-goes-on")
    page.get_by_text("26 in all").wait_for()
    page.get_by_role("button", name="Stop").click()
    expect(page, "Stopped.")
    page.wait_for_timeout(1_500)

    assert page.get_by_text("26 in all").is_visible()
    page.get_by_role("button", name="Redrive the next ones").click()
    expect(page, "30 in all")


def test_the_arguments_of_a_dead_letter_are_edited(tab: Tab) -> None:
    page = tab.open("dead-letters")
    page.get_by_role("link", name="login-2").click()
    page.locator("summary", has_text="Edit the arguments").click()
    tab.keep("dead-letter")

    page.get_by_role("button", name="Redrive with changes").click()
    expect(page, "the mask of a redacted one")
    page.go_back()
    page.locator("summary", has_text="Edit the arguments").click()
    page.get_by_label("Positional arguments").fill('["ann", "a new password"]')
    page.get_by_role("button", name="Redrive with changes").click()
    expect(page, "1 redriven")
    tab.site.run_tasks()
    tab.open("task?id=login-2")
    expect(page, "SUCCEEDED")
    tab.faults[:] = [one for one in tab.faults if "422" not in one]  # Chromium tells of every answer above 399
