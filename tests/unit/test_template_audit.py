"""The rendered template, rule by rule. Each message says what breaks without the rule."""

from __future__ import annotations

import functools
import json
import re
from pathlib import Path
from typing import Any

import pytest

from local.tasks import app as reference_app
from taskq_sls import TaskQ
from taskq_sls.client.schedule_sync import declared_specs
from taskq_sls.core.queues import Queue, dead_letter_name
from taskq_sls.deploy.template import TemplateOptions, render
from taskq_sls.deploy.template.intrinsics import queue_id
from taskq_sls.deploy.template.plan import margin
from taskq_sls.payloads.base import LIFETIMES
from taskq_sls.results.layout import INDEXES
from taskq_sls.scheduler.firing import read_firing
from taskq_sls.scheduler.parse import parse as parse_expression
from tests.support.template import KEY, Stack
from tests.support.template_apps import full_app

ROOT = Path(__file__).parents[2]

DAY = 86_400

APPS = {"reference": reference_app, "full": full_app()}
TEXTS = {name: render(app, TemplateOptions(build="makefile")) for name, app in APPS.items()}


@functools.cache
def stack_of(app: str, **parameters: str) -> Stack:
    return Stack(TEXTS[app], **parameters)


@pytest.fixture(params=APPS)
def app(request: pytest.FixtureRequest) -> TaskQ:
    return APPS[request.param]


@pytest.fixture(params=["dev", "prod", "prod with a key"])
def stack(app: TaskQ, request: pytest.FixtureRequest) -> Stack:
    stage, _, key = request.param.partition(" ")
    return stack_of(name_of(app), Stage=stage, Prefix="shop-x", KmsKeyArn=KEY if key else "")


def name_of(app: TaskQ) -> str:
    return next(name for name, one in APPS.items() if one is app)


def properties(stack: Stack, resource: str) -> dict[str, Any]:
    return stack.resources[resource]["Properties"]


def queue_of(stack: Stack, queue: Queue) -> dict[str, Any]:
    return properties(stack, f"{queue_id(queue.name)}Queue")


def dead_letters_of(stack: Stack, queue: Queue) -> dict[str, Any]:
    return properties(stack, f"{queue_id(queue.name)}DeadLetters")


def worker_of(stack: Stack, queue: Queue) -> dict[str, Any]:
    return stack.functions[f"{queue_id(queue.name)}Worker"]


def mapping_of(stack: Stack, queue: Queue) -> dict[str, Any]:
    [event] = worker_of(stack, queue)["Events"].values()
    assert event["Type"] == "SQS"
    return event["Properties"]


def functions_of(app: TaskQ) -> list[Queue]:
    return [queue for queue in app.queues.values() if queue.function_timeout is not None]


# -- queues -----------------------------------------------------------------------------------------------------


def test_queues_have_the_names_that_clients_look_for(app: TaskQ, stack: Stack) -> None:
    for queue in app.queues.values():
        assert queue_of(stack, queue)["QueueName"] == f"shop-x-{queue.name}", "GetQueueUrl would not find the queue"
        found = dead_letters_of(stack, queue)["QueueName"]
        assert found == f"shop-x-{dead_letter_name(queue.name)}", "dead letters would be left to redrive alone"
    assert properties(stack, "FailedSchedules")["QueueName"] == "shop-x-schedules-dlq", (
        "schedules name it in their config"
    )


def test_a_message_stays_hidden_for_six_function_timeouts_and_the_window(app: TaskQ, stack: Stack) -> None:
    for queue in functions_of(app):
        assert queue.function_timeout is not None
        assert queue_of(stack, queue)["VisibilityTimeout"] >= 6 * queue.function_timeout + queue.batch_window, (
            f"{queue.name}: while Lambda retries a throttled batch, its messages would become visible and run twice"
        )


