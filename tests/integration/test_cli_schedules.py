"""``taskq schedules`` against moto."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws

from taskq_sls import rate
from taskq_sls.cli import main
from taskq_sls.cli.apps import load_app
from taskq_sls.client.schedule_sync import plan_declared, sync
from taskq_sls.core.clock import ManualClock
from taskq_sls.core.flow import drive
from taskq_sls.core.states import State
from taskq_sls.local_aws.server import MotoServer
from taskq_sls.results.records import AttemptEnd, Claim, Fence

SHOP = """
from taskq_sls import TaskQ, Queue, Schedule, at, cron, rate

app = TaskQ("shop", queues=[Queue("default"), Queue("ledger.fifo")])

@app.task(schedule=[cron("0 12 ? * MON-FRI *", timezone="Europe/Berlin"), Schedule(rate("1 hour"), ("eu",), name="hourly")])
def report(region: str = "all") -> None: ...

@app.task(queue="ledger.fifo", group="books", schedule=rate("1 day"))
def close() -> None: ...
"""

Run = Callable[..., Any]

NEXT = ("schedules", "next")


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An app in the current directory, credentials, and a scheduler that is configured."""
    for name in [name for name in os.environ if name.startswith(("AWS_", "TASKQ_"))]:
        monkeypatch.delenv(name)
    variables = {
        "AWS_DEFAULT_REGION": "eu-west-1",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "TASKQ_SCHEDULE_ROLE_ARN": "arn:aws:iam::123456789012:role/shop-scheduler",
        "TASKQ_APP": "shop:app",
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "shop.py").write_text(SHOP)
    yield tmp_path
    sys.modules.pop("shop", None)


@pytest.fixture
def aws(environment: Path) -> Iterator[None]:
    with mock_aws():
        yield


@pytest.fixture
def run(aws: None, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command and gives back its stdout."""

    def run(*argv: str, status: int = 0) -> str:
        assert main(argv) == status, capsys.readouterr().err
        return capsys.readouterr().out

    return run


@pytest.fixture
def schedules(run: Run) -> Run:
    """Runs ``taskq schedules ... --json`` where everything is provisioned, and gives back what it prints."""
    run("provision")

    def schedules(*argv: str, status: int = 0) -> Any:
        return json.loads(run("schedules", *argv, "--json", status=status))

    return schedules


@pytest.fixture
def errors(environment: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command that fails and gives back its stderr."""

    def errors(*argv: str, status: int = 2) -> str:
        assert main(argv) == status
        err = capsys.readouterr().err
        assert "Traceback" not in err
        return err

    return errors


def new_version(directory: Path, old: str, new: str) -> None:
    assert old in SHOP
    (directory / "shop.py").write_text(SHOP.replace(old, new))
    os.utime(directory / "shop.py", (1, 1))  # so that compiled code of the same second is not taken for this
    sys.modules.pop("shop", None)


def actions(answer: Any) -> dict[str, str]:
    """What a plan or sync says, by names without their hashes."""
    return {one["name"].rpartition("-")[0]: one["action"] for one in answer["schedules"]}


def scheduler() -> Any:
    return boto3.client("scheduler")


def name_of(name: str) -> str:
    """The full name of a schedule that stands."""
    (found,) = [one["Name"] for one in scheduler().list_schedules(GroupName="shop", NamePrefix=name)["Schedules"]]
    return str(found)


# -- next -----------------------------------------------------------------------------------------------------------


def test_next_shows_the_coming_runs_in_local_time_and_utc(run: Run) -> None:
    answer = json.loads(
        run(
            *NEXT,
            "cron(30 2 * * ? *)",
            "--timezone",
            "Europe/Berlin",
            "--count",
            "2",
            "--after",
            "2026-03-28T00:00:00Z",
            "--json",
        )
    )

    assert answer["runs"] == [
        {"local": "2026-03-28T02:30:00+01:00", "utc": "2026-03-28T01:30:00Z"},
        {"local": "2026-03-30T02:30:00+02:00", "utc": "2026-03-30T00:30:00Z"},
    ]
    table = run(*NEXT, "cron(0 12 ? * MON-FRI *)", "--count", "3", "--after", "2026-11-20T13:00:00Z").splitlines()
    assert table[0].split() == ["LOCAL", "UTC"]
    assert table[1].split() == ["2026-11-23T12:00:00+00:00", "2026-11-23T12:00:00Z"]
    assert len(table) == 4


def test_next_reads_rates_times_and_the_unix_dialect(run: Run) -> None:
    def first(*argv: str) -> Any:
        runs = json.loads(run(*NEXT, *argv, "--after", "2026-11-20T13:01:00Z", "--json"))["runs"]
        return runs[0]["utc"] if runs else None

    assert first("rate(5 minutes)") == "2026-11-20T13:06:00Z"
    assert first("at(2026-12-01T09:00:00)", "--timezone", "Asia/Tokyo") == "2026-12-01T00:00:00Z"
    assert first("*/5 * * * *", "--unix") == "2026-11-20T13:05:00Z"
    assert first("at(2020-01-01T00:00:00)") is None


def test_next_takes_a_time_without_a_zone_as_local(run: Run) -> None:
    argv = (
        "cron(0 12 * * ? *)",
        "--timezone",
        "Asia/Tokyo",
        "--after",
        "2026-11-20T11:59:00",
        "--count",
        "1",
        "--json",
    )

    assert json.loads(run(*NEXT, *argv))["runs"][0]["local"] == "2026-11-20T12:00:00+09:00"


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (("*/5 * * * *",), "with --unix it can be like"),
        (("cron(0 12 * * * *)",), "cron"),
        (("cron(0 12 * * ? *)", "--timezone", "Mars/X"), "Mars/X"),
        (("cron(0 12 * * ? *)", "--after", "soon"), "--after 'soon' must be a time"),
        (("cron(0 12 * * ? *)", "--count", "0"), "must be a whole number of 1 or more"),
        (("cron(0 12 * * ? *)", "--count", "10001"), "--count 10001 is above 10,000"),
    ],
)
def test_next_refuses_what_it_cannot_read(errors: Run, argv: tuple[str, ...], message: str) -> None:
    assert message in errors(*NEXT, *argv)


