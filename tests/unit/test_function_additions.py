"""What a queue may add to its function: statements for the role, and environment variables; anything else is refused."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from taskq_sls import ConfigError, Queue

READ = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::pictures/*"}


def queue(**options: Any) -> Queue:
    return Queue("images", function_timeout=60, **options)


def test_what_is_declared_does_not_change_with_the_list_of_the_caller() -> None:
    resources = ["arn:aws:s3:::pictures/*"]
    statement = {**READ, "Resource": resources}
    variables = {"BUCKET": "pictures"}
    declared = queue(function_policy=[statement], function_environment=variables)

    resources.append("*")
    variables["BUCKET"] = "other"

    assert declared.function_policy[0]["Resource"] == ["arn:aws:s3:::pictures/*"]
    assert declared.function_environment == {"BUCKET": "pictures"}


def test_queues_with_additions_are_still_values() -> None:
    assert queue(function_policy=[READ]) == queue(function_policy=[READ]) != queue()
    assert len({queue(function_policy=[READ]), queue(function_policy=[READ])}) == 1


@pytest.mark.parametrize(
    "statement",
    [
        {**READ, "Resource": "*"},
        {**READ, "Action": ["s3:*", "dynamodb:Get?tem"], "Effect": "Deny", "Sid": "Read1"},
        {**READ, "Resource": ["arn:${AWS::Partition}:sns:${AWS::Region}:${AWS::AccountId}:${Prefix}-${Stage}"]},
        {
            **READ,
            "Resource": "arn:aws:s3:::homes/${aws:username}/*",
            "Condition": {"Bool": {"aws:SecureTransport": True}},
        },
    ],
)
def test_statements_of_a_role_are_taken(statement: dict[str, Any]) -> None:
    assert queue(function_policy=(statement,)).function_policy == (statement,)


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        (READ, "must be a list of IAM statements"),
        ("s3:GetObject", "must be a list of IAM statements"),
        (None, "must be a list of IAM statements"),
        (["s3:GetObject"], r"function_policy\[0\]='s3:GetObject' must be a dict with Effect, Action, Resource"),
        ([READ, {"Action": "s3:Get", "Resource": "*"}], r"function_policy\[1\] has no 'Effect'"),
        ([{"Effect": "Allow", "Resource": "*"}], "has no 'Action'"),
        ([{"Effect": "Allow", "Action": "s3:Get"}], "has no 'Resource'.*write '\\*' for everything"),
        ([{**READ, "Action": []}], "has no 'Action'"),
        ([{**READ, "Resource": ""}], "has no 'Resource'"),
        ([{**READ, "Resource": "arn:aws:sns:${AWS::region}:1:x"}], r"has \$\{AWS::region\}; write \$\{AWS::Region\}"),
        (
            [{**READ, "Resource": "arn:aws:sns:${AWS::Zone}:1:x"}],
            r"has \$\{AWS::Zone\}; known are \$\{AWS::AccountId\}",
        ),
        ([{**READ, "Condition": {"Date": {"aws:x": date(2026, 1, 1)}}}], "must be a statement as in JSON: .*date"),
    ],
)
def test_what_is_no_statement_is_refused_where_it_is_declared(policy: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=rf"^Queue 'images': .*{message}"):
        queue(function_policy=policy)


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        (["BUCKET=x"], "must be a dict of texts"),
        ({"TASKQ_TABLE": "x"}, "'TASKQ_TABLE' begins with TASKQ_, AWS_ or LAMBDA_.*choose another name"),
        ({"AWS_REGION": "x"}, "'AWS_REGION' begins with"),
        ({"LAMBDA_TASK_ROOT": "x"}, "'LAMBDA_TASK_ROOT' begins with"),
        ({"_HANDLER": "x"}, "name '_HANDLER': use letters, digits and '_', a letter first"),
        ({"MY-NAME": "x"}, "name 'MY-NAME'"),
        ({"X": "x"}, "name 'X'"),
        ({5: "x"}, "name 5"),
        ({"SIZE": 5}, "SIZE=5 must be a text; write SIZE='5'"),
        ({"DEBUG": None}, "DEBUG=None must be a text"),
        ({"STAGE": "${stage}"}, r"has \$\{stage\}; write \$\{Stage\}"),
        ({"TEXT": "a\x00b"}, "has a zero byte or half a surrogate pair"),
        ({"TEXT": "\ud800"}, "has a zero byte or half a surrogate pair"),
        ({"LONG": "x" * 3_297}, "has 3,301 bytes and may have 3,300"),
        ({"LONG": "é" * 1_650}, "has 3,304 bytes"),
        ({"LONG": "${Prefix}" * 90}, "has 3,604 bytes"),
    ],
)
def test_variables_that_lambda_or_the_library_would_trip_over_are_refused(variables: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=rf"^Queue 'images': function_environment.*{message}"):
        queue(function_environment=variables)


@pytest.mark.parametrize("additions", [{"function_policy": [READ]}, {"function_environment": {"BUCKET": "x"}}])
def test_a_queue_without_a_function_has_nothing_to_add_to(additions: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="it has none; declare function_timeout too"):
        Queue("images", **additions)


def test_the_example_of_the_documentation_is_one() -> None:
    text = (Path(__file__).parents[2] / "docs" / "deploy.md").read_text()
    [example] = re.findall(r"```python\n(Queue\(.*?\n\))\n```", text, re.DOTALL)

    declared = eval(example, {"Queue": Queue})

    assert declared.function_policy
    assert declared.function_environment == {"PICTURES": "pictures-${Stage}"}