def test_a_queue_without_a_function_has_the_hold_of_a_worker(stack: Stack, app: TaskQ) -> None:
    for queue in app.queues.values():
        if queue.function_timeout is None:
            assert queue_of(stack, queue)["VisibilityTimeout"] == queue.visibility_timeout


def test_everything_that_holds_messages_is_encrypted(stack: Stack) -> None:
    for name, queue in stack.of_type("AWS::SQS::Queue").items():
        managed, key = queue.get("SqsManagedSseEnabled"), queue.get("KmsMasterKeyId")
        assert managed is True or key == KEY, f"{name}: messages would lie in clear text"
        assert not (managed and key), f"{name}: SQS refuses two encryptions"


def test_polls_are_long(app: TaskQ, stack: Stack) -> None:
    for queue in app.queues.values():
        assert queue_of(stack, queue)["ReceiveMessageWaitTimeSeconds"] == 20, "idle pollers would ask all the time"


def test_messages_are_kept_for_14_days_everywhere(stack: Stack) -> None:
    for name, queue in stack.of_type("AWS::SQS::Queue").items():
        assert queue["MessageRetentionPeriod"] == 14 * DAY, (
            f"{name}: a standard dead-letter queue counts from the first send, so letters would vanish early"
        )


def test_redrive_is_only_the_far_net(app: TaskQ, stack: Stack) -> None:
    for queue in app.queues.values():
        policy = queue_of(stack, queue)["RedrivePolicy"]
        assert policy["deadLetterTargetArn"] == stack.arn(f"{queue_id(queue.name)}DeadLetters")
        wanted = queue.max_receive_count or (1_000 if queue.fifo else 100)
        assert policy["maxReceiveCount"] == wanted, f"{queue.name}: throttles alone would move good messages away"


def test_a_dead_letter_queue_takes_from_its_own_queue_only(app: TaskQ, stack: Stack) -> None:
    for queue in app.queues.values():
        assert dead_letters_of(stack, queue)["RedriveAllowPolicy"] == {
            "redrivePermission": "byQueue",
            "sourceQueueArns": [stack.arn(f"{queue_id(queue.name)}Queue")],
        }, f"{queue.name}: any queue of the account could redrive into it"
    assert properties(stack, "FailedSchedules")["RedriveAllowPolicy"] == {"redrivePermission": "denyAll"}


def test_a_fifo_queue_and_its_dead_letters_are_fifo(app: TaskQ, stack: Stack) -> None:
    for queue in app.queues.values():
        for found in (queue_of(stack, queue), dead_letters_of(stack, queue)):
            assert found.get("FifoQueue", False) is queue.fifo, "SQS takes dead letters of the same type only"
            if queue.fifo:
                assert found["ContentBasedDeduplication"] is True, (
                    "schedules could not send: they give no deduplication id"
                )
                assert found["DeduplicationScope"] == "messageGroup", "300 calls a second for the whole queue"
                assert found["FifoThroughputLimit"] == "perMessageGroupId", "300 calls a second for the whole queue"


# -- mappings and functions -------------------------------------------------------------------------------------


def test_each_queue_with_a_function_timeout_has_one_function_and_the_others_none(app: TaskQ, stack: Stack) -> None:
    workers = {name for name in stack.functions if name.endswith("Worker")}
    assert workers == {f"{queue_id(queue.name)}Worker" for queue in functions_of(app)}
    for queue in functions_of(app):
        assert mapping_of(stack, queue)["Queue"] == stack.arn(f"{queue_id(queue.name)}Queue")


def test_failed_messages_are_reported_one_by_one(app: TaskQ, stack: Stack) -> None:
    for queue in functions_of(app):
        assert mapping_of(stack, queue)["FunctionResponseTypes"] == ["ReportBatchItemFailures"], (
            f"{queue.name}: Lambda would delete failed messages with the rest of their batch"
        )


