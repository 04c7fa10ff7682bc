"""Templates with features, existing resources and overlays, by cfn-lint: CloudFormation's own schemas."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from taskq_sls.deploy.template import TemplateOptions, render
from taskq_sls.deploy.template.features import FEATURES
from tests.e2e.machine import SAM_ENVIRONMENT, interpreter
from tests.support.template_apps import full_app

pytestmark = pytest.mark.e2e

OVERLAY = """
Globals: {Function: {Tags: {team: pay}}}
Resources:
  TasksTable: {Properties: {Tags: [{Key: team, Value: !Sub "${Prefix}"}]}}
  Topic: {Type: AWS::SNS::Topic}
"""


@pytest.mark.parametrize(
    "options",
    [
        TemplateOptions(api="handlers.api.handler", features=tuple(name for name in FEATURES if name != "snapstart")),
        TemplateOptions(features=("snapstart", "pause")),
        TemplateOptions(existing=("TasksTable", "PayloadBucket", "DefaultQueue", "DefaultDeadLetters")),
        TemplateOptions(stages=("test", "live"), overlay="overlay.yaml"),
    ],
    ids=["features", "snapstart", "existing", "overlay"],
)
def test_it_is_what_cloudformation_takes(
    options: TemplateOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("overlay.yaml").write_text(OVERLAY)
    Path("template.yaml").write_text(render(full_app(), options))

    command = [str(Path(interpreter(SAM_ENVIRONMENT)).with_name("cfn-lint")), "template.yaml"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)

    assert (done.returncode, done.stdout) == (0, "")