# -- plan and sync --------------------------------------------------------------------------------------------------


def test_plan_shows_what_sync_does_and_a_second_sync_has_nothing_to_do(schedules: Run) -> None:
    wanted = {"d-shop.report": "create", "d-shop.hourly": "create", "d-shop.close": "create"}

    assert actions(schedules("plan")) == wanted
    assert actions(schedules("sync", "--dry-run")) == wanted
    assert set(actions(schedules("sync", "--force")).values()) == {"created"}
    assert schedules("sync", "--force") == {"schedules": [], "unchanged": 3}
    stands = scheduler().get_schedule(GroupName="shop", Name=name_of("d-shop.report"))
    assert (stands["ScheduleExpression"], stands["ScheduleExpressionTimezone"]) == (
        "cron(0 12 ? * MON-FRI *)",
        "Europe/Berlin",
    )
    assert stands["Target"]["Arn"].endswith(":shop-default")
    books = scheduler().get_schedule(GroupName="shop", Name=name_of("d-shop.close"))
    assert books["Target"]["SqsParameters"] == {"MessageGroupId": "books"}


def test_a_new_version_changes_and_removes_only_what_the_app_declared(environment: Path, schedules: Run) -> None:
    schedules("sync", "--force")
    load_app("shop:app").ref("shop:report").with_options(id="mine").schedule(load_app("shop:app").schedules[1].when)
    new_version(
        environment,
        'Schedule(rate("1 hour"), ("eu",), name="hourly")',
        'Schedule(rate("2 hours"), ("us",), name="slow")',
    )

    planned = schedules("plan")

    assert actions(planned) == {"d-shop.slow": "create", "d-shop.hourly": "remove"}
    new_version(environment, 'rate("1 hour"), ("eu",)', 'rate("2 hours"), ("us",)')
    changed = schedules("sync", "--force")
    assert [(one["action"], one["changes"]) for one in changed["schedules"]] == [("updated", "expression, body.args")]
    assert name_of("r-shop.mine")