def test_batches_are_what_the_queue_declares(app: TaskQ, stack: Stack) -> None:
    for queue in functions_of(app):
        mapping = mapping_of(stack, queue)
        assert mapping["BatchSize"] == queue.batch_size
        window = mapping.get("MaximumBatchingWindowInSeconds")
        assert window == (None if queue.fifo else queue.batch_window), f"{queue.name}: FIFO mappings take no window"


def test_concurrency_is_capped_at_the_mapping_and_nowhere_else(app: TaskQ, stack: Stack) -> None:
    for queue in functions_of(app):
        limit = mapping_of(stack, queue)["ScalingConfig"]["MaximumConcurrency"]
        assert limit == (queue.max_concurrency or 50)
        assert 2 <= limit <= 1_000
    for name, function in stack.functions.items():
        assert "ReservedConcurrentExecutions" not in function, (
            f"{name}: batches that are polled and then throttled spend receives until good messages are dead letters"
        )


def test_no_mapping_filters(app: TaskQ, stack: Stack) -> None:
    for queue in functions_of(app):
        assert "FilterCriteria" not in mapping_of(stack, queue), "SQS deletes what a filter does not match"


def test_functions_may_call_each_other_in_chains(stack: Stack) -> None:
    for name, function in stack.functions.items():
        assert function["RecursiveLoop"] == "Allow", f"{name}: the sixteenth task of a chain would be dropped"


def test_a_function_outlives_its_tasks(app: TaskQ, stack: Stack) -> None:
    for queue in functions_of(app):
        longest = max(
            (task.options.timeout or 0 for task in app.registry if task.options.queue == queue.name), default=0
        )
        function = worker_of(stack, queue)
        assert function["Timeout"] == queue.function_timeout
        assert function["Timeout"] - margin(function["Timeout"]) >= longest, (
            "a task would be killed instead of timed out"
        )
        assert function["MemorySize"] == (queue.function_memory or 1024)


def test_functions_run_on_arm_unless_told_otherwise(app: TaskQ) -> None:
    for function in stack_of(name_of(app)).functions.values():
        assert function["Architectures"] == ["arm64"], "the same work costs a fifth more"
        assert re.fullmatch(r"python3\.1[1-4]", function["Runtime"])
    for function in stack_of(name_of(app), Architecture="x86_64", Runtime="python3.11").functions.values():
        assert (function["Architectures"], function["Runtime"]) == (["x86_64"], "python3.11")


def test_logs_are_json_in_a_group_of_the_function_s_own_that_forgets(stack: Stack) -> None:
    groups = {stack.name_of(name): group for name, group in stack.of_type("AWS::Logs::LogGroup").items()}
    used = [function["LoggingConfig"]["LogGroup"] for function in stack.functions.values()]
    assert len(set(used)) == len(used) == len(groups), "two functions would share a log"
    for function in stack.functions.values():
        assert function["LoggingConfig"]["LogFormat"] == "JSON", "fields of log records would be lost"
        group = groups[function["LoggingConfig"]["LogGroup"]]
        assert group["RetentionInDays"] in (7, 30, 90), "logs would be kept, and paid for, for ever"


def test_functions_are_traced_unless_told_otherwise(app: TaskQ) -> None:
    assert {function["Tracing"] for function in stack_of(name_of(app)).functions.values()} == {"Active"}
    assert {function["Tracing"] for function in stack_of(name_of(app), Tracing="PassThrough").functions.values()} == {
        "PassThrough"
    }


def test_functions_know_where_everything_is(app: TaskQ, stack: Stack) -> None:
    for function in stack.functions.values():
        variables = function["Environment"]["Variables"]
        assert variables["TASKQ_PREFIX"] == "shop-x"
        assert variables["TASKQ_TABLE"] == stack.name_of("TasksTable")
        assert variables["TASKQ_BUCKET"] == stack.name_of("PayloadBucket")
        assert variables["TASKQ_SCHEDULE_GROUP"] == stack.name_of("ScheduleGroup")
        assert variables["TASKQ_SCHEDULE_ROLE_ARN"] == stack.arn("ScheduleRole")
        urls = json.loads(variables["TASKQ_QUEUE_URLS"])
        assert {url.rpartition("/")[2].removeprefix("shop-x-") for url in urls.values()} == set(urls)
        assert set(urls) == {name for queue in app.queues for name in (queue, dead_letter_name(queue))}
        assert sum(len(name) + len(value) for name, value in variables.items()) < 4_096, "Lambda takes 4 KB"


