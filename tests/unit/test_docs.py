"""The documentation's Python is run as it stands."""

from __future__ import annotations

import re
import sys
import types
from pathlib import Path

from taskq_sls.testing import in_memory

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"(?:<!-- run(?P<mode>: in_memory)? -->\n)?```python\n(?P<code>.*?)```", re.DOTALL)


def test_every_python_block_of_the_tutorial_runs_in_order() -> None:
    module = types.ModuleType("shop")
    sys.modules["shop"] = module
    try:
        blocks = list(BLOCK.finditer((ROOT / "docs/tutorial.md").read_text()))
        assert len(blocks) == 10
        for number, block in enumerate(blocks, 1):
            code = compile(block["code"], f"docs/tutorial.md, block {number}", "exec")
            if block["mode"]:
                with in_memory(module.__dict__["app"]):
                    exec(code, module.__dict__)
            else:
                exec(code, module.__dict__)
    finally:
        del sys.modules["shop"]


def test_the_ten_lines_of_the_readme_define_a_task_that_runs() -> None:
    module = types.ModuleType("shop")
    sys.modules["shop"] = module
    try:
        block = next(BLOCK.finditer((ROOT / "README.md").read_text()))
        exec(compile(block["code"], "README.md", "exec"), module.__dict__)
        with in_memory(module.__dict__["app"]):
            assert module.__dict__["resize"].enqueue("a.png", 200).result() == "a.png@200"
    finally:
        del sys.modules["shop"]


def test_every_link_between_the_documents_leads_to_a_file() -> None:
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_every_test_that_the_guarantees_name_is_there() -> None:
    named = re.findall(r"`(tests/[^`]*)`", (ROOT / "docs/guarantees.md").read_text())
    assert named
    assert [name for name in named if not (ROOT / name).exists()] == []