def test_plan_as_a_table_says_what_and_how_many(schedules: Run, run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(("schedules", "plan", "shop:app")) == 0

    out, err = capsys.readouterr()
    assert out.splitlines()[0].split() == ["ACTION", "NAME", "WHEN", "CHANGES"]
    assert len(out.splitlines()) == 4
    assert err == "taskq: 3 to change, 0 as declared\n"


def test_in_aws_sync_leaves_the_schedules_to_the_template(schedules: Run, errors: Run) -> None:
    message = errors("schedules", "sync")

    assert "scheduler.eu-west-1.amazonaws.com is AWS, where the template owns" in message
    assert actions(schedules("plan"))


def test_on_any_other_endpoint_sync_needs_no_force(
    environment: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    with MotoServer() as server:
        for name, value in server.environment().items():
            monkeypatch.setenv(name, value)
        assert main(("provision",)) == 0
        capsys.readouterr()

        assert main(("schedules", "sync", "--json")) == 0

        assert set(actions(json.loads(capsys.readouterr().out)).values()) == {"created"}
        drive(load_app("shop:app").services.blocking().close())


def test_two_syncs_at_once_end_as_one(environment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with MotoServer() as server:
        for name, value in server.environment().items():
            monkeypatch.setenv(name, value)
        assert main(("provision",)) == 0
        app = load_app("shop:app")
        for number in range(20):
            app.schedule(app.ref("shop:report"), rate(hours=number + 1))

        with ThreadPoolExecutor(2) as pool:
            services = [app.services.new_blocking(), app.services.new_blocking()]
            both = list(pool.map(lambda one: drive(sync(app, one)).applied, services))

        assert [one.failed for one in both] == [[], []]
        left = drive(plan_declared(app, services[0]))
        assert (left.size, len(left.unchanged)) == (0, 23)
        for one in services:
            drive(one.close())


def test_without_its_group_sync_says_how_to_make_it(run: Run, errors: Run) -> None:
    assert "schedule group 'shop' does not exist" in errors("schedules", "plan")


def test_without_a_scheduler_every_command_says_what_to_set(
    aws: None, errors: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TASKQ_SCHEDULE_ROLE_ARN")

    for command in ("plan", "ls", "pause hourly", "resume hourly", "rm hourly"):
        assert "TASKQ_SCHEDULE_ROLE_ARN" in errors("schedules", *command.split())


# -- ls -------------------------------------------------------------------------------------------------------------


def test_ls_shows_state_and_next_run_of_declared_and_other_schedules(schedules: Run, run: Run) -> None:
    assert schedules("ls") == []
    schedules("sync", "--force")
    app = load_app("shop:app")
    report = app.registry.get("shop:report")
    assert report is not None
    report.with_options(id="mine").schedule(app.schedules[1].when)
    report.with_options(delay=86_400).enqueue()

    rows = {row["name"].rpartition("-")[0]: row for row in schedules("ls")}

    assert list(rows) == ["d-shop.close", "d-shop.hourly", "d-shop.report", "r-shop.mine"]
    assert {row["state"] for row in rows.values()} == {"on"}
    row = rows["d-shop.report"]
    assert (row["task"], row["queue"], row["timezone"]) == ("shop:report", "default", "Europe/Berlin")
    assert "T12:00:00+0" in row["next_run"]
    assert (row["last_run"], row["last_status"]) == (None, None)
    assert len(schedules("ls", "--delays")) == 5
    table = run("schedules", "ls").splitlines()
    assert table[0].split() == ["NAME", "STATE", "WHEN", "TASK", "NEXT", "RUN", "LAST", "RUN", "STATUS"]
    assert "cron(0 12 ? * MON-FRI *) Europe/Berlin" in table[3]


def test_ls_shows_the_last_run_that_a_clock_noted_and_what_became_of_it(schedules: Run) -> None:
    schedules("sync", "--force")
    app = load_app("shop:app")
    services = app.services.blocking()
    last_firings = services.last_firings
    assert last_firings is not None
    now = app.clock.time()
    at = now // 60 * 60
    hourly = app.schedule_handle(app.schedules[1].name)
    id = hourly.task_id(datetime.fromtimestamp(at, UTC))
    drive(last_firings.record(hourly.id, at, now))

    (row,) = [row for row in schedules("ls") if row["name"] == hourly.id]
    assert (row["last_task_id"], row["last_status"]) == (id, None)
    assert row["last_run"] == datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

    drive(services.results.claim(Claim(id, 0, "shop:report", "default", "me", now, now + 60, 1, now + 2e6, now)))
    drive(services.results.finish(Fence(id, 0, 1, "me"), AttemptEnd(State.SUCCEEDED, now, now + 2e6)))
    (row,) = [row for row in schedules("ls") if row["name"] == hourly.id]
    assert row["last_status"] == "SUCCEEDED"


def test_where_no_clock_notes_anything_the_record_tells_of_the_last_run(schedules: Run) -> None:
    schedules("sync", "--force")
    app = load_app("shop:app")
    hourly = app.schedule_handle(app.schedules[1].name)
    stands = drive(app.services.blocking().schedules.get(hourly.id))  # type: ignore[union-attr]  # it is configured
    assert stands is not None
    fired = int(stands.created) + 3_600
    now = fired + 1_200
    id = hourly.task_id(datetime.fromtimestamp(fired, UTC))
    results = app.services.blocking().results
    app.clock = ManualClock(now)

    (before,) = [row for row in schedules("ls") if row["name"] == hourly.id]
    drive(results.claim(Claim(id, 0, "shop:report", "default", "me", now, now + 60, 1, now + 2e6, now)))
    (after,) = [row for row in schedules("ls") if row["name"] == hourly.id]

    assert (before["last_run"], before["last_status"]) == (None, None)
    assert (after["last_task_id"], after["last_status"]) == (id, "RUNNING")


# -- pause, resume, rm ------------------------------------------------------------------------------------------------


def test_a_schedule_is_paused_resumed_and_removed_by_its_own_name_its_tasks_or_its_full_one(
    schedules: Run, run: Run
) -> None:
    schedules("sync", "--force")
    full = name_of("d-shop.hourly")

    assert schedules("pause", "hourly") == {"name": full, "action": "paused"}
    (row,) = [row for row in schedules("ls") if row["name"] == full]
    assert (row["state"], row["next_run"]) == ("paused", None)
    assert run("schedules", "resume", full) == f"resumed {full}\n"
    assert schedules("rm", "close")["action"] == "removed"
    assert len(schedules("ls")) == 2
    assert actions(schedules("sync", "--force")) == {"d-shop.close": "created"}


def test_what_is_not_there_is_said_so(schedules: Run, errors: Run) -> None:
    assert "there is no schedule 'd-shop.hourly" in errors("schedules", "pause", "hourly", status=1)
    assert "declares no schedule 'weekly'" in errors("schedules", "rm", "weekly", status=1)
    assert "cancel the task instead" in errors("schedules", "rm", "t-0123")
    assert "schedule 'report' can be d-shop.report-" in errors("schedules", "rm", "report")
