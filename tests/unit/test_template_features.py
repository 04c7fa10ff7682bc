"""A template that fits an account: features, resources that exist already, stages of one's own, overlays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from taskq_sls import ConfigError
from taskq_sls.cli import main
from taskq_sls.deploy.template import TemplateOptions, render
from taskq_sls.deploy.template.features import FEATURES
from tests.support.template import Stack, parse
from tests.support.template_apps import full_app

API = "handlers.api.handler"
WORKERS = [name for name in Stack(render(full_app())).functions if name.endswith("Worker")]


def stack(*features: str, parameters: dict[str, str] | None = None, **options: Any) -> Stack:
    return Stack(render(full_app(), TemplateOptions(api=API, features=features, **options)), **(parameters or {}))


def messages(found: Stack, worker: str) -> dict[str, Any]:
    properties: dict[str, Any] = found.functions[worker]["Events"]["Messages"]["Properties"]
    return properties


def test_without_a_feature_the_template_has_nothing_of_it() -> None:
    assert parse(render(full_app())) == parse(render(full_app(), TemplateOptions(features=())))


def test_functions_run_in_a_vpc_and_their_roles_may_use_its_network() -> None:
    found = stack("vpc")

    for name, function in found.functions.items():
        assert set(function["VpcConfig"]) == {"SubnetIds", "SecurityGroupIds"}
        actions = {action for one in found.statements(found.function_role(name)) for action in one["Action"]}
        assert {"ec2:CreateNetworkInterface", "ec2:DeleteNetworkInterface"} <= actions
    assert not any("ec2" in str(one["Action"]) for one in found.statements("ScheduleRole"))


def test_all_roles_have_the_boundary_and_the_path() -> None:
    found = stack("boundary", "producer-policy", parameters={"RolePath": "/tasks/"})

    for role in found.of_type("AWS::IAM::Role").values():
        assert (role["PermissionsBoundary"], role["Path"]) == ("given PermissionsBoundaryArn", "/tasks/")
    assert found.of_type("AWS::IAM::ManagedPolicy")["ProducerPolicy"]["Path"] == "/tasks/"


def test_all_log_groups_have_the_key() -> None:
    groups = stack("log-key").of_type("AWS::Logs::LogGroup").values()

    assert {group["KmsKeyId"] for group in groups} == {"given LogKmsKeyArn"}


def test_layers_and_storage_are_those_of_all_functions() -> None:
    found = stack("layers", "storage", parameters={"EphemeralStorage": "4096"})

    for function in found.functions.values():
        assert function["Layers"] == "given LayerArns"
        assert function["EphemeralStorage"] == {"Size": "4096"}


def test_each_worker_has_an_architecture_of_its_own() -> None:
    found = stack("architectures", parameters={f"{WORKERS[0]}Architecture": "x86_64"})

    assert found.functions[WORKERS[0]]["Architectures"] == ["x86_64"]
    assert found.functions[WORKERS[1]]["Architectures"] == ["arm64"]


@pytest.mark.parametrize(
    ("feature", "setting"),
    [
        ("snapstart", {"SnapStart": {"ApplyOn": "PublishedVersions"}}),
        ("provisioned", {"ProvisionedConcurrencyConfig": {"ProvisionedConcurrentExecutions": 1}}),
    ],
)
def test_warm_workers_are_behind_an_alias_that_moves_gradually(feature: str, setting: dict[str, Any]) -> None:
    found = stack(feature, parameters={"Deployment": "Canary10Percent5Minutes"})

    for worker in WORKERS:
        function = found.functions[worker]
        assert function["AutoPublishAlias"] == "live"
        assert function["DeploymentPreference"]["Type"] == "Canary10Percent5Minutes"
        assert len(function["DeploymentPreference"]["Alarms"]) == 1
        assert setting.items() <= function.items()
    assert "AutoPublishAlias" not in found.functions["ApiFunction"], "its URL and permissions name the function itself"


def test_the_role_that_moves_an_alias_has_the_boundary_too() -> None:
    found = stack("alias", "boundary", "vpc")

    for worker in WORKERS:
        assert found._raw[worker]["Properties"]["DeploymentPreference"]["Role"] == {
            "Fn::GetAtt": ["DeploymentRole", "Arn"]
        }
    role = found.of_type("AWS::IAM::Role")["DeploymentRole"]
    assert role["PermissionsBoundary"] == "given PermissionsBoundaryArn"
    assert role["ManagedPolicyArns"][0].endswith(":iam::aws:policy/service-role/AWSCodeDeployRoleForLambdaLimited")


def test_snapstart_needs_python_3_12() -> None:
    assert "python3.11" not in stack("snapstart").template["Parameters"]["Runtime"]["AllowedValues"]


def test_provisioned_pollers_take_the_place_of_the_maximum_concurrency() -> None:
    found = stack("pollers", "alias", "pause", parameters={"MaximumPollers": "9", "Consumers": "off"})

    for worker in WORKERS:
        mapping = found._raw[f"{worker}Messages"]["Properties"]
        assert "ScalingConfig" not in mapping
        assert found.resolve(mapping["ProvisionedPollerConfig"]) == {"MinimumPollers": 2, "MaximumPollers": "9"}
        assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
        assert mapping["FunctionName"] == {"Ref": f"{worker}.Alias"}
        assert found.resolve(mapping["Enabled"]) is False
        assert "Events" not in found.functions[worker]


def test_consumers_can_be_paused() -> None:
    for consumers, enabled in (("on", True), ("off", False)):
        found = stack("pause", parameters={"Consumers": consumers})
        assert {messages(found, worker)["Enabled"] for worker in WORKERS} == {enabled}


def test_every_queue_and_the_bucket_refuse_requests_without_tls_in_one_policy_each() -> None:
    found = stack("tls")
    policies = list(found.of_type("AWS::SQS::QueuePolicy").values())
    queues = [queue for policy in policies for queue in policy["Queues"]]

    assert sorted(queues) == sorted(set(queues)), "a second policy would replace the first"
    assert len(queues) == len(found.of_type("AWS::SQS::Queue"))
    for policy in [*policies, *found.of_type("AWS::S3::BucketPolicy").values()]:
        [refusal] = [one for one in policy["PolicyDocument"]["Statement"] if one["Effect"] == "Deny"]
        assert refusal["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


def test_every_output_can_be_imported_and_producers_get_a_policy() -> None:
    found = stack("exports", "producer-policy")
    outputs = found.template["Outputs"]
    statements = found.of_type("AWS::IAM::ManagedPolicy")["ProducerPolicy"]["PolicyDocument"]["Statement"]
    actions = {action for one in statements for action in one["Action"]}

    assert all("Export" in output for output in outputs.values())
    assert "ProducerPolicyArn" in outputs
    assert {"sqs:SendMessage", "dynamodb:PutItem", "scheduler:CreateSchedule", "iam:PassRole"} <= actions
    assert not {"sqs:ReceiveMessage", "sqs:DeleteMessage"} & actions
    assert all(one["Resource"] != "*" for one in statements)


def test_features_that_exclude_each_other_and_unknown_ones_are_refused() -> None:
    with pytest.raises(ConfigError, match="--with snapstart and --with provisioned exclude each other"):
        stack("provisioned", "snapstart")
    with pytest.raises(ConfigError, match="--with vcp: use vpc, layers"):
        stack("vcp")


# -- resources that exist already -------------------------------------------------------------------------------


def test_what_exists_already_is_named_by_parameters_wherever_it_is_used() -> None:
    app = full_app()
    first = next(iter(Stack(render(app)).of_type("AWS::SQS::Queue")))
    ids = ("TasksTable", "PayloadBucket", first)
    arns = {f"{id}Arn": f"arn:aws:x:eu-west-1:123456789012:{id}" for id in ids}

    found = stack(existing=ids, parameters={**arns, "TasksTable": "theirs", f"{first}Name": "their-queue"})

    assert not set(ids) & set(found.resources)
    assert found.functions["ApiFunction"]["Environment"]["Variables"]["TASKQ_API_AUTH"] == "iam"
    assert "DeletionProtection" not in found.template["Parameters"], "nothing uses it"
    everything = str([found.resources, found.outputs])
    assert all(arn in everything for arn in arns.values())
    assert "their-queue" in everything


def test_features_use_what_exists_already(tmp_path: Path) -> None:
    ids = tuple(
        name
        for type in ("AWS::SQS::Queue", "AWS::DynamoDB::Table", "AWS::S3::Bucket")
        for name in Stack(render(full_app())).of_type(type)
    )
    (tmp_path / "empty.yaml").write_text("{}")  # an overlay checks all references

    for exclusive in ("snapstart", "provisioned"):
        features = [name for name in FEATURES if name == exclusive or name not in ("snapstart", "provisioned")]
        found = stack(*features, existing=ids * 2, overlay=str(tmp_path / "empty.yaml"))

        assert not set(ids) & set(found.resources)
        assert "ProducerPolicy" in found.resources


@pytest.mark.parametrize(
    ("id", "message"),
    [("TaskTable", "did you mean TasksTable"), ("ScheduleRole", "it is an AWS::IAM::Role; only AWS::SQS::Queue")],
)
def test_only_queues_table_and_bucket_can_exist_already(id: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        stack(existing=(id,))


def test_stages_have_names_of_ones_own_and_the_last_is_the_production_one() -> None:
    found = stack(stages=("test", "abnahme", "live"), parameters={"Stage": "live"})

    assert found.template["Parameters"]["Stage"]["AllowedValues"] == ["test", "abnahme", "live"]
    assert found.resources["TasksTable"]["UpdateReplacePolicy"] == "Retain"
    assert {group["RetentionInDays"] for group in found.of_type("AWS::Logs::LogGroup").values()} == {90}
    with pytest.raises(ConfigError, match="must be different names"):
        TemplateOptions(stages=("dev", "dev"))


# -- overlays ---------------------------------------------------------------------------------------------------

OVERLAY = """
Parameters:
  Team: {Type: String, Default: pay}
