"""``taskq api`` and ``taskq api-token``."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from taskq_sls.cli import main
from taskq_sls.web.auth.authenticator import MAX_FAILURES
from taskq_sls.web.auth.tokens import find_token, read_tokens

SHOP = """
from taskq_sls import TaskQ
app = TaskQ("shop")

@app.task(http=True)
def resize(path: str) -> str: ...
"""


def test_a_token_comes_with_the_entry_that_accepts_it(capsys: pytest.CaptureFixture[str]) -> None:
    status = main(["api-token", "new", "--scopes", "read,enqueue", "--name", "ci", "--expires", "2999-01-01T00:00:00Z"])

    told = capsys.readouterr().out
    token = re.search(r"token +(tq_\S+)", told)
    entry = re.search(r"entry +(\{.*\})", told)
    assert status == 0
    assert token is not None
    assert entry is not None
    found = find_token(read_tokens(entry[1]), token[1], 0.0)
    assert found is not None
    assert (found.name, found.scopes) == ("ci", {"read", "enqueue"})
    assert token[1] not in entry[1]


def test_no_two_tokens_are_alike(capsys: pytest.CaptureFixture[str]) -> None:
    tokens = set()
    for _ in range(3):
        main(["api-token", "new", "--scopes", "read", "--json"])
        tokens.add(json.loads(capsys.readouterr().out)["token"])

    assert len(tokens) == 3


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--scopes", "root"], "read, enqueue, admin"),
        (["--scopes", "read", "--expires", "soon"], "2027-01-01T00:00:00Z"),
        (["--scopes", "read", "--expires", "2020-01-01T00:00:00Z"], "that time has passed"),
        (["--scopes", "read", "--name", "a b"], "1 to 64 letters"),
        ([], "--scopes"),
    ],
)
def test_a_wrong_word_is_told_in_one_line(words: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["api-token", "new", *words]) == 2

    told = capsys.readouterr()
    assert says in told.err
    assert told.err.count("\n") == 1
    assert told.out == ""


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    (tmp_path / "shop_api_tasks.py").write_text(SHOP)
    return tmp_path


def environment() -> dict[str, str]:
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("TASKQ_", "AWS_"))}
    return {**ours, "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_DEFAULT_REGION": "eu-west-1"}


def test_the_description_is_printed_without_serving_anything(shop: Path) -> None:
    command = [sys.executable, "-m", "taskq_sls", "api", "shop_api_tasks:app", "--openapi"]
    done = subprocess.run(command, cwd=shop, env=environment(), capture_output=True, text=True, timeout=60)

    document = json.loads(done.stdout)
    assert document["openapi"].startswith("3.1")
    assert document["info"]["title"] == "Tasks of shop"


def test_the_api_is_served_to_this_machine_with_a_token_for_this_run(shop: Path) -> None:
    command = [sys.executable, "-W", "error", "-m", "taskq_sls", "api", "shop_api_tasks:app", "--port", "0"]
    served = subprocess.Popen(command, cwd=shop, env=environment(), stderr=subprocess.PIPE, text=True)
    try:
        assert served.stderr is not None
        lines = iter(served.stderr.readline, "")
        address = next(found[0] for line in lines if (found := re.search(r"http://127\.0\.0\.1:\d+/v1", line)))
        token = next(found[0] for line in lines if (found := re.search(r"tq_\S+", line)))

        with urllib.request.urlopen(f"{address}/health", timeout=30) as answer:
            assert json.load(answer) == {"status": "ok"}
        with pytest.raises(urllib.error.HTTPError, match="401") as refused:
            urllib.request.urlopen(f"{address}/openapi.json", timeout=30)
        refused.value.close()
        request = urllib.request.Request(f"{address}/openapi.json", headers={"Authorization": f"Bearer {token}"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            assert "server" not in answer.headers
            assert json.load(answer)["paths"]
        for number in range(MAX_FAILURES + 1):
            headers = {"Authorization": "Bearer tq_wrong", "X-Forwarded-For": f"203.0.113.{number}"}
            with pytest.raises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(urllib.request.Request(f"{address}/queues", headers=headers), timeout=30)
            refused.value.close()
        assert refused.value.code == 429, "who says where it comes from is not believed"
        served.send_signal(signal.SIGINT)
        rest = served.stderr.read()
        assert served.wait(30) == 0, rest
        assert token not in rest
    finally:
        served.kill()
        served.wait()
        served.stderr.close()  # type: ignore[union-attr]  # a pipe, as asked for