def test_no_worker_has_a_dead_letter_queue_of_its_own(app: TaskQ, stack: Stack) -> None:
    for queue in functions_of(app):
        assert "DeadLetterQueue" not in worker_of(stack, queue), "that one serves async invocations, never a queue"


def test_sam_attaches_no_policy_of_its_own(stack: Stack) -> None:
    for name, function in stack.functions.items():
        assert function["Role"].startswith("arn:aws:iam::"), f"{name}: SAM would add a managed policy on all queues"
        assert "Policies" not in function, f"{name}: SAM ignores them beside a role, so that they only seem to hold"


def test_a_function_is_made_after_all_that_it_may_do_the_use_of_the_key_included(stack: Stack) -> None:
    for name in stack.functions:
        role = stack.name_of(stack.function_role(name))
        attached = {id for id, one in stack.of_type("AWS::IAM::Policy").items() if role in one["Roles"]}
        awaited = stack.resources[name].get("DependsOn", [])
        assert attached <= set([awaited] if isinstance(awaited, str) else awaited), (
            "the first messages would find the table or the key forbidden"
        )


def test_the_log_has_the_memory_that_each_invocation_used(stack: Stack) -> None:
    for function in stack.functions.values():
        assert function["LoggingConfig"]["SystemLogLevel"] == "INFO", "at WARN Lambda leaves platform.report out"


# -- state ------------------------------------------------------------------------------------------------------


def test_the_table_has_the_keys_and_indexes_of_the_result_backend(stack: Stack) -> None:
    table = properties(stack, "TasksTable")
    assert [key["AttributeName"] for key in table["KeySchema"]] == ["pk", "sk"]
    found = {
        index["IndexName"]: [key["AttributeName"] for key in index["KeySchema"]]
        for index in table["GlobalSecondaryIndexes"]
    }
    assert found == {index.name: [index.shard, index.time] for index in INDEXES}, "results.list would fail"
    assert {index["Projection"]["ProjectionType"] for index in table["GlobalSecondaryIndexes"]} == {"KEYS_ONLY"}
    assert table["TimeToLiveSpecification"] == {"AttributeName": "ttl", "Enabled": True}, "records would stay for ever"
    assert table["BillingMode"] == "PAY_PER_REQUEST"


