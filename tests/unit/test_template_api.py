"""The HTTP API in the template: closed, with a role of its own, watched, and there only where it is asked for."""

from __future__ import annotations

import pytest

from taskq_sls import ConfigError
from taskq_sls.deploy.template import TemplateOptions, render
from taskq_sls.deploy.template.intrinsics import queue_id
from tests.support.template import KEY, Stack
from tests.support.template_apps import full_app

APP = full_app()

TEXT = render(APP, TemplateOptions(api="handlers.api.handler"))


@pytest.fixture(params=["", KEY], ids=["plain", "key"])
def stack(request: pytest.FixtureRequest) -> Stack:
    return Stack(TEXT, Stage="prod", Prefix="shop-x", KmsKeyArn=request.param)


def test_without_being_asked_for_there_is_no_api() -> None:
    assert "ApiFunction" not in render(APP)


def test_only_users_and_roles_of_iam_may_call_it(stack: Stack) -> None:
    function = stack.functions["ApiFunction"]

    assert function["FunctionUrlConfig"]["AuthType"] == "AWS_IAM", "the whole internet could call it"
    assert function["Environment"]["Variables"]["TASKQ_API_AUTH"] == "iam", "nobody would be let in"
    assert function["Environment"]["Variables"]["TASKQ_TABLE"] == "shop-x-tasks", "SAM keeps what all functions share"
    permissions = stack.of_type("AWS::Lambda::Permission").values()
    assert permissions
    assert all(one["Principal"] != "*" for one in permissions)


def test_with_tokens_the_url_lets_everybody_through_to_the_gate_of_the_api() -> None:
    stack = Stack(TEXT, Prefix="shop-x", ApiAuth="tokens", ApiTokens='{"ci": {}}')
    function = stack.functions["ApiFunction"]
    permissions = [one for one in stack.of_type("AWS::Lambda::Permission").values() if one["Principal"] == "*"]

    assert function["FunctionUrlConfig"]["AuthType"] == "NONE"
    assert function["Environment"]["Variables"]["TASKQ_API_AUTH"] == "tokens", "it would be open"
    assert function["Environment"]["Variables"]["TASKQ_API_TOKENS"] == '{"ci": {}}'
    assert {one["Action"] for one in permissions} == {"lambda:InvokeFunctionUrl", "lambda:InvokeFunction"}
    for one in permissions:
        assert one.get("FunctionUrlAuthType") == "NONE" or one["InvokedViaFunctionUrl"] is True, "not only by its URL"
    assert stack.template["Parameters"]["ApiTokens"]["NoEcho"] is True


def test_its_variables_fit_into_the_environment_of_a_function() -> None:
    stack = Stack(TEXT, Prefix="p" * 36, ApiAuth="tokens", ApiTokens="x" * 1_000)
    variables = stack.functions["ApiFunction"]["Environment"]["Variables"]

    assert sum(len(name) + len(value) for name, value in variables.items()) < 4_096


def test_it_has_time_for_the_longest_wait_and_no_more_than_its_front(stack: Stack) -> None:
    assert 25 < stack.functions["ApiFunction"]["Timeout"] <= 30


def test_it_has_a_role_and_a_log_of_its_own(stack: Stack) -> None:
    used = [stack.function_role(function) for function in stack.functions]
    assert len(set(used)) == len(used)
    logs = [function["LoggingConfig"]["LogGroup"] for function in stack.functions.values()]
    assert len(set(logs)) == len(logs) == len(stack.of_type("AWS::Logs::LogGroup"))


def test_its_role_reads_dead_letters_and_takes_nothing_from_a_queue(stack: Stack) -> None:
    statements = stack.statements("ApiRole")
    letters = {stack.arn(f"{queue_id(name)}DeadLetters") for name in APP.queues} | {stack.arn("FailedSchedules")}
    queues = {stack.arn(f"{queue_id(name)}Queue") for name in APP.queues}

    for action, wanted in (
        ("sqs:ReceiveMessage", letters),
        ("sqs:DeleteMessage", letters),
        ("sqs:SendMessage", queues),
    ):
        found = {one for statement in statements if action in statement["Action"] for one in statement["Resource"]}
        assert found == wanted, action


def test_its_role_has_everything_on_something_of_the_stack_but_for_what_knows_no_resources(stack: Stack) -> None:
    for statement in stack.statements("ApiRole"):
        resources = statement["Resource"] if isinstance(statement["Resource"], list) else [statement["Resource"]]
        if "*" in resources:
            assert statement["Action"][0] in ("cloudwatch:GetMetricData", "xray:PutTraceSegments")
            assert statement["Condition"] == {"StringEquals": {"aws:RequestedRegion": "eu-west-1"}}


def test_it_can_use_the_key_where_there_is_one() -> None:
    with_key = Stack(TEXT, Prefix="shop-x", KmsKeyArn=KEY)

    assert any("kms:Decrypt" in statement["Action"] for statement in with_key.statements("ApiRole"))


def test_somebody_is_told_when_it_fails_and_the_dashboard_shows_it(stack: Stack) -> None:
    alarmed = {
        dimension["Value"]
        for alarm in stack.of_type("AWS::CloudWatch::Alarm").values()
        if alarm["MetricName"] == "Errors"
        for dimension in alarm["Dimensions"]
    }

    assert alarmed == {stack.name_of(name) for name in stack.functions}
    assert stack.name_of("ApiFunction") in stack.of_type("AWS::CloudWatch::Dashboard")["Dashboard"]["DashboardBody"]


def test_its_address_is_an_output() -> None:
    assert "!GetAtt ApiFunctionUrl.FunctionUrl" in TEXT, "SAM gives the URL of ApiFunction this name"


def test_a_handler_is_a_module_and_a_name() -> None:
    with pytest.raises(ConfigError, match="api='api'"):
        TemplateOptions(api="api")
