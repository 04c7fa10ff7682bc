"""Templates of all kinds of apps, and of those for which there can be none."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from taskq_sls import Queue, Schedule, TaskQ, cron, rate
from taskq_sls.deploy.template import Plan, TemplateOptions, render
from taskq_sls.deploy.template.intrinsics import queue_id
from taskq_sls.errors import ConfigError
from tests.support.template import Stack
from tests.support.template_apps import AWKWARD, full_app

ROOT = Path(__file__).parents[2]

NOW = datetime(2027, 6, 1, tzinfo=UTC).timestamp()


def queues_of(stack: Stack) -> set[str]:
    return {stack.name_of(name) for name in stack.of_type("AWS::SQS::Queue")}


def test_an_app_of_defaults_has_queues_and_state_but_no_function() -> None:
    app = TaskQ("shop")
    stack = Stack(render(app))

    assert stack.functions == {}
    assert queues_of(stack) == {"shop-default", "shop-default-dlq", "shop-schedules-dlq"}
    assert stack.of_type("AWS::DynamoDB::Table")
    assert "TaskPolicy" not in stack.resources, "IAM takes no policy without roles"
    [note] = Plan.of(app, TemplateOptions()).notes(NOW)
    assert "Queue('default', function_timeout=60)" in note


def test_a_long_name_leaves_room_for_a_prefix_or_is_refused() -> None:
    longest = "q" * 60
    stack = Stack(render(TaskQ("shop", queues=[Queue(longest, function_timeout=1)])))
    limit = stack.template["Parameters"]["Prefix"]["MaxLength"]
    assert (
        max(len(name) for name in queues_of(Stack(render(TaskQ("x", queues=[Queue(longest)])), Prefix="p" * limit)))
        == 80
    )

    with pytest.raises(ConfigError, match=r"app 'a{40}'.*80 characters"):
        render(TaskQ("a" * 40, queues=[Queue(longest)]))


@pytest.mark.parametrize("name", ["_", "-x-", "0", "A" * 40, "null", "yes", "1e3", "no-"])
def test_odd_names_of_an_app_stay_what_they_are(name: str) -> None:
    app = TaskQ(name, queues=[Queue("default", function_timeout=60)])

    @app.task(name="tidy", schedule=rate("1 day"))
    def tidy() -> None: ...

    stack = Stack(render(app))

    assert stack.name_of("DefaultQueue") == f"{name}-default"
    assert stack.name_of("ScheduleGroup") == name
    [schedule] = stack.of_type("AWS::Scheduler::Schedule").values()
    assert schedule["Name"] == app.schedules[0].name


def test_names_that_differ_little_are_resources_that_differ() -> None:
    names = ["a-b", "a_b", "aB", "ab", "Ab", "a-b.fifo", "a-b-fifo", "a1", "a-1", "-", "_", "yes", "1", "-.fifo"]
    stack = Stack(render(TaskQ("shop", queues=[Queue(name, function_timeout=9) for name in names])))

    assert queues_of(stack) >= {f"shop-{name}" for name in names}
    assert len(stack.functions) == len(names)
    assert all(id.isalnum() for id in stack.resources), "CloudFormation takes letters and digits"


def test_a_new_queue_changes_no_other_s_id() -> None:
    assert [queue_id(name) for name in ("default", "images-slow", "ledger.fifo")] == [
        "Default",
        "ImagesSlow",
        "LedgerFifo",
    ]


def test_queues_named_like_things_of_the_stack_are_kept_apart() -> None:
    names = ["schedule", "events", "failed", "tasks", "payload", "dashboard", "default-worker", "default"]
    stack = Stack(render(TaskQ("shop", queues=[Queue(name, function_timeout=9) for name in names])))

    assert queues_of(stack) >= {f"shop-{name}" for name in names}


@pytest.mark.parametrize(
    ("queue", "options"),
    [("eventbridge-events", TemplateOptions()), ("api", TemplateOptions(api="handlers.api.handler"))],
)
def test_a_queue_whose_logs_would_be_those_of_another_function_is_refused(queue: str, options: TemplateOptions) -> None:
    app = TaskQ("shop", queues=[Queue(queue, function_timeout=9)])

    @app.on_event(source="orders")
    @app.task(name="pay")
    def pay() -> None: ...

    with pytest.raises(ConfigError, match=rf"both have the LogGroupName.*/{queue}'; give the queue another name"):
        render(app, options)


def test_a_queue_whose_alarm_would_be_that_of_schedules_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"both have the AlarmName.*schedules-target-errors"):
        render(TaskQ("shop", queues=[Queue("schedules-target", function_timeout=9)]))


def test_urls_that_do_not_fit_into_a_function_s_variables_are_left_out_and_may_be_asked_for() -> None:
    app = TaskQ("shop", queues=[Queue(f"queue-{number}", function_timeout=60) for number in range(18)])
    stack = Stack(render(app))

    for name, function in stack.functions.items():
        assert "TASKQ_QUEUE_URLS" not in function["Environment"]["Variables"]
        asked = [one for one in stack.statements(stack.function_role(name)) if "sqs:GetQueueUrl" in one["Action"]]
        found = {
            arn for one in asked for arn in ([one["Resource"]] if isinstance(one["Resource"], str) else one["Resource"])
        }
        assert {stack.arn(f"{queue_id(queue)}Queue") for queue in app.queues} < found


def test_an_app_that_is_too_large_for_a_stack_is_refused_with_a_way_out() -> None:
    app = TaskQ("shop", queues=[Queue(f"queue-{number}", function_timeout=60) for number in range(60)])
    with pytest.raises(ConfigError, match=r"\d{3} resources; CloudFormation takes 500: let tasks .* share a queue"):
        render(app)


def test_schedules_that_are_too_many_can_be_left_to_the_command() -> None:
    app = TaskQ("shop", queues=[Queue("default", function_timeout=60)])

    @app.task(name="tidy", schedule=[Schedule(rate("1 day"), args=(number,)) for number in range(500)])
    def tidy(number: int) -> None: ...

    with pytest.raises(ConfigError, match=r"500 of them are schedules: render with --without-schedules"):
        render(app)
    stack = Stack(render(app, TemplateOptions(schedules=False)))
    assert not stack.of_type("AWS::Scheduler::Schedule")
    assert "ScheduleGroup" in stack.resources


def test_a_task_that_outlives_its_function_is_refused() -> None:
    app = TaskQ("shop", queues=[Queue("default", function_timeout=60)])

    @app.task(name="slow", timeout=60)
    def slow() -> None: ...

    assert "slow: timeout=60 is never reached" in "".join(Plan.of(app, TemplateOptions()).notes(NOW))
    app.queues["default"] = Queue("default", function_timeout=59)
    with pytest.raises(
        ConfigError, match="task slow: timeout=60 is longer than function_timeout=59 of queue 'default'"
    ):
        render(app)


def test_a_start_that_has_passed_is_told_since_aws_refuses_it() -> None:
    app = TaskQ("shop", queues=[Queue("default", function_timeout=60)])

    @app.task(name="tidy", schedule=cron("0 12 * * ? *", start=datetime(2027, 5, 31, tzinfo=UTC)))
    def tidy() -> None: ...

    [note] = Plan.of(app, TemplateOptions()).notes(NOW)
    assert "start=2027-05-31T00:00:00Z has passed" in note
    assert "leave start= away" in note
    assert not list(Plan.of(app, TemplateOptions()).notes(NOW - 2 * 86_400))


def test_without_a_function_there_is_nothing_that_only_functions_use() -> None:
    template = Stack(render(TaskQ("shop"))).template

    assert "Mappings" not in template, "`sam validate --lint` refuses what is not used"
    assert "IsTraced" not in template["Conditions"]
    assert "Mappings" in Stack(render(full_app())).template


def test_a_function_s_own_variables_stand_beside_the_library_s() -> None:
    stack = Stack(render(full_app()), Stage="prod", Prefix="shop-prod")

    variables = stack.functions["ImagesSlowWorker"]["Environment"]["Variables"]
    assert variables["PICTURES"] == "pictures-prod"
    assert variables["FORMAT"] == "${asctime} " + AWKWARD.replace("${Prefix}", "shop-prod")
    assert variables["TASKQ_PREFIX"] == "shop-prod"
    assert "PICTURES" not in stack.functions["DefaultWorker"]["Environment"]["Variables"]


def test_variables_that_need_the_room_of_the_queues_urls_get_it() -> None:
    names = [f"queue-{number}" for number in range(10)]
    small = TaskQ("shop", queues=[Queue(name, function_timeout=60) for name in names])
    large = TaskQ(
        "shop",
        queues=[Queue(name, function_timeout=60, function_environment={"MODEL": "x" * 3_290}) for name in names],
    )

    known = Stack(render(small)).functions[worker_of(names[0])]["Environment"]["Variables"]
    assert "TASKQ_QUEUE_URLS" in known
    variables = Stack(render(large), Prefix="p" * 40).functions[worker_of(names[0])]["Environment"]["Variables"]
    assert "TASKQ_QUEUE_URLS" not in variables
    assert sum(len(name) + len(value) for name, value in variables.items()) <= 4_096, "Lambda takes 4 KB"


def worker_of(queue: str) -> str:
    return f"{queue_id(queue)}Worker"


@pytest.mark.parametrize("folder", ["", " ", "a\nb"])
def test_a_folder_of_the_code_that_is_none_is_refused(folder: str) -> None:
    with pytest.raises(ConfigError, match="must be a folder"):
        TemplateOptions(code_uri=folder)


@pytest.mark.parametrize("handler", ["class.handler", "handler", "handlers/worker.handler", "a..b", "", "a.b c"])
def test_a_handler_that_is_no_name_is_refused(handler: str) -> None:
    with pytest.raises(ConfigError, match=r"must be MODULE\.ATTRIBUTE"):
        TemplateOptions(handler=handler)


def test_options_reach_every_function() -> None:
    stack = Stack(render(full_app(), TemplateOptions("app.worker.run", "app.events.run", "src/", "makefile")))

    assert {one["Handler"] for name, one in stack.functions.items() if name != "EventsFunction"} == {"app.worker.run"}
    assert stack.functions["EventsFunction"]["Handler"] == "app.events.run"
    assert {one["CodeUri"] for one in stack.functions.values()} == {"src/"}
    for name in stack.functions:
        assert stack.resources[name]["Metadata"] == {"BuildMethod": "makefile"}
        assert "Metadata" not in Stack(render(full_app())).resources[name], "SAM builds it by requirements.txt"


def test_what_is_awkward_in_yaml_json_and_sub_arrives_as_it_was() -> None:
    stack = Stack(render(full_app()), Prefix="p")
    [daily] = [one for one in stack.of_type("AWS::Scheduler::Schedule").values() if "daily" in one["Name"]]
    assert json.loads(daily["Target"]["Input"])["kwargs"] == {"order": AWKWARD}


def test_the_trace_of_whoever_renders_is_not_in_the_schedules() -> None:
    from taskq_sls import Middleware

    class Traces(Middleware):
        async def dispatch(self, message: Any, call_next: Any) -> Any:
            return await call_next(message._replace(trace={"traceparent": "00-of-this-process"}))

    app = TaskQ("shop", middleware=[Traces()])

    @app.task(name="tidy", schedule=rate("1 day"))
    def tidy() -> None: ...

    assert "of-this-process" not in render(app)


def test_no_events_no_function_for_them() -> None:
    stack = Stack(render(TaskQ("shop", queues=[Queue("default", function_timeout=60)])))
    assert not [name for name in stack.resources if "Event" in name]


def test_two_routes_of_one_task_are_two_rules() -> None:
    app = TaskQ("shop")

    @app.on_event(source="a", detail_type="A")
    @app.on_event(source="b", detail_type="B")
    @app.task(name="take")
    def take() -> None: ...

    rules = Stack(render(app)).of_type("AWS::Events::Rule").values()
    assert sorted(rule["EventPattern"]["source"] for rule in rules) == [["a"], ["b"]]


def test_the_text_depends_on_the_app_alone() -> None:
    program = (
        "from tests.support.template_apps import full_app; from taskq_sls.deploy.template import render; "
        "print(render(full_app()), end='')"
    )
    texts = set()
    for seed, environment in (
        ("1", {}),
        ("2", {"TASKQ_PREFIX": "other", "TASKQ_SCHEDULE_GROUP": "other", "TASKQ_BUCKET": "other", "TZ": "Asia/Tokyo"}),
    ):
        done = subprocess.run(
            [sys.executable, "-c", program],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONUTF8": "1", **environment},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        texts.add(done.stdout)
    assert texts == {render(full_app())}
