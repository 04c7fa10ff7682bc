"""The documentation: its Python runs, its links lead somewhere, and its English is plain."""

from __future__ import annotations

import re
import sys
import types
from pathlib import Path

import pytest

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


def test_every_test_that_the_guarantees_name_is_there() -> None:
    named = re.findall(r"`(tests/[^`]*)`", (ROOT / "docs/guarantees.md").read_text())
    assert named
    assert [name for name in named if not (ROOT / name).exists()] == []


PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *(ROOT / "docs").rglob("*.md")])

OPENERS = re.compile(r"(?:What|Who|Whom|Whose|Whoever|Whatever|Where|Whether|Of|That)\b")
"""Words that begin a clause in place of a noun; no sentence begins with one."""

DIALECT = re.compile(
    r"\b(?:stands|stood|told|tells?|(?:give|gives|given|giving|gave) (?:it |them |all )?back|bur(?:y|ies|ied)|nobody|somebody"
    r"|whoever|put off|looks? at|looked (?:at|into)|a look|the hold|its hold|hold ends|works? off|without a word)\b",
    re.IGNORECASE,
)
"""Phrases that have a plain word: reports, releases, dead-letters, delays, reads, visibility timeout."""


def prose(page: Path) -> list[str]:
    """The sentences of a page, without code, headings, links' targets and quoted examples."""
    text = re.sub(r"^```.*?^```$|^<!--.*?-->$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"^#.*$|^    \S.*$", "", text, flags=re.MULTILINE)
    text = text.partition("| instead of | write |")[0] if page.name == "CONTRIBUTING.md" else text
    text = re.sub(r"\]\([^)]*\)", "]", text)
    parts = re.split(r"\n\s*\n|\n(?=\s*(?:[-*|]|\d+\.) ?)|(?<=[.:!?])\s+|(?<!\\)\|", text)
    return [sentence for part in parts if (sentence := re.sub(r"^[\s*\-|\d.]*", "", " ".join(part.split())))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_documentation_is_plain_english(page: Path) -> None:
    sentences = prose(page)

    assert [sentence for sentence in sentences if OPENERS.match(sentence)] == []
    assert [sentence for sentence in sentences if DIALECT.search(re.sub(r"`[^`]*`", "", sentence))] == []


def test_the_check_of_the_prose_finds_offences(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# What is it?\n\nA task. That of a queue.\n- Whether it runs\n\n| a | Who is away |\n\n```\nWhat?\n```\n"
    )

    assert [sentence for sentence in prose(page) if OPENERS.match(sentence)] == [
        "That of a queue.",
        "Whether it runs",
        "Who is away",
    ]
    assert DIALECT.search("the message is given back")


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as forges make them."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    return {
        re.sub(r"\s", "-", re.sub(r"[^\w\s-]", "", heading.lower())) for heading in re.findall(r"^#+ (.*)$", text, re.M)
    }


@pytest.mark.parametrize("page", [*PAGES, ROOT / "infra/README.md"], ids=lambda page: page.name)
def test_every_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#:\s]*)(?:#([^)\s]+))?\)", page.read_text()):
        file = page.parent / target if target else page
        assert file.exists(), f"{page.name} links to {target}"
        assert not anchor or anchor in anchors(file), f"{page.name} links to {target}#{anchor}"


MODULE_PAGES = [ROOT / name for name in ("docs/architecture.md", "CONTRIBUTING.md", "SECURITY.md")]
MODULE_PAGES += sorted((ROOT / "docs/decisions").glob("*.md"))


def test_every_module_that_the_pages_for_developers_name_is_there() -> None:
    modules = {f"/{path.relative_to(ROOT / 'taskq_sls')}" for path in (ROOT / "taskq_sls").rglob("*.py")}
    named = {
        name
        for page in MODULE_PAGES
        for name in re.findall(r"`((?:[a-z_]+/)*[a-z_]+\.py)`", page.read_text())
        if not (ROOT / name).exists()
    }
    assert named
    assert {name for name in named if not any(f"/{name}" in module for module in modules)} == set()
