"""Commands and the logging that an application sets up: each line once, and never silence."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import logging, sys
from taskq_sls.cli.apps import load_app_with_logs
from taskq_sls.cli.main import _parser

arguments = _parser().parse_args(["worker", "shop_tasks:app", *sys.argv[1:]])
load_app_with_logs(arguments, arguments.app)
logging.getLogger("taskq_sls.task").error("a task failed")
logging.getLogger("shop").warning("hello")
"""

NOTHING = ""
BASIC = "logging.basicConfig(format='own %(message)s')"
FORMATTERS = {"own": {"format": "own %(message)s"}}
HANDLERS = {"console": {"class": "logging.StreamHandler", "formatter": "own"}}
WHOLE = {"version": 1, "formatters": FORMATTERS, "handlers": HANDLERS}
ROOT = f"logging.config.dictConfig({ {**WHOLE, 'root': {'handlers': ['console']}} })"
NAMED = f"logging.config.dictConfig({ {**WHOLE, 'loggers': {'shop': {'handlers': ['console']}}} })"


@pytest.mark.parametrize(
    ("set_up", "options", "failed", "hello"),
    [
        (NOTHING, [], "ours", "ours"),
        (BASIC, [], "own", "own"),
        (ROOT, [], "own", "own"),
        (NAMED, [], "ours", "own"),
        (BASIC, ["--log-format", "none"], "own", "own"),
        (BASIC, ["--log-format", "json"], "ours", "ours"),
        (ROOT, ["--log-format", "json"], "own+ours", "own+ours"),
        (NOTHING, ["--log-format", "text"], "text", "text"),
    ],
)
def test_every_line_is_written_once_where_the_application_or_the_option_says(
    tmp_path: Path, set_up: str, options: list[str], failed: str, hello: str
) -> None:
    (tmp_path / "shop_tasks.py").write_text(
        f"import logging, logging.config\nfrom taskq_sls import TaskQ\napp = TaskQ('shop')\n{set_up}\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *options], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60
    )

    def written(message: str) -> str:
        lines = [line for line in done.stderr.splitlines() if message in line]
        kinds = {"own": "own", "{": "ours"}
        return "+".join(next((kind for mark, kind in kinds.items() if line.startswith(mark)), "text") for line in lines)

    assert (written("a task failed"), written("hello")) == (failed, hello)