Globals:
  Function:
    Tags: {team: !Ref Team}
Resources:
  TasksTable:
    Properties:
      Tags: [{Key: team, Value: !Sub "${Team}-x"}]
      PointInTimeRecoverySpecification: null
  Topic:
    Type: AWS::SNS::Topic
Outputs:
  TopicArn: {Value: !Ref Topic}
"""


def overlaid(tmp_path: Path, text: str, name: str = "overlay.yaml") -> Stack:
    (tmp_path / name).write_text(text)
    return stack(overlay=str(tmp_path / name))


def test_an_overlay_is_merged_by_logical_id(tmp_path: Path) -> None:
    found = overlaid(tmp_path, OVERLAY)

    assert found.functions[WORKERS[0]]["Tags"] == {"team": "pay"}
    table = found.resources["TasksTable"]["Properties"]
    assert table["Tags"] == [{"Key": "team", "Value": "pay-x"}]
    assert "PointInTimeRecoverySpecification" not in table
    assert table["BillingMode"] == "PAY_PER_REQUEST"
    assert found.resources["Topic"]["Type"] == "AWS::SNS::Topic"


def test_an_overlay_may_be_json(tmp_path: Path) -> None:
    found = overlaid(tmp_path, '{"Resources": {"TasksTable": {"Properties": {"TableClass": "STANDARD"}}}}', "o.json")

    assert found.resources["TasksTable"]["Properties"]["TableClass"] == "STANDARD"


def test_a_json_overlay_with_a_key_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="the key 'a' is there twice"):
        overlaid(tmp_path, '{"Metadata": {"a": 1, "a": 2}}', "o.json")


def test_values_of_an_overlay_come_through_as_they_are(tmp_path: Path) -> None:
    text = """
    Metadata:
      numbers: [1234567.5, 1.0e+300, 1.5e-9, 2.0, 123456789012]
      new: {kept: 1, removed: null}
      123456789012: account
      1e5: text
    Resources:
      Policy:
        Type: AWS::IAM::ManagedPolicy
        Properties: &properties
          PolicyDocument: {Version: 2012-10-17, Statement: [{Condition: {Bool: {a: b}}}]}
      Other: {Type: AWS::IAM::ManagedPolicy, Properties: {<<: *properties, Path: /a/}}
      Service:
        Type: AWS::ECS::TaskDefinition
        Properties: {ContainerDefinitions: [{DependsOn: [{ContainerName: a}], Condition: START}]}
      TasksTable:
        Properties:
          SSESpecification: {"Fn::If": [HasKey, {SSEEnabled: true}, !Ref "AWS::NoValue"]}
    """

    found = overlaid(tmp_path, text)

    metadata = found.template["Metadata"]
    assert metadata["numbers"] == [1234567.5, 1e300, 1.5e-9, 2, 123456789012]
    assert metadata["new"] == {"kept": 1}
    assert metadata[123456789012] == "account"
    assert found.resources["Other"]["Properties"]["PolicyDocument"]["Version"] == "2012-10-17"
    assert "SSESpecification" not in found.resources["TasksTable"]["Properties"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Resources: {TaskTable: {Properties: {}}}", "TaskTable is not in the template, which has TasksTable"),
        ("Resources: {TasksTable: {Type: AWS::SQS::Queue}}", "cannot become an AWS::SQS::Queue"),
        ("Resources: {TasksTable: null}", "refers to 'TasksTable', which is no longer in the template"),
        ("Resources: {Nothing: null}", "there is no resource Nothing to remove"),
        ("Resources: {TasksTable: 5}", "resource TasksTable must be a mapping"),
        ("Resources: {TasksTable: {Condition: Nope}}", "Resources.TasksTable refers to 'Nope'"),
        ("Resources: {TasksTable: {DependsOn: Nope}}", "refers to 'Nope'"),
        ("Outputs: {A: {Value: !GetAtt Nope.Arn}}", "Outputs.A refers to 'Nope'"),
        ("Outputs: {A: {Value: !GetAtt Prefix.Arn}}", "Outputs.A refers to 'Prefix'"),
        ('Outputs: {A: {Value: !Sub "${Prefix.Arn}"}}', "Outputs.A refers to 'Prefix'"),
        ('Outputs: {A: {Value: !Sub "${Nope}"}}', "Outputs.A refers to 'Nope'"),
        ("Outputs: {A: {Value: !If [Nope, 1, 2]}}", "Outputs.A refers to 'Nope'"),
        ("Resourcen: {}", "section 'Resourcen' is unknown"),
        ("Resources: []", "section Resources must be a mapping"),
        ("- 1", "it is list"),
        ("a: [", "it is not YAML"),
        ("", "it is empty"),
        ("Description: [a]", "section Description must be text"),
        ("Metadata: {a: !!binary aGk=}", "Metadata.a: b'hi' is no text, number"),
        ("Metadata: {a: .nan}", "Metadata.a: nan is no text, number"),
        ("Metadata: {a: [null]}", "Metadata.a: None is no text, number"),
        ("Metadata: {null: a}", "Metadata: the key None is of type NoneType"),
        ("Metadata: &a {b: *a}", "nested deeper than 50 levels, or holds itself"),
        ("Metadata: " + "[" * 2000 + "]" * 2000, "it is not YAML"),
        ("Metadata: {a: 1, b: 2, a: 3}", "the key 'a' is there twice"),
        ("Resources: {TasksTable: {Type: null}}", "the Type of resource TasksTable must be text"),
        ("Resources: {A: {Type: 5}}", "the Type of resource A must be text"),
        ("Resources: {TasksTable: {DependsOn: 5}}", "refers to 5, which is no name"),
        ("Resources: {TasksTable: {Condition: [x]}}", r"refers to \['x'\], which is no name"),
        ("Outputs: {A: {Value: !Ref TasksTableX}}", "refers to 'TasksTableX'"),
        *((f"Outputs: {{A: {{Value: !{tag}}}}}", "which is no name") for tag in ("If []", "GetAtt []", "Sub [a, b]")),
        *(
            (f"Outputs: {{A: {{Value: {{{name}: 5}}}}}}", "5, which is no name")
            for name in ("Ref", "Fn::Sub", "Fn::If")
        ),
        ("Conditions: {A: !And [{Condition: Nope}, !Condition HasKey]}", "Conditions.A refers to 'Nope'"),
    ],
)
def test_an_overlay_that_fits_nothing_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        overlaid(tmp_path, text)


def test_an_overlaid_template_can_be_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    overlay, file = tmp_path / "overlay.yaml", tmp_path / "template.yaml"
    overlay.write_text("Description: ours\n")
    command = ["template", "tests.support.template_command_app:app", "--overlay", str(overlay), "--with", "tls"]

    assert main([*command, "-o", str(file)]) == 0
    assert main([*command, "--check", str(file)]) == 0
    assert f"--with tls --overlay {overlay}`" in file.read_text().splitlines()[0]

    overlay.write_text("Description: theirs\n")
    assert main([*command, "--check", str(file)]) == 1
    assert main(["template", "tests.support.template_command_app:app", "--overlay", "nowhere.yaml"]) == 2
    assert "--overlay nowhere.yaml" in capsys.readouterr().err


def test_the_help_names_every_feature(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["template", "--help"]) == 0

    text = " ".join(capsys.readouterr().out.split())
    assert all(feature.about in text for feature in FEATURES.values())