def test_the_table_can_be_restored_and_is_encrypted(stack: Stack) -> None:
    table = properties(stack, "TasksTable")
    assert table["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}, "a mistake would be final"
    assert table.get("SSESpecification") in (None, {"SSEEnabled": True, "SSEType": "KMS", "KMSMasterKeyId": KEY})


@pytest.mark.parametrize("resource", ["TasksTable", "PayloadBucket"])
def test_state_outlives_the_stack_in_production_and_only_there(resource: str) -> None:
    for stage, policies in (
        ("dev", ("Delete", "Delete")),
        ("staging", ("Delete", "Delete")),
        # CloudFormation takes RetainExceptOnCreate for no UpdateReplacePolicy.
        ("prod", ("RetainExceptOnCreate", "Retain")),
    ):
        found = stack_of("full", Stage=stage).resources[resource]
        assert (found["DeletionPolicy"], found["UpdateReplacePolicy"]) == policies, (
            "a deleted stack or a renamed table would take the results along, or a first deployment could not be repeated"
        )


@pytest.mark.parametrize("stage", ["dev", "prod"])
def test_the_table_refuses_deletion_only_when_told_so(stage: str) -> None:
    def protected(**parameters: str) -> bool:
        table = properties(stack_of("full", Stage=stage, **parameters), "TasksTable")
        return bool(table["DeletionProtectionEnabled"])

    assert not protected(), "the rollback of a first deployment could not delete it, and no other would get its name"
    assert protected(DeletionProtection="true")


def test_the_template_needs_no_transform_but_sam_s(stack: Stack) -> None:
    assert stack.template["Transform"] == "AWS::Serverless-2016-10-31"


def test_the_bucket_is_private_encrypted_and_forgets(stack: Stack) -> None:
    bucket = properties(stack, "PayloadBucket")
    assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
    assert len(bucket["PublicAccessBlockConfiguration"]) == 4
    [rule] = bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    assert rule["ServerSideEncryptionByDefault"]["SSEAlgorithm"] in ("AES256", "aws:kms")
    rules = {one.get("Prefix"): one for one in bucket["LifecycleConfiguration"]["Rules"]}
    for lifetime in LIFETIMES:
        assert rules[lifetime.prefix]["ExpirationInDays"] == lifetime.days, (
            "payloads would be paid for ever, or go early"
        )
        assert rules[lifetime.prefix]["Status"] == "Enabled"


# -- schedules and events ---------------------------------------------------------------------------------------


def test_every_declared_schedule_is_in_the_stack_as_it_is_declared(app: TaskQ, stack: Stack) -> None:
    found = {one["Name"]: one for one in stack.of_type("AWS::Scheduler::Schedule").values()}
    assert set(found) == {one.name for one in app.schedules}
    for spec in declared_specs(app):
        one = found[spec.name]
        assert one["GroupName"] == "shop-x", "cancel and the clocks look in the app's group"
        assert (one["ScheduleExpression"], one["ScheduleExpressionTimezone"]) == (spec.expression, spec.timezone)
        parse_expression(one["ScheduleExpression"], one["ScheduleExpressionTimezone"])
        assert one["State"] == ("ENABLED" if spec.enabled else "DISABLED")
        assert ("StartDate" in one, "EndDate" in one) == (spec.start is not None, spec.end is not None)
        window = {"Mode": "FLEXIBLE", "MaximumWindowInMinutes": spec.window} if spec.window else {"Mode": "OFF"}
        assert one["FlexibleTimeWindow"] == window


def test_schedules_send_their_message_to_the_queue_itself(app: TaskQ, stack: Stack) -> None:
    found = {one["Name"]: one["Target"] for one in stack.of_type("AWS::Scheduler::Schedule").values()}
    for spec in declared_specs(app):
        target = found[spec.name]
        assert target["Arn"] == stack.arn(f"{queue_id(spec.queue)}Queue")
        assert target["RoleArn"] == stack.arn("ScheduleRole")
        assert target["DeadLetterConfig"] == {"Arn": stack.arn("FailedSchedules")}, "a firing that fails would be lost"
        assert target.get("SqsParameters", {}).get("MessageGroupId") == spec.group, "a FIFO queue takes no other"
        wanted = json.loads(spec.body)
        wanted["schedule"]["group"] = "shop-x"
        assert json.loads(target["Input"]) == wanted, "the message would not be the one that the app declares"
        assert wanted["schedule"]["at"] == "<aws.scheduler.scheduled-time>"
        assert read_firing(wanted["schedule"], 0).group == stack.name_of("ScheduleGroup")


def test_only_the_schedules_of_the_stack_can_use_their_role(stack: Stack) -> None:
    [trust] = properties(stack, "ScheduleRole")["AssumeRolePolicyDocument"]["Statement"]
    assert trust["Principal"] == {"Service": "scheduler.amazonaws.com"}
    assert trust["Condition"] == {
        "StringEquals": {
            "aws:SourceAccount": "123456789012",
            "aws:SourceArn": "arn:aws:scheduler:eu-west-1:123456789012:schedule-group/shop-x",
        }
    }, "schedules of other accounts could send with it"


def test_each_route_has_a_rule_that_may_call_the_function(app: TaskQ, stack: Stack) -> None:
    rules = stack.of_type("AWS::Events::Rule")
    wanted = [(route.bus, route.pattern()) for route in app.routes]
    found = [(rule.get("EventBusName"), rule["EventPattern"]) for rule in rules.values()]
    assert sorted(found, key=str) == sorted(wanted, key=str)
    permissions = stack.of_type("AWS::Lambda::Permission").values()
    for name, rule in rules.items():
        [target] = rule["Targets"]
        assert target["Arn"] == stack.arn("EventsFunction")
        assert target["DeadLetterConfig"] == {"Arn": stack.arn("FailedEvents")}, (
            "an event that is refused would be lost"
        )
        assert {
            "Action": "lambda:InvokeFunction",
            "FunctionName": stack.name_of("EventsFunction"),
            "Principal": "events.amazonaws.com",
            "SourceArn": stack.arn(name),
        } in permissions, "EventBridge could not call the function"


def test_events_that_fail_are_kept(stack: Stack) -> None:
    config = stack.functions["EventsFunction"]["EventInvokeConfig"]
    assert config["DestinationConfig"] == {"OnFailure": {"Type": "SQS", "Destination": stack.arn("FailedEvents")}}
    [statement] = properties(stack, "FailedEventsPolicy")["PolicyDocument"]["Statement"]
    assert statement["Principal"] == {"Service": "events.amazonaws.com"}
    rules = {stack.arn(name) for name in stack.of_type("AWS::Events::Rule")}
    assert set(statement["Condition"]["ArnEquals"]["aws:SourceArn"]) == rules, "others could write there, or rules not"
    assert "KmsMasterKeyId" not in properties(stack, "FailedEvents"), "EventBridge could not write with that key"


# -- watching ---------------------------------------------------------------------------------------------------


def alarmed(stack: Stack, metric: str) -> set[str]:
    return {
        dimension["Value"]
        for alarm in stack.of_type("AWS::CloudWatch::Alarm").values()
        if alarm["MetricName"] == metric
        for dimension in alarm["Dimensions"]
    }


def test_somebody_is_told_when_tasks_wait_or_fail(app: TaskQ, stack: Stack) -> None:
    names = {f"shop-x-{queue}" for queue in app.queues}
    assert alarmed(stack, "ApproximateAgeOfOldestMessage") == names, "a queue that nobody works off would go unnoticed"
    letters = {f"shop-x-{dead_letter_name(queue)}" for queue in app.queues}
    kept = {stack.name_of("FailedSchedules"), stack.name_of("FailedEvents")}
    assert alarmed(stack, "ApproximateNumberOfMessagesVisible") == letters | kept, "dead letters would go unnoticed"
    assert alarmed(stack, "TargetErrorCount") == {"shop-x"}, "schedules that cannot send would go unnoticed"


@pytest.mark.parametrize("metric", ["Errors", "Throttles", "RecursiveInvocationsDropped"])
def test_somebody_is_told_when_a_function_fails(stack: Stack, metric: str) -> None:
    assert alarmed(stack, metric) == {stack.name_of(name) for name in stack.functions}


def test_somebody_is_told_when_an_invocation_comes_near_its_timeout(app: TaskQ, stack: Stack) -> None:
    for queue in functions_of(app):
        assert queue.function_timeout is not None
        alarm = properties(stack, f"{queue_id(queue.name)}WorkerDurationAlarm")
        assert alarm["Threshold"] == 1000 * (queue.function_timeout - margin(queue.function_timeout)), (
            "the handler stops tasks at that margin"
        )


def test_alarms_are_on_plain_metrics_and_silent_without_data(stack: Stack) -> None:
    alarms = stack.of_type("AWS::CloudWatch::Alarm").values()
    for alarm in alarms:
        assert "Metrics" not in alarm, "metric math costs an alarm per metric"
        assert alarm["TreatMissingData"] == "notBreaching", "an idle stack would be in alarm"
        assert "AlarmActions" not in alarm
    assert len({alarm["AlarmName"] for alarm in alarms}) == len(alarms)


def test_alarms_tell_a_topic_where_one_is_named() -> None:
    topic = "arn:aws:sns:eu-west-1:123456789012:on-call"
    for alarm in stack_of("full", AlarmTopicArn=topic).of_type("AWS::CloudWatch::Alarm").values():
        assert alarm["AlarmActions"] == alarm["OKActions"] == [topic]


def test_the_dashboard_shows_every_queue_and_function(app: TaskQ, stack: Stack) -> None:
    body = json.loads(properties(stack, "Dashboard")["DashboardBody"])
    shown = {metric[3] for widget in body["widgets"] for metric in widget["properties"]["metrics"]}
    queues = {name for queue in app.queues for name in (f"shop-x-{queue}", f"shop-x-{dead_letter_name(queue)}")}
    functions = {stack.name_of(name) for name in stack.functions}
    assert shown == queues | functions | {"shop-x-tasks", "shop-x", "shop-x-schedules-dlq"}
    places = [(widget["x"], widget["y"]) for widget in body["widgets"]]
    assert len(set(places)) == len(places), "one would hide another"
    assert {widget["properties"]["region"] for widget in body["widgets"]} == {"eu-west-1"}


def test_stacks_of_two_regions_have_dashboards_of_their_own(stack: Stack) -> None:
    assert properties(stack, "Dashboard")["DashboardName"] == "shop-x-eu-west-1", (
        "dashboards belong to the account: the later stack would replace that of the earlier"
    )


def test_the_outputs_configure_producers_and_workers_elsewhere(app: TaskQ, stack: Stack) -> None:
    assert stack.outputs["Prefix"] == "shop-x"
    assert stack.outputs["Table"] == "shop-x-tasks"
    assert stack.outputs["Bucket"] == stack.name_of("PayloadBucket")
    assert stack.outputs["ScheduleGroupName"] == "shop-x"
    assert stack.outputs["ScheduleRoleArn"] == stack.arn("ScheduleRole")
    for queue in app.queues:
        assert stack.outputs[f"{queue_id(queue)}QueueUrl"].endswith(f"/shop-x-{queue}")
        assert stack.outputs[f"{queue_id(queue)}DeadLettersUrl"].endswith(f"/shop-x-{dead_letter_name(queue)}")


# -- the file ---------------------------------------------------------------------------------------------------


def test_the_template_that_is_checked_in_is_what_is_rendered_now() -> None:
    text = render(
        reference_app, TemplateOptions(build="makefile"), command="taskq template local.tasks:app --build makefile"
    )
    assert (ROOT / "template.yaml").read_text() == text, "template.yaml is stale: make template"


def test_numbers_with_a_reason_say_it() -> None:
    text = (ROOT / "template.yaml").read_text()
    for before in (
        "VisibilityTimeout",
        "MessageRetentionPeriod",
        "maxReceiveCount",
        "RecursiveLoop",
        "MaximumConcurrency",
    ):
        lines = text.splitlines()
        first = next(number for number, line in enumerate(lines) if line.strip().startswith(f"{before}:"))
        assert lines[first - 1].strip().startswith("#"), f"{before} has no reason"


def test_headings_part_the_resources() -> None:
    headings = re.findall(r"^  # (.+?) -{10,}$", TEXTS["reference"], re.MULTILINE)
    assert headings == [
        "Queue default",
        "The worker of queue default",
        "Queue slow",
        "The worker of queue slow",
        "Queue journal.fifo",
        "The worker of queue journal.fifo",
        "State",
        "Schedules",
        "Events of EventBridge",
        "Permissions of all workers",
        "Alarms",
        "Dashboard",
    ]
