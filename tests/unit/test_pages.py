"""The dashboard's pages: what each shows, that markup of tasks stays text, and that a page reads a bounded number of items."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, cast

import pytest

from taskq_sls import Queue, Retry, TaskContext, TaskQ
from taskq_sls.brokers.base import EntryError
from taskq_sls.client.schedule_sync import sync
from taskq_sls.core.context import Progress
from taskq_sls.core.flow import call_sync, drive
from taskq_sls.core.message import ErrorInfo
from taskq_sls.core.redaction import MASK
from taskq_sls.core.states import State
from taskq_sls.core.times import DAY
from taskq_sls.errors import AwsError
from taskq_sls.metrics.counters import BUCKETS, CounterKey, Counters
from taskq_sls.results.base import Page, Query
from taskq_sls.results.records import AttemptEnd, Claim, Fence
from taskq_sls.results.workers import RunningTask, WorkerReport
from taskq_sls.web.pages import dead_letters as pages
from taskq_sls.web.pages import search
from taskq_sls.web.pages.routes import ACTIONS, PAGES
from tests.support.pages import Dashboard, dashboard, text_of

SCRIPT = "<script>alert('stolen')</script>"


@pytest.fixture
def site() -> Iterator[Dashboard]:
    with dashboard() as one:
        yield one


def send(site: Dashboard, task: str, *args: Any, **more: Any) -> str:
    answer = site.api.client.post("/v1/tasks", json={"task": task, "args": list(args), **more})
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def claim(site: Dashboard, id: str, **more: Any) -> Fence:
    """Let an attempt of a task begin that no queue holds."""
    now = site.api.memory.clock.time()
    fields = {"run": 0, "task": "shop:resize", "queue": "default", "owner": f"owner-{id}", "max_attempts": 3, **more}
    drive(
        site.api.memory.results.claim(
            Claim(id=id, now=now, lease_until=now + 60, ttl=now + 20 * DAY, enqueued_at=now, **fields)
        )
    )
    return Fence(id, 0, 1, f"owner-{id}")


def end(site: Dashboard, id: str, state: State = State.SUCCEEDED, **more: Any) -> None:
    now = site.api.memory.clock.time()
    drive(site.api.memory.results.finish(claim(site, id, **more), AttemptEnd(state, now, now + 20 * DAY)))


# -- overview ---------------------------------------------------------------------------------------------------


def test_the_overview_shows_queues_workers_failures_and_what_was_counted(site: Dashboard) -> None:
    send(site, "shop:login", "mallory", "hunter2")
    site.api.memory.run_until_idle()
    send(site, "shop:resize", "a.png")
    now = site.api.memory.clock.time()
    report = WorkerReport("shop", "w1", "host", 7, now - 100, now, 2, 10, 8, "0.1.0", ("default",))
    drive(site.api.memory.results.workers.beat(report._replace(oldest=(RunningTask("t1", "shop:resize"),))))
    histogram = tuple(4 if bucket == 5 else 0 for bucket in range(BUCKETS))
    counted = Counters(5, 3, 1, 1, 0, 0, 0, 0.8, 0.25, 4, 2.0, histogram)
    store = site.api.memory.results.metrics
    assert store is not None
    drive(store.add("shop", CounterKey(60, int(now) - 120, "shop:resize", "default"), counted))

    page = site.get("/")

    assert 'href="tasks?q=shop%3Aresize&amp;status=FAILED"' in page, "the failed tasks of a name"
    text = text_of(page)
    assert "default 1 0 0 - 1" in text, "waiting, in flight, delayed, age, dead letters"
    assert "shop:login" in text
    assert "PermissionError: not here" in text
    assert "host 7 default 2 of 8 10 shop:resize" in text
    assert "15 Jan 07:58 3 1 1" in text, "the figures of the chart stand in its table too"
    assert "15 Jan 07:58 500 ms" in text, "how long tasks waited"
    assert "shop:resize 1 1 40%" in text, "what fails most"


def test_a_chart_tells_its_figures_to_those_who_do_not_see_it(site: Dashboard) -> None:
    page = site.get("/", span="24h")

    charts = re.findall(r'<svg[^>]*role="img"[^>]*aria-labelledby="([^"]+)"', page)
    assert len(charts) == 3
    for ids in charts:
        for id in ids.split():
            assert f'id="{id}"' in page


def test_what_cannot_be_read_does_not_hide_the_rest_of_the_overview(
    site: Dashboard, monkeypatch: pytest.MonkeyPatch
) -> None:
    send(site, "shop:login", "mallory", "x")
    site.api.memory.run_until_idle()

    async def refuse(*given: Any) -> Any:
        raise AwsError("get_queue_attributes", "AccessDenied", "arn:aws:iam::1:role/secret may not", transient=False)

    monkeypatch.setattr(type(site.api.memory.broker), "depth", refuse)
    page = site.get("/")
    assert "A call to AWS was refused: get_queue_attributes: AccessDenied" in page
    assert "PermissionError: not here" in page
    assert "arn:" not in page

    for owner, name in (
        (type(site.api.memory.results), "list"),
        (type(site.api.memory.results.workers), "alive"),
        (type(site.api.memory.results.metrics), "read"),
    ):
        monkeypatch.setattr(owner, name, lambda *given, **more: refuse())
    assert site.browser.get("/").status_code == 502, "nothing at all"


def test_an_unknown_span_is_the_last_hour(site: Dashboard) -> None:
    assert "The last hour" in site.get("/", span="<b>")


# -- tasks ------------------------------------------------------------------------------------------------------


def ids_of(page: str) -> list[str]:
    return re.findall(r'href="task\?id=([^"&]+)"', page)


def test_tasks_are_found_by_status_name_time_label_and_id(site: Dashboard) -> None:
    first = send(site, "shop:resize", "a.png", labels={"tenant": "7", "shop": "a"})
    site.api.memory.travel(1)
    second = send(site, "shop:login", "mallory", "x")
    site.api.memory.run_until_idle()
    site.api.memory.travel(3600)
    third = send(site, "shop:anything")

    assert ids_of(site.get("/tasks")) == [third, second, first]
    assert ids_of(site.get("/tasks", status="FAILED")) == [second]
    assert ids_of(site.get("/tasks", status="QUEUED")) == [third]
    assert ids_of(site.get("/tasks", q="RESI")) == [first]
    assert ids_of(site.get("/tasks", q="resi", status="SUCCEEDED")) == [first]
    assert ids_of(site.get("/tasks", q="login", status="SUCCEEDED")) == []
    assert ids_of(site.get("/tasks", **{"from": "2027-01-15T08:30"})) == [third]
    assert ids_of(site.get("/tasks", to="2027-01-15T08:30")) == [second, first]
    assert ids_of(site.get("/tasks", label="tenant=7")) == [first]
    assert ids_of(site.get("/tasks", label=["tenant=7", "shop=a"], status="SUCCEEDED", q="resize")) == [first]
    assert ids_of(site.get("/tasks", label=["tenant=7", "shop=b"])) == []
    assert ids_of(site.get("/tasks", label=["shop=b", "tenant=7"])) == []
    assert "<h1>shop:resize</h1>" in site.get("/tasks", q=first)
    assert "No matching tasks." in site.get("/tasks", q="nothing like it")


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ({"status": "DONE"}, "must be one of QUEUED"),
        ({"from": "yesterday"}, "must be a time"),
        ({"label": "tenant"}, "must be name=value"),
        ({"cursor": "x"}, "is not a cursor"),
    ],
)
def test_what_is_wrong_with_a_search_is_told_on_a_page(site: Dashboard, query: dict[str, str], says: str) -> None:
    answer = site.browser.get("/tasks", params=query)

    assert answer.status_code == 422
    assert answer.headers["content-type"].startswith("text/html")
    assert says in answer.text


def test_older_tasks_are_on_the_next_page(site: Dashboard) -> None:
    for number in range(search.PAGE_SIZE + 10):
        end(site, f"t-{number:03}")
        site.api.memory.travel(1)

    first = site.browser.get("/tasks", params={"page": "1"}).text
    (following,) = re.findall(r'href="(tasks\?cursor=[^"]+)"', first)
    second = site.browser.get(f"/{following}").text

    assert len(ids_of(first)) == search.PAGE_SIZE
    assert ids_of(second) == [f"t-{number:03}" for number in range(9, -1, -1)]
    assert "Older tasks" not in second
    assert 'id="live-switch"' in first
    assert 'id="live-switch"' not in second, "an older page does not change"


def following(page: str, text: str) -> str:
    """Where a link of that text leads; empty where there is none."""
    return "/" + found[0].replace("&amp;", "&") if (found := re.findall(rf'href="([^"]+)">{text}<', page)) else ""


def test_a_look_for_what_is_rare_reads_a_bounded_number_of_records(
    site: Dashboard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "MAX_RECORDS_READ", 40)
    end(site, "rare", labels={"tenant": "7", "shop": "a"})
    for number in range(60):
        site.api.memory.travel(1)
        end(site, f"t-{number}")
    read: list[int] = []
    original = type(site.api.memory.results).list

    async def counted(self: Any, query: Query, *, now: float) -> Page:
        page = await original(self, query, now=now)
        read.append(len(page))
        return page

    monkeypatch.setattr(type(site.api.memory.results), "list", counted)

    page = site.get("/tasks", label=["tenant=7", "shop=a"])

    assert read == [40]
    assert ids_of(page) == []
    assert "Searched 40 tasks, back to 2027-01-15 08:00:21 . Older tasks were not searched." in text_of(page)
    assert ids_of(site.browser.get(following(page, "Older tasks")).text) == ["rare"]


@pytest.mark.parametrize("query", [{"q": "resize", "status": "SUCCEEDED"}, {"q": "resize", "status": "FAILED"}])
def test_what_fits_in_part_is_paged_without_loss(
    site: Dashboard, monkeypatch: pytest.MonkeyPatch, query: dict[str, str]
) -> None:
    monkeypatch.setattr(search, "PAGE_SIZE", 4)
    monkeypatch.setattr(search, "MAX_RECORDS_READ", 12)
    state = State(query["status"])
    for number in range(20):
        end(site, f"t-{number}", state, task="shop:resize" if number % 3 else "shop:login")
        site.api.memory.travel(0.5 * (number % 2))
    page = site.get("/tasks", **query)
    seen = ids_of(page)
    while way := following(page, "Older tasks"):
        page = site.browser.get(way).text
        assert len(ids_of(page)) <= 4
        seen += ids_of(page)

    assert sorted(seen) == sorted(f"t-{number}" for number in range(20) if number % 3)


def many_tasks(number: int = 3 * search.MAX_NAMES) -> TaskQ:
    app = TaskQ("shop", queues=[Queue("default")])
    for place in range(number):
        app.task(name=f"shop:task-{place}", http=True, record="queued" if place == 25 else "started")(lambda: None)
    return app


def test_an_app_of_many_tasks_shows_what_waits_and_runs_too_and_where_it_looked() -> None:
    with dashboard(many_tasks()) as site:
        done = [send(site, f"shop:task-{place}") for place in range(3)]
        site.api.memory.run_until_idle()
        waiting = send(site, "shop:task-25")
        claim(site, "busy", task="shop:task-28")
        claim(site, "long", task="shop:task-27")
        claim(site, "hidden", task="shop:task-26")
        now = site.api.memory.clock.time()
        store = site.api.memory.results.metrics
        assert store is not None
        drive(store.add("shop", CounterKey(60, int(now) - 60, "shop:task-28", "default"), Counters(9)))
        report = WorkerReport("shop", "w1", "host", 7, now, now, oldest=(RunningTask("long", "shop:task-27"),))
        drive(site.api.memory.results.workers.beat(report))

        page = site.get("/tasks")

        assert set(ids_of(page)) == {*done, waiting, "busy", "long"}
        assert page.index("Queued or running, newest first") < page.index(waiting) < page.index(done[0])
        assert "the newest 100 tasks of 5 of 30 task names, busiest first shop:task-28 shop:task-0 " in text_of(page)

        found, looks = set[str](), 0
        way = following(page, "Search all names")
        while way:
            page, looks = site.browser.get(way).text, looks + 1
            found |= set(ids_of(page))
            way = following(page, "Search the next names")
        assert (found, looks) == ({waiting, "busy", "long", "hidden"}, 3)


def test_a_look_among_many_names_asks_for_a_part_of_them_and_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, ...]] = []
    with dashboard(many_tasks()) as site:
        original = type(site.api.memory.results).list

        async def noted(self: Any, query: Query, *, now: float) -> Page:
            asked.append(query.tasks)
            return await original(self, query, now=now)

        monkeypatch.setattr(type(site.api.memory.results), "list", noted)
        claim(site, "late", task="shop:task-29")

        page = site.get("/tasks", q="task-2", status="RUNNING")
        assert "Searched 10 of 11 task names shop:task-2 shop:task-20 " in text_of(page)
        page = site.browser.get(following(page, "Search the next names")).text

    assert ids_of(page) == ["late"]
    assert following(page, "Search the next names") == ""
    assert [len(names) for names in asked] == [10, 1]


def test_a_label_in_an_app_of_many_tasks_is_looked_for_in_what_has_ended_and_then_in_the_rest() -> None:
    with dashboard(many_tasks()) as site:
        claim(site, "runs", task="shop:task-0", labels={"tenant": "7"})
        end(site, "ended", task="shop:task-1", labels={"tenant": "7"})

        page = site.get("/tasks", label="tenant=7")

        assert ids_of(page) == ["ended"]
        assert "Only tasks that have ended or wait for a retry are shown." in page
        assert ids_of(site.browser.get(following(page, "Find queued and running tasks")).text) == ["runs"]


def test_an_app_without_tasks_of_its_own_shows_what_others_ran() -> None:
    with dashboard(TaskQ("shop", queues=[Queue("default")])) as site:
        end(site, "t1", task="elsewhere:task")

        assert ids_of(site.get("/tasks")) == ["t1"]
        assert "No matching tasks." in site.get("/tasks", status="open")


def test_many_states_together_are_paged_without_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "PAGE_SIZE", 4)
    monkeypatch.setattr(search, "MAX_NAMES", 1)
    with dashboard() as site:
        for number in range(11):
            end(site, f"t-{number}", (State.SUCCEEDED, State.FAILED, State.CANCELLED)[number % 3])
            site.api.memory.travel(1)
        seen: list[str] = []
        way = "/tasks"
        while way:
            page = site.browser.get(way).text
            seen += ids_of(page)
            way = following(page, "Older tasks")

    assert seen == [f"t-{number}" for number in range(10, -1, -1)]


# -- one task ---------------------------------------------------------------------------------------------------


def test_a_task_shows_its_result_its_life_and_its_labels(site: Dashboard) -> None:
    id = send(site, "shop:resize", "a.png", labels={"tenant": "7"})
    site.api.memory.travel(90)
    site.api.memory.run_until_idle()

    text = text_of(site.get("/task", id=id))

    assert "SUCCEEDED" in text
    assert "tenant=7" in text
    assert "&quot;path&quot;: &quot;a.png&quot;" in text
    assert "08:00:00 enqueued 2027-01-15 08:01:30 attempt 1 started after 1 min 30 s" in text


def test_a_task_that_runs_shows_its_progress_and_is_looked_at_again_until_it_ends(site: Dashboard) -> None:
    fence = claim(site, "t1")
    now = site.api.memory.clock.time()
    drive(site.api.memory.results.renew(fence, now=now, lease_until=now + 60, progress=Progress(3, 10, "pages")))

    page = site.get("/task", id="t1")
    assert '<progress value="3" max="10"' in page or '<progress value="3.0" max="10.0"' in page
    assert "3 of 10 pages" in text_of(page)
    assert 'data-every="5"' in page

    drive(site.api.memory.results.finish(fence, AttemptEnd(State.SUCCEEDED, now, now + 20 * DAY)))
    assert "data-every" not in site.get("/task", id="t1")


def test_the_arguments_of_a_task_are_shown_without_what_is_hidden(site: Dashboard) -> None:
    id = send(site, "shop:login", "mallory", "hunter2", kwargs={"options": {"password": "hunter3"}})
    site.api.memory.run_until_idle()

    page = site.get("/task", id=id)

    assert "mallory" in page
    assert page.count(MASK) == 2
    assert "hunter" not in page
    told = site.api.client.get(f"/v1/tasks/{id}").json()
    assert told["arguments"] == {"args": ["mallory", MASK], "kwargs": {"options": {"password": MASK}}}


def test_arguments_that_are_not_recorded_come_from_the_dead_letter(site: Dashboard) -> None:
    id = send(site, "shop:login", "mallory", "x" * 500, kwargs={"options": {"password": "hunter3", "long": "y" * 500}})
    site.api.memory.run_until_idle()

    page = site.get("/task", id=id)
    assert "above 400 bytes" in page
    assert "mallory" not in page
    page = site.browser.get(following(page, "Find the dead letter, which has them")).text

    assert "mallory" in page
    assert page.count(MASK) == 2
    assert "hunter" not in page


def test_what_a_task_is_repeated_with_begins_with_its_arguments(site: Dashboard) -> None:
    id = send(site, "shop:resize", "a.png", kwargs={"width": 7})
    site.api.memory.run_until_idle()

    page = site.get("/task", id=id)

    assert re.findall(r"<textarea[^>]*>\s*([^<]*)<", page) == ["[&quot;a.png&quot;]", "{&quot;width&quot;: 7}"]


def test_a_task_shows_its_attempts_and_those_that_left_no_word(site: Dashboard) -> None:
    memory = site.api.memory
    for attempt in (1, 2, 3, 4):
        now = memory.clock.time()
        drive(
            memory.results.claim(
                Claim("t1", 0, "shop:resize", "default", f"o{attempt}", now, now + 5, 9, now + 20 * DAY, now)
            )
        )
        memory.travel(10)
        if attempt != 2:  # whose process was lost
            now = memory.clock.time()
            error = ErrorInfo("TimeoutError", f"<b>no answer</b> {attempt}", "")
            drive(
                memory.results.finish(
                    Fence("t1", 0, attempt, f"o{attempt}"),
                    AttemptEnd(State.RETRYING, now, now + 20 * DAY, error=error, next_at=now, started_at=now - 10),
                )
            )
        memory.travel(60)

    waiting = text_of(site.get("/task", id="t1"))
    assert "attempt 1 failed: TimeoutError: &lt;b&gt;no answer&lt;/b&gt; 1 after 10.0 s" in waiting
    assert "attempt 2: unknown end" in waiting
    assert "08:02:20 attempt 3 started" in waiting
    assert "attempt 4 failed: TimeoutError: &lt;b&gt;no answer&lt;/b&gt; 4" in waiting
    assert waiting.count("attempt 4 started") == 1
    told = site.api.client.get("/v1/tasks/t1").json()["attempts"]
    assert [(one["attempt"], one["started_at"]) for one in told] == [
        (1, "2027-01-15T08:00:00Z"),
        (3, "2027-01-15T08:02:20Z"),
        (4, "2027-01-15T08:03:30Z"),
    ]

    assert "The task was cancelled" in site.post("/cancel", id="t1").text
    ended = text_of(site.get("/task", id="t1"))
    assert ended.count("CANCELLED") == 2, "as the state, and at the end of the timeline"
    assert "attempt 4 CANCELLED" not in ended


def test_parent_and_children_are_found() -> None:
    app = TaskQ("shop", queues=[Queue("default")])

    @app.task(name="shop:leaf")
    def leaf() -> None: ...

    @app.task(name="shop:tree", http=True)
    def tree(context: TaskContext) -> None:
        leaf.enqueue()

    with dashboard(app) as site:
        parent = send(site, "shop:tree")
        site.api.memory.run_until_idle()
        (child,) = (one.id for one in call_sync("list", site.api.memory.results.list(Query(("shop:leaf",)), now=0.0)))

        assert child not in site.get("/task", id=parent)
        assert child in ids_of(site.get("/task", id=parent, children=1))
        assert f"Enqueued by {parent}" in text_of(site.get("/task", id=child))


def test_children_are_looked_for_to_the_end_a_part_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "MAX_RECORDS_READ", 5)
    with dashboard(many_tasks()) as site:
        fence = claim(site, "parent", task="shop:task-3")
        for number in range(12):
            site.api.memory.travel(1)
            end(site, f"child-{number}", task=f"shop:task-{number % 2 * 25}", parent="parent")
            end(site, f"other-{number}", task="shop:task-0")
        now = site.api.memory.clock.time()
        drive(site.api.memory.results.finish(fence, AttemptEnd(State.SUCCEEDED, now, now + 20 * DAY)))
        site.api.memory.travel(60)
        end(site, "again", task="shop:task-3", parent="parent")

        seen, ways = set[str](), ["/task?id=parent&children=1"]
        while ways:
            page = site.browser.get(ways.pop()).text
            assert "task names" in page
            seen |= set(ids_of(page)) - {"parent"}
            ways += [way for text in ("Older tasks", "Search the next names") if (way := following(page, text))]

        assert seen == {f"child-{number}" for number in range(12)}
        assert "again" in ids_of(site.browser.get(following(page, "Find tasks that repeat it")).text)


def test_a_task_without_a_record_is_told_of(site: Dashboard) -> None:
    answer = site.browser.get("/task", params={"id": "nobody"})

    assert answer.status_code == 404
    assert "the task has not started yet" in answer.text


# -- actions on tasks -------------------------------------------------------------------------------------------


def test_a_task_that_waits_is_cancelled(site: Dashboard) -> None:
    id = send(site, "shop:resize", "a.png")

    answer = site.post("/cancel", id=id)

    assert "The task was cancelled" in answer.text
    assert "CANCELLED" in answer.text


def test_a_task_that_failed_runs_again_as_its_dead_letter(site: Dashboard) -> None:
    id = send(site, "shop:login", "mallory", "x")
    site.api.memory.run_until_idle()

    answer = site.post("/retry", id=id, args='["ann", "x"]', kwargs="")
    site.api.memory.run_until_idle()

    assert "The dead letter was redriven" in answer.text
    assert "SUCCEEDED" in site.get("/task", id=id)


def test_a_task_that_ended_is_sent_anew_with_the_arguments_given(site: Dashboard) -> None:
    id = send(site, "shop:resize", "a.png")
    site.api.memory.run_until_idle()

    assert "A new task was sent" in site.post("/retry", id=id, args='["b.png"]').text
    site.api.memory.run_until_idle()
    new = next(one for one in ids_of(site.get("/tasks")) if one != id)
    assert "b.png" in site.get("/task", id=new)


@pytest.mark.parametrize(
    ("form", "status", "says"),
    [
        ({"args": "{}"}, 422, "args must be a list"),
        ({"args": "[1"}, 422, "args cannot be read as JSON"),
        ({"args": "[NaN]"}, 422, "NaN is not JSON"),
        ({"kwargs": "[]"}, 422, "kwargs must be an object"),
        ({"args": f'["{MASK}"]'}, 422, "give the real value"),
        ({"args": "x" * 3}, 422, "args cannot be read as JSON"),
        ({"id": ""}, 422, "the form lacks id"),
    ],
)
def test_what_is_wrong_with_a_retry_is_told_on_a_page(
    site: Dashboard, form: dict[str, str], status: int, says: str
) -> None:
    id = send(site, "shop:resize", "a.png")
    site.api.memory.run_until_idle()

    answer = site.post("/retry", **{"id": id, **form})

    assert (answer.status_code, answer.headers["content-type"]) == (status, "text/html; charset=utf-8")
    assert says in answer.text


# -- schedules --------------------------------------------------------------------------------------------------


def test_schedules_show_their_next_runs_and_are_paused_and_resumed(site: Dashboard) -> None:
    call_sync("sync", sync(site.api.app, site.api.app.services.blocking()))
    body = {"task": "shop:anything", "expression": "rate(6 hours)", "id": "often"}
    assert site.api.client.post("/v1/schedules", json=body).status_code == 201

    page = site.get("/schedules")
    text = text_of(page)
    assert "declared in code" in text
    assert "created at run time" in text
    assert 'aria-label="4 runs in the next 24 hours, the first at 14:00 UTC"' in page
    assert "2027-01-15 14:00:00 shop:anything" in text

    name = re.findall(r'name="name" value="(r-[^"]+)"', page)[0]
    assert "The schedule is paused." in site.post("/pause", name=name).text
    assert "no runs in the next 24 hours" in site.get("/schedules")
    assert "The schedule was resumed." in site.post("/resume", name=name).text


def test_without_a_scheduler_the_page_says_what_to_configure(site: Dashboard) -> None:
    site.api.memory.scheduler = False
    site.api.app.services = cast(Any, type(site.api.app.services))(site.api.memory)

    answer = site.browser.get("/schedules")

    assert answer.status_code == 501
    assert "TASKQ_SCHEDULE_ROLE_ARN" in answer.text


# -- dead letters -----------------------------------------------------------------------------------------------


def dead(site: Dashboard, count: int = 3) -> list[str]:
    login = site.api.app.registry.get("shop:login")
    assert login is not None
    ids = [login.with_options(id=f"dead-{number}").enqueue("mallory", "x").id for number in range(count)]
    site.api.memory.run_until_idle()
    return ids


def messages_of(site: Dashboard) -> dict[str, str]:
    listed = site.api.client.get("/v1/dead-letters").json()["dead_letters"]
    return {one["id"]: one["message_id"] for one in listed}


def test_dead_letters_are_grouped_and_filtered(site: Dashboard) -> None:
    dead(site)

    text = text_of(site.get("/dead-letters"))

    assert "exhausted shop:login PermissionError default-dlq 3" in text
    assert "3 shown; 3 received." in text
    assert "dead-1" in site.get("/dead-letters", queue="default", task="shop:login", reason="exhausted")
    assert "dead-1" not in site.get("/dead-letters", reason="crashed")
    assert len(site.api.memory.dead_letters()) == 3, "a look leaves them where they are"


def test_the_chosen_dead_letters_are_sent_back_at_a_rate(site: Dashboard) -> None:
    dead(site)
    chosen = messages_of(site)

    answer = site.post("/redrive", message=[chosen["dead-0"], chosen["dead-2"]], rate="100")

    assert "2 redriven" in answer.text
    assert [one.message_id for one in site.api.memory.dead_letters()] == [chosen["dead-1"]]


def test_all_that_fit_are_sent_back_when_that_is_confirmed(site: Dashboard) -> None:
    dead(site)

    asked = site.post("/redrive", which="all", reason="exhausted", queue="default")
    assert "Redrive all?" in asked.text
    assert "with reason exhausted" in asked.text
    assert len(site.api.memory.dead_letters()) == 3

    assert "3 redriven" in site.post("/redrive", which="all", reason="exhausted", sure="yes").text
    assert site.api.memory.dead_letters() == []


def test_a_rate_that_one_request_cannot_keep_up_with_is_gone_on_with(site: Dashboard) -> None:
    dead(site, 5)

    answer = site.post("/redrive", which="all", rate="0.2", sure="yes")

    assert "Redrive the next ones" in answer.text
    assert 'name="rate" value="0.2"' in answer.text
    assert 0 < len(site.api.memory.dead_letters()) < 5


def test_what_goes_on_by_itself_does_not_send_back_again_what_has_failed_again(site: Dashboard) -> None:
    dead(site, 5)
    site.api.memory.travel(1)
    form: dict[str, Any] = {"which": "all", "rate": "0.2", "sure": "yes"}
    told: list[str] = []
    while form:
        answer = site.post("/redrive", **form)
        told += re.findall(r"(\d+ redriven(?:, \d in all)?)", answer.text)
        waits = re.findall(r'data-again="([^"]+)"', answer.text)
        form = dict(re.findall(r'name="([^"]+)" value="([^"]*)"', answer.text)) if waits else {}
        assert set(waits) <= {"5.0"}, "the rate holds between two requests too"
        site.api.memory.travel(5)
        site.api.memory.run_until_idle()

    assert told[-1].endswith("5 in all")
    assert len(told) > 2
    assert len(site.api.memory.dead_letters()) == 5, "they failed as before, and wait for somebody to look"


def test_what_cannot_be_sent_back_does_not_go_on_by_itself(site: Dashboard, monkeypatch: pytest.MonkeyPatch) -> None:
    dead(site, 3)

    async def refuse(self: Any, messages: Sequence[Any]) -> Any:
        return [EntryError("Throttled", "try again", transient=True) for _ in messages]

    monkeypatch.setattr(type(site.api.memory.broker), "send", refuse)
    answer = site.post("/redrive", which="all", rate="0.2", sure="yes")

    assert "Not redriven" in answer.text
    assert "Redrive the next ones" in answer.text
    assert "data-again" not in answer.text


def test_reasons_are_grouped_over_more_than_a_page_when_that_is_asked_for(
    site: Dashboard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "MAX_SHOWN", 5)
    dead(site, 25)

    page = site.get("/dead-letters", queue="default")
    assert "exhausted shop:login PermissionError default-dlq 5" in text_of(page)
    page = site.browser.get(following(page, "Group up to 2,000")).text

    assert "exhausted shop:login PermissionError default-dlq 25" in text_of(page)
    assert "5 shown; 25 received." in text_of(page)
    assert "Group up to" not in page
    assert len(site.api.memory.dead_letters()) == 25


def test_dead_letters_are_deleted_only_when_that_is_confirmed(site: Dashboard) -> None:
    dead(site)
    chosen = messages_of(site)

    asked = site.post("/purge", message=chosen["dead-0"])
    assert "One dead letter will be deleted for good" in asked.text
    assert len(site.api.memory.dead_letters()) == 3

    assert "1 deleted" in site.post("/purge", message=chosen["dead-0"], sure="yes").text
    assert len(site.api.memory.dead_letters()) == 2


def test_nothing_chosen_is_nothing_done(site: Dashboard) -> None:
    dead(site, 1)

    for action in ("/redrive", "/purge"):
        answer = site.post(action, sure="yes")
        assert (answer.status_code, "no dead letter is selected" in answer.text) == (422, True)
    assert len(site.api.memory.dead_letters()) == 1


def test_a_dead_letter_is_inspected_and_its_arguments_are_edited(site: Dashboard) -> None:
    dead(site, 1)
    message = messages_of(site)["dead-0"]

    page = site.get("/dead-letter", queue="default-dlq", message=message)
    assert MASK in page
    assert "PermissionError" in page
    assert "Traceback" in page

    kept = {"queue": "default-dlq", "message": message, "edit": "yes", "kwargs": "{}", "labels": '{"by": "ann"}'}
    assert "a redacted one" in site.post("/redrive", **kept, args=f'["ann", "{MASK}"]').text
    assert "1 redriven" in site.post("/redrive", **kept, args='["ann", "y"]').text
    site.api.memory.run_until_idle()
    done = site.get("/task", id="dead-0")
    assert "SUCCEEDED" in done
    assert "by=ann" in done


def test_sent_back_as_it_is_a_dead_letter_keeps_its_arguments(site: Dashboard) -> None:
    dead(site, 1)

    site.post("/redrive", queue="default-dlq", message=messages_of(site)["dead-0"])
    site.api.memory.run_until_idle()

    assert "PermissionError" in site.get("/task", id="dead-0"), "it fails as before"


# -- markup of others -------------------------------------------------------------------------------------------


def test_markup_in_names_arguments_errors_labels_and_searches_stays_text() -> None:
    app = TaskQ("shop", queues=[Queue("default")])

    @app.task(name="shop:bad", http=True, record="queued", retry=Retry(max_attempts=1))
    def bad(text: str) -> None:
        raise ValueError(f"{text}")

    @app.task(name="shop:echo", http=True, record="queued")
    def echo(text: str) -> str:
        return text

    with dashboard(app) as site:
        attack = f"\"'>{SCRIPT}</textarea></title>"
        failed = send(site, "shop:bad", attack, labels={attack[:60]: attack})
        done = send(site, "shop:echo", attack)
        site.api.memory.run_until_idle()
        drive(site.api.memory.results.claim(Claim("odd", 0, SCRIPT, attack, "o", 1.8e9, 1.8e9 + 60, 3, 1.9e9, 1.8e9)))
        message = messages_of(site)[failed]
        pages = [
            site.get("/"),
            site.get("/tasks"),
            site.get("/tasks", q=attack),
            site.get("/tasks", label=f"x={attack}", to="2027-01-15T08:30"),
            site.get("/task", id=failed, arguments=1, children=1),
            site.get("/task", id=done),
            site.get("/task", id="odd"),
            site.get("/dead-letters"),
            site.get("/dead-letters", reason=attack, task=attack, label=f"x={attack}"),
            site.get("/dead-letter", queue="default-dlq", message=message),
            site.browser.get("/tasks", params={"status": attack}).text,
            site.browser.get("/dead-letters", params={"queue": attack}).text,
            site.browser.get("/login", params={"back": attack}).text,
            site.post("/redrive", which="all", reason=attack, task=attack, label=f"x={attack}", queue="default").text,
            site.post("/redrive", message=attack, sure="yes", queue="default").text,
            site.post("/pause", name=attack).text,
        ]

    for page in pages:
        assert "<script>" not in page
        assert page.count("</title>") == 1 + 3 * page.count('class="charts"')
        assert page.count("</textarea>") == page.count("<textarea")
        assert not re.search(r"<[^>]*\son\w+=", page)
    assert any("&lt;script&gt;" in page for page in pages)


def test_half_of_a_surrogate_pair_breaks_no_page(site: Dashboard) -> None:
    send(site, "shop:anything", labels={"x": "y"}, id="odd")
    site.api.memory.run_until_idle()
    claimed = claim(site, "worse")
    finish = AttemptEnd(State.SUCCEEDED, 1.8e9, 1.9e9, result_json='"\\ud800"')
    drive(site.api.memory.results.finish(claimed, finish))

    assert "SUCCEEDED" in site.get("/task", id="worse")


# -- looking again ----------------------------------------------------------------------------------------------


def test_a_page_that_has_not_changed_is_not_sent_again(site: Dashboard) -> None:
    id = send(site, "shop:resize", "a.png")
    (mark,) = re.findall(r'data-mark="([^"]+)"', site.get("/tasks"))
    asked = {"Taskq-Part": "live", "If-None-Match": mark.replace("&quot;", '"')}

    same = site.browser.get("/tasks", headers=asked)
    assert (same.status_code, same.content) == (304, b"")

    site.api.memory.run_until_idle()
    changed = site.browser.get("/tasks", headers=asked)
    assert changed.status_code == 200
    assert changed.headers["etag"] != asked["If-None-Match"]
    assert ids_of(changed.text) == [id]
    assert "<html" not in changed.text, "only the part that changes"


def test_every_page_and_action_says_which_scope_it_needs() -> None:
    assert {one.scope for one in PAGES.values()} == {"read"}
    assert {one.scope for one in ACTIONS.values()} == {"admin"}


@pytest.mark.parametrize("state", ["PAUSED", "UNREADABLE"])
def test_a_record_that_this_version_cannot_act_upon_is_shown_with_the_others(site: Dashboard, state: str) -> None:
    id, other = send(site, "shop:resize", "a.png"), send(site, "shop:resize", "b.png")
    site.api.memory.run_until_idle()
    row = site.api.memory.results._rows[id]
    row.status, row.error = State.read(state), ErrorInfo("UnreadableRecord", "its attribute 'labels' cannot be read")

    listed = {one["id"]: one["status"] for one in site.api.client.get("/v1/tasks").json()["tasks"]}
    shown = site.api.client.get(f"/v1/tasks/{id}").json()

    assert (listed[id], listed[other]) == (state, "SUCCEEDED")
    assert (shown["status"], shown["done"], shown["error"]["type"]) == (state, False, "UnreadableRecord")
    assert state in text_of(site.get("/tasks"))
    assert state in text_of(site.get("/task", id=id))
    assert site.get("/")
