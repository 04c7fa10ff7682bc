"""The words of the code: docstrings, comments and names that a newcomer understands at first reading."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeGuard

import taskq_sls

LIBRARY = Path(taskq_sls.__file__).parent
FILES = sorted(LIBRARY.rglob("*.py"))

MAX_WHAT = 40
"""Uses of "what" in all docstrings and comments together: nearly always it stands in for a noun."""

BEGINNING = re.compile(r"(What|Who|Whom|Whose|Whoever|Whatever|Where|Whether|Of|That|Nobody)\b")
"""Words that begin a clause in place of the thing itself."""


def prose(file: Path) -> Iterator[tuple[int, str]]:
    """Line and text of each docstring and comment."""
    source = file.read_text()
    for node in ast.walk(ast.parse(source)):
        body = getattr(node, "body", None)
        for statement in body if isinstance(body, list) else ():
            text = statement.value.value if _is_constant(statement) else None
            if isinstance(text, str):
                yield statement.lineno, text
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string.lstrip("# ")


def _is_constant(statement: ast.stmt) -> TypeGuard[Any]:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def sentences(text: str) -> Iterator[str]:
    """The sentences of a docstring; an entry of a list of arguments begins one."""
    for paragraph in re.split(r"\n\s*\n|\n\s*(?=[-*] )|\n\s*(?=[a-z_, ]+: )", text):
        joined = " ".join(paragraph.split())
        for sentence in re.split(r"(?<=[.:!?])\s+", joined):
            yield re.sub(r"^[a-z_, ]+: ", "", sentence)


def test_no_sentence_begins_with_a_clause_in_place_of_a_noun() -> None:
    found = [
        f"{file.relative_to(LIBRARY)}:{line}: {sentence[:80]}"
        for file in FILES
        for line, text in prose(file)
        for sentence in sentences(text)
        if BEGINNING.match(sentence)
    ]
    assert found == []


def test_things_are_called_by_their_names_and_not_what() -> None:
    found = [
        f"{file.relative_to(LIBRARY)}:{line}"
        for file in FILES
        for line, text in prose(file)
        for _ in re.findall(r"\bwhat\b", text, re.IGNORECASE)
    ]
    assert len(found) <= MAX_WHAT, found


def test_no_variable_is_called_one() -> None:
    found = [
        f"{file.relative_to(LIBRARY)}:{getattr(node, 'lineno', 0)}"
        for file in FILES
        for node in ast.walk(ast.parse(file.read_text()))
        if (isinstance(node, ast.Name) and node.id == "one" and isinstance(node.ctx, ast.Store))
        or (isinstance(node, ast.arg) and node.arg == "one")
    ]
    assert found == []


def test_no_two_classes_have_the_same_name() -> None:
    # The HTTP API's models are named for its readers: their names are those of the OpenAPI document's schemas. So they
    # are compared only with each other.
    models = {"BaseModel", "RequestBody"}
    places: dict[tuple[bool, str], list[str]] = defaultdict(list)
    classes = [
        (file.relative_to(LIBRARY), node)
        for file in FILES
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.ClassDef)
    ]
    for _ in range(3):  # models of models
        models |= {
            node.name
            for file, node in classes
            if file.parts[0] == "web" and models & {base.id for base in node.bases if isinstance(base, ast.Name)}
        }
    for file, node in classes:
        places[file.parts[0] == "web" and node.name in models, node.name].append(str(file))
    assert {name: files for name, files in places.items() if len(files) > 1} == {}
